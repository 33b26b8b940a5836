// SPDX-License-Identifier: Apache-2.0
//
//! Decoding with a growing key cache gives, token by token, the rows that one causal attention over the whole gives.

mod common;

use common::{largest_difference, random, Half};
use flashcore::{Attention, Bf16, Causal, Context, Device, Event, Result, F16};

const BATCH: usize = 2;
const HEADS_Q: usize = 8;
const HEADS_KV: usize = 2;
const HEAD_DIM: usize = 64;
const CAPACITY: usize = 80; // positions that the cache has room for
const TOKENS: usize = 67;

/// [BATCH, TOKENS, heads, HEAD_DIM]: the row of one token in one sequence.
fn token<T: Half>(data: &[T], heads: usize, sequence: usize, position: usize) -> &[T] {
    let row = heads * HEAD_DIM;
    &data[(sequence * TOKENS + position) * row..][..row]
}

fn check_decode<T: Half>(device: Device, bound: f32) -> Result<()> {
    let context = Context::open(device)?;
    let stream = context.stream()?;
    let (row_q, row_kv) = (HEADS_Q * HEAD_DIM, HEADS_KV * HEAD_DIM);
    let query: Vec<T> = random(BATCH * TOKENS * row_q, 1);
    let (key, value): (Vec<T>, Vec<T>) = (random(BATCH * TOKENS * row_kv, 2), random(BATCH * TOKENS * row_kv, 3));

    let shape = |tokens, heads| [BATCH, tokens, heads, HEAD_DIM];
    let (all_q, all_k, all_v) = (context.upload(&query)?, context.upload(&key)?, context.upload(&value)?);
    let mut all = context.zeros::<T>(query.len())?;
    Attention::new(
        all_q.tensor(shape(TOKENS, HEADS_Q)),
        all_k.tensor(shape(TOKENS, HEADS_KV)),
        all_v.tensor(shape(TOKENS, HEADS_KV)),
    )
    .causal(Causal::BottomRight)
    .run_on(&stream, all.tensor_mut(shape(TOKENS, HEADS_Q)))?;
    stream.synchronize()?;
    let expected = all.to_vec()?;

    let mut key_cache = context.zeros::<T>(BATCH * CAPACITY * row_kv)?;
    let mut value_cache = context.zeros::<T>(BATCH * CAPACITY * row_kv)?;
    let mut output = context.zeros::<T>(BATCH * row_q)?;
    let (start, end): (Event, Event) = (context.event()?, context.event()?);
    start.record(&stream)?;
    for position in 0..TOKENS {
        let mut rows = Vec::new();
        for sequence in 0..BATCH {
            rows.extend_from_slice(token(&query, HEADS_Q, sequence, position));
            key_cache.write((sequence * CAPACITY + position) * row_kv, token(&key, HEADS_KV, sequence, position))?;
            value_cache.write((sequence * CAPACITY + position) * row_kv, token(&value, HEADS_KV, sequence, position))?;
        }
        let rows = context.upload(&rows)?;
        let cached = shape(CAPACITY, HEADS_KV);
        Attention::new(
            rows.tensor(shape(1, HEADS_Q)),
            key_cache.tensor(cached).positions(0..position + 1),
            value_cache.tensor(cached).positions(0..position + 1),
        )
        .causal(Causal::BottomRight)
        .run_on(&stream, output.tensor_mut(shape(1, HEADS_Q)))?;
        stream.synchronize()?;
        let got = output.to_vec()?;
        for sequence in 0..BATCH {
            let difference = largest_difference(&got[sequence * row_q..][..row_q], token(&expected, HEADS_Q, sequence, position));
            assert!(difference <= bound, "sequence {}, token {}: {} differs", sequence, position, difference);
        }
    }
    end.record(&stream)?;
    end.synchronize()?;
    assert!(end.elapsed_us_since(&start)? > 0.0);
    Ok(())
}

#[test]
fn decode_on_the_cpu() {
    check_decode::<F16>(Device::Cpu, 2e-3).unwrap();
    check_decode::<Bf16>(Device::Cpu, 1.6e-2).unwrap();
}

#[test]
#[ignore = "needs an NVIDIA GPU"]
fn decode_on_the_gpu() {
    check_decode::<F16>(Device::Cuda(0), 2e-3).unwrap();
    check_decode::<Bf16>(Device::Cuda(0), 1.6e-2).unwrap();
}
