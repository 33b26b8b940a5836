// SPDX-License-Identifier: Apache-2.0
//
// The oracle: attention by its definition, row by row, in float64, untiled and unhurried. It shares no code with the
// library that it judges, and is itself held to vectors that PyTorch made (tests/golden). How far a result may be from
// it is accuracy.hpp's business.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "float16.hpp"

namespace flashcore::tools {

enum class ReferenceCausal { none, top_left, bottom_right };

// One attention. Tensors are contiguous; 16-bit inputs are exact as float.
//   s[i][j] = scale * q[i].k[j] ; softcap * tanh(s / softcap) ; alibi and bias are added ; masks hide keys
//   o[i] = sum_j exp(s[i][j] - lse[i]) * v[j] ; lse[i] = log(sum_j exp(s[i][j]) + exp(sink))
// A hidden key is never read. A row that sees no key, or none with a score above -inf, and has no sink: o = 0, lse = -inf.
struct ReferenceAttention {
  int64_t batch = 1, seqlen_q = 0, seqlen_kv = 0;
  int64_t heads_q = 1, heads_kv = 1;  // query head h reads key head h / (heads_q / heads_kv)
  int64_t head_dim = 0, head_dim_v = 0;
  std::vector<float> query;  // [batch, seqlen_q, heads_q, head_dim]
  std::vector<float> key;    // [batch, seqlen_kv, heads_kv, head_dim]
  std::vector<float> value;  // [batch, seqlen_kv, heads_kv, head_dim_v]

  double scale = 1;
  double softcap = 0;  // 0: none
  ReferenceCausal causal = ReferenceCausal::none;
  int64_t window_left = -1, window_right = -1;  // -1: open; positions are aligned at the bottom right
  // Where query 0 and key 0 are in the sequence; -1: the last query is at the last key, and key 0 at 0.
  int64_t query_position = -1, key_position = 0;
  int64_t attention_chunk = 0;      // 0: none; else query i sees keys of the chunk of its own position alone
  std::vector<float> alibi_slopes;  // [heads_q], or [batch, heads_q], or empty
  std::vector<float> bias;          // [heads_q, seqlen_q, seqlen_kv], or with [batch] ahead, or empty; -inf hides a key
  std::vector<uint8_t> mask;        // the same shapes; 0 hides a key
  std::vector<float> sinks;         // [heads_q], or empty
  // A variant: what a score becomes at last, and whether row i of a head sees key j beside the masks; or empty.
  std::function<double(double score, int64_t batch, int64_t head, int64_t i, int64_t j)> variant_score;
  std::function<bool(int64_t batch, int64_t head, int64_t i, int64_t j)> variant_visible;
  bool lse_base2 = false;
};

struct ReferenceResult {
  std::vector<double> output;  // [batch, seqlen_q, heads_q, head_dim_v]
  std::vector<double> lse;     // [batch, heads_q, seqlen_q]
};

// The position of query row i, counted from key 0.
int64_t position_among_keys(const ReferenceAttention &problem, int64_t i);

// Does query row i see key j, as far as causal masks, windows and chunks go?
bool key_is_visible(const ReferenceAttention &problem, int64_t i, int64_t j);

// Do mask and bias of that batch entry and query head show it?
bool key_is_shown(const ReferenceAttention &problem, int64_t batch, int64_t head, int64_t i, int64_t j);

// Number of threads worth starting for a reference: what the process may run on.
int reference_threads();

// The right answer, in float64.
ReferenceResult reference_attention(const ReferenceAttention &problem, int threads);

// What an honest 16-bit implementation gets: float32 arithmetic, probabilities (relative to the row's maximum) and
// output rounded once to the type. Its error against reference_attention is the yardstick for every kernel's.
ReferenceResult plain_16bit_attention(const ReferenceAttention &problem, Float16Type type, int threads);

// The same with float64 for float32, so that all of its error is the one rounding of probabilities and output: the yardstick
// where rows are so long that the order of a float32 sum would show. The largest probability of a row is rounded as this number: 1
// is exact, others are as good where no key stands out.
ReferenceResult rounded_once_attention(const ReferenceAttention &problem, Float16Type type, int threads,
                                       double largest_probability = 1);

}  // namespace flashcore::tools
