// SPDX-License-Identifier: Apache-2.0
//
// One case of the grid: what is computed, how the tensors lie in memory, and which garbage lies beside the data.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/reference_attention.hpp"

namespace flashcore::tests {

// How a tensor lies in memory. Whatever lies between and around its elements is NaN in inputs and poison in outputs.
enum class Layout {
  contiguous,    // all four strides given as 0
  bshd,          // [batch, sequence, head, dimension], the strides spelled out
  bhsd,          // [batch, head, sequence, dimension]
  padded,        // bshd with gaps of 8 elements per head, 16 per row, 32 per sequence: rows stay 16-byte aligned
  odd,           // bshd with odd strides from an odd element: no row but by chance is aligned to more than 2 bytes
  shared_batch,  // keys and values: batch stride 0, one cache for all; others: bshd
  shared_head,   // keys and values: head stride 0, all heads read the same; others: bshd
};

// Which LSE is asked for.
enum class LseRequest { none, natural, base2, padded };  // padded: natural, with gaps between rows and heads

// NaN and infinity where no output may show them. Keys and values past the end are NaN in every case.
enum class Garbage {
  none,
  later_keys,   // in the last keys, which the first half of the queries does not see (causal cases)
  later_values  // in their values
};

struct AttentionCase {
  int64_t batch = 1, seqlen_q = 64, seqlen_kv = 64;
  int32_t heads_q = 2, heads_kv = 2;
  int32_t head_dim = 64, head_dim_v = 64;
  tools::Float16Type dtype = tools::Float16Type::float16;
  tools::ReferenceCausal causal = tools::ReferenceCausal::none;
  Layout layout = Layout::contiguous;
  LseRequest lse = LseRequest::natural;
  Garbage garbage = Garbage::none;
  float input_std = 1;
  float sink = 1;              // the first three keys times this: scores far above all others, met last by who walks down
  uint32_t seed = 0;           // other inputs for the same case
  std::optional<float> scale;  // nullopt: the library's default

  std::string describe() const;  // "fp16 b1 h4/2 sq65 sk193 d64 causal-br odd lse std3 scale0.5 later-values"
  double softmax_scale() const;
  // Are the fixed bounds of accuracy.hpp valid here: N(0,1), default scale, at least 512 keys in every row?
  bool fixed_bounds_apply() const;
};

// FLASHCORE_TEST_GRID: "short" (the default), "full" (many more combinations, minutes) or "reduced" (few and small, for
// sanitizers). Anything else ends the program: a misspelt word must not look like a full test.
enum class GridSize { reduced, short_grid, full };
GridSize grid_size_from_environment();

// The cases, the same on every run and machine. FLASHCORE_TEST_CASE, if set, keeps those whose description contains it.
std::vector<AttentionCase> attention_grid(GridSize size);

}  // namespace flashcore::tests
