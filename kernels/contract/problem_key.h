// SPDX-License-Identifier: Apache-2.0
//
// ProblemKey: everything about a call that may decide which kernel serves it and how, and nothing else. No addresses: two
// calls with equal keys take the same plan. Compared and hashed as bytes, so it has no padding.
#pragma once

#include "contract/choice.h"
#include "contract/element.h"
#include "contract/types.h"

namespace flashcore::kernels {

// Numbers of the public header's causal enumeration; static_asserts in src/problem hold them together.
enum Causal : int32_t { causal_none = 0, causal_top_left = 1, causal_bottom_right = 2 };

// What moves the first key that a query sees; the words of the choice `window` (attention_fwd/choices.h).
enum Window : int32_t { window_none = 0, window_moves = 1, window_in_chunks = 2 };
inline constexpr int64_t window_open = -1;

// What happens to scores between Q.K^T and the softmax, as bits; the words of the choice `scores`.
enum Scores : int32_t { scores_softcap = 1, scores_alibi = 2, scores_sinks = 4, scores_bias = 8, scores_mask = 16 };
// A user's text comes after them: ProblemKey::variant says which, and this bit of the generated header says so to the kernel.
inline constexpr int32_t scores_variant = 32;

// What a call asks for beside its problem, as bits; the words of the choice `calls`.
enum Calls : int32_t { calls_float32_output = 1, calls_stay = 2 };  // stay: blocks take one tile after another

// How the rows of sequences are found; the words of the choice `rows`. rows_ragged: sequences have lengths and places of their own, which
// lie in device memory; rows_paged: and their keys lie in pages that a table names.
enum RowAccess : int32_t { rows_dense = 0, rows_ragged = 1, rows_paged = 2 };
inline constexpr int64_t no_total = -1;
// The first of the fields that make rows ragged; padding ahead of all others, since some kernels cannot have it in pages.
enum RaggedBy : int32_t {
  by_nothing,
  by_cu_seqlens_q,
  by_cu_seqlens_kv,
  by_seqused_q,
  by_seqused_kv,
  by_leftpad_kv,
  by_kv_batch_index
};
constexpr const char *ragged_field(int32_t ragged_by) {
  constexpr const char *fields[] = {nullptr,      "cu_seqlens_q", "cu_seqlens_kv", "seqused_q",
                                    "seqused_kv", "leftpad_kv",   "kv_batch_index"};
  return fields[ragged_by];
}

// The public field that asks for the first of these; nullptr: none.
constexpr const char *feature_field(int32_t window, int32_t scores, bool paged, int32_t ragged_by) {
  return paged                            ? "page_table"
         : ragged_by != by_nothing        ? ragged_field(ragged_by)
         : window == window_in_chunks     ? "attention_chunk"
         : window == window_moves         ? "window_left"
         : (scores & scores_softcap) != 0 ? "softcap"
         : (scores & scores_alibi) != 0   ? "alibi_slopes"
         : (scores & scores_sinks) != 0   ? "sinks"
         : (scores & scores_bias) != 0    ? "bias"
         : (scores & scores_mask) != 0    ? "mask"
                                          : nullptr;
}

struct ProblemKey {
  int64_t batch;
  int64_t seqlen_q;
  int64_t seqlen_kv;
  int32_t heads_q;
  int32_t heads_kv;
  int32_t head_dim;
  int32_t head_dim_v;
  int32_t dtype;                // Dtype of query, key, value and output
  int32_t causal;               // Causal
  int32_t alignment_bytes;      // largest power of two up to 16 that divides every row's address of q, k, v and o
  int32_t kernel_index;         // the only kernel that may serve the call, or -1
  Specialization module{};      // and in no other specialization than this one; all 0: in any
  int32_t attention_chunk = 0;  // positions of a chunk; 0: no chunks
  int32_t scores = 0;           // Scores
  // Positions that a query sees to the left and right of its own, or window_open, as for every window that hides no key.
  int64_t window_left = window_open, window_right = window_open;
  // Where rows are ragged, seqlen_q and seqlen_kv are the most that a sequence has.
  int32_t rows = rows_dense;          // RowAccess
  int32_t index_dtype = dtype_int32;  // of lengths and places
  int64_t total_q = no_total;         // rows of query, output and lse, where sequences follow one another in them
  int64_t total_kv = no_total;        // likewise of key and value
  int64_t kv_batches =
      0;                  // entries of key and value along their batch stride: those of the batch, of a cache, or pages
  int32_t page_size = 0;  // keys of a page
  int32_t ragged_by = by_nothing;    // RaggedBy
  uint64_t variant = 0;              // digest of the user's text that is compiled in; 0: none
  int64_t variant_params_bytes = 0;  // of the block that the text reads
  // What a call does ahead of attention (contract/append.h).
  int64_t seqlen_new = 0;         // rows that are appended to each sequence of the cache
  int32_t rotary_dim = 0;         // leading columns of queries and new keys that are rotated
  int32_t rotary_table_rows = 0;  // positions that the tables of cosines and sines have; 0 without rotary_dim
  int32_t output_dtype = 0;       // dtype_float32; 0: as the inputs
  int32_t split_count = 0;        // pieces that the caller wants the keys cut in; 0: as many as cost least
  int64_t split_tokens = 0;       // keys of a piece, counted from key 0; 0: as many as cost least
  // 1: a row's bits may not depend on the batch: nothing but the row's own lengths, types, masks and head dimensions chooses kernel, tile and
  // pieces.
  int32_t batch_invariant = 0;
  int32_t multiprocessor_limit = 0;  // that a call may occupy; 0: all
  // 1: query 0 is at position query_offset, counted from key 0, and not as far from the last key as there are queries; and key 0 is key_position
  // behind the key from which chunks are counted.
  int32_t has_positions = 0;
  int32_t query_offset = 0;
  int32_t key_position = 0;
  int32_t unused = 0;

  constexpr bool one_module() const { return module.values[0] != 0; }
  // Window
  constexpr int32_t window() const {
    return attention_chunk != 0 ? window_in_chunks : window_left != window_open ? window_moves : window_none;
  }
  constexpr bool float32_output() const { return output_dtype == dtype_float32; }
  // Calls
  constexpr int32_t calls() const {
    return (float32_output() ? calls_float32_output : 0) | (multiprocessor_limit != 0 ? calls_stay : 0);
  }
  // Nothing that a shipped module has no code for.
  constexpr bool plain() const {
    return window() == window_none && window_right == window_open && scores == 0 && rows == rows_dense &&
           variant == 0 && calls() == 0;
  }
};

}  // namespace flashcore::kernels
