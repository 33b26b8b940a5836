// SPDX-License-Identifier: Apache-2.0
//
// What a forward kernel receives, by value, as its only parameter.
#pragma once

#include "contract/sequence.h"
#include "contract/tensor_view.h"
#include "contract/visibility.h"

namespace flashcore::kernels {

// A number for each score: a bias, a mask. Strides count elements; any of them may be 0.
struct ScoreTensor {
  uint64_t data;  // of the first query and key; 0: absent
  int64_t stride_batch, stride_row, stride_head, stride_key;
};

// float32, one for each head.
struct HeadNumbers {
  uint64_t data;
  int64_t stride_head;
};

struct AttentionFwdParams {
  TensorView query, key, value, output;
  TensorView lse;  // float32; data 0: not wanted
  int32_t batch;
  int32_t seqlen_q;
  int32_t seqlen_kv;
  int32_t heads_q;
  int32_t heads_per_kv;  // query heads that share one key head
  int32_t head_dim;      // of query and key; no more than the specialization's
  int32_t head_dim_v;
  int32_t causal_offset;    // Visibility::last_offset
  int32_t negate_query;     // 1: the softmax scale is negative; scale_log2 holds its absolute value
  float scale_log2;         // |softmax scale| times log2(e), above 0: scores go straight into exp2
  float lse_factor;         // ln(2) for natural logarithms, 1 for base 2
  int32_t heads_per_group;  // query heads whose keys and values fit into L2 together; causal kernels go by groups
  // Read by modules that are compiled for them alone.
  int32_t first_offset;     // Visibility's
  int32_t chunk;            // Visibility's
  float softcap;            // above 0
  float softcap_inverse;    // 1 / softcap
  TensorView alibi_slopes;  // float32; rows are not used
  HeadNumbers sinks;
  uint64_t variant_params;  // what a user's text reads
  int32_t diagonal;         // Visibility's, for ALiBi too
  int32_t chunk_phase;      // Visibility's
  RaggedRows ragged;
  ScoreTensor bias;      // of bias_dtype
  ScoreTensor mask;      // bytes; 0 hides the key
  int32_t bias_dtype;    // float16, bfloat16 or float32
  int32_t output_bytes;  // of an element of the output
};

// Which rows a thread block computes: a tile of queries of one head.
struct BlockWork {
  int32_t batch, head_q, head_kv;
  int32_t first_query;  // row of the tile's first query
};

// Which keys the queries see, as the host puts it into the parameters, and as the kernel reads it there.
constexpr void set_visibility(AttentionFwdParams &params, const Visibility<any_mask> &seen) {
  params.seqlen_q = seen.queries;
  params.seqlen_kv = seen.keys;
  params.causal_offset = seen.last_offset;
  params.first_offset = seen.first_offset;
  params.chunk = seen.chunk;
  params.diagonal = seen.diagonal;
  params.chunk_phase = seen.chunk_phase;
}
template <Mask mask>
constexpr Visibility<mask> visibility(const AttentionFwdParams &params) {
  return {params.seqlen_q,
          params.seqlen_kv,
          mask.begin_moves ? params.first_offset : 0,
          params.causal_offset,
          mask.in_chunks ? params.chunk : 0,
          mask.in_chunks ? params.diagonal : 0,
          mask.in_chunks ? params.chunk_phase : 0};
}

// Query rows that a sequence of the batch may have: by them blocks and workspaces are dealt out.
template <int32_t rows>
constexpr int32_t most_queries(const AttentionFwdParams &params) {
  return rows == rows_dense ? params.seqlen_q : params.ragged.most_queries;
}

}  // namespace flashcore::kernels
