// SPDX-License-Identifier: Apache-2.0
//
//! How an attention is carried out, beside what it computes: pieces of keys, batch invariance, what of the device it may take, and where a shard
//! is. Zeros are defaults.

use flashcore_sys as sys;

#[derive(Debug, Default)]
pub(crate) struct Execution {
    pub batch_invariant: bool,
    pub split_count: i32,
    pub split_tokens: i64,
    pub multiprocessor_limit: i32,
    pub positions: Option<(i64, i64)>, // of query 0, and of key 0
}

impl Execution {
    pub fn fill(&self, args: &mut sys::flashcore_attention_args) {
        if self.batch_invariant {
            args.flags |= sys::FLASHCORE_FLAG_BATCH_INVARIANT;
        }
        args.split_count = self.split_count;
        args.split_tokens = self.split_tokens;
        args.multiprocessor_limit = self.multiprocessor_limit;
        if let Some((query, key)) = self.positions {
            args.flags |= sys::FLASHCORE_FLAG_POSITIONS;
            args.query_position = query;
            args.key_position = key;
        }
    }
}
