// SPDX-License-Identifier: Apache-2.0
//
// Pieces of the keys: what the caller says of how a row's keys are cut, each piece for thread blocks of its own, whose results are merged
// (attention_fwd/grid_split.h). Kernels that cut, the CPU device and the selector ask here.
#pragma once

#include "contract/visibility.h"

namespace flashcore::kernels {

inline constexpr int64_t most_pieces = 65535;  // of a row: the grid's y
// Up to so many, results that do not depend on the batch come from kernels for few queries in a ragged batch, whatever its sequences have.
inline constexpr int64_t few_queries = 8;

// Of the keys that any query sees, the number behind the last one. The last query sees the most.
constexpr int64_t end_of_keys(const ProblemKey &key) {
  return key.seqlen_q > 0 ? visibility_of(key).keys_of(key.seqlen_q - 1).end : 0;
}
// More than one piece: nothing for kernels that do not cut. Of a ragged batch, however few keys it has: a sequence has to come to the same
// kernel in a batch with longer ones.
constexpr bool asks_for_pieces(const ProblemKey &key) {
  return key.split_count > 1 ||
         (key.split_tokens != 0 && (key.rows != rows_dense || key.split_tokens < end_of_keys(key)));
}
constexpr const char *field_of_pieces(const ProblemKey &key) {
  return key.split_count > 1 ? "split_count" : "split_tokens";
}
// Keys of a piece, which is a number of whole steps where the caller says how many pieces there are; no more than `keys` are cut.
constexpr int64_t keys_of_piece(const ProblemKey &key, int64_t keys, int64_t step_keys) {
  if (key.split_tokens != 0) return key.split_tokens;
  const int64_t count = key.split_count > 0 ? key.split_count : 1, of_count = (keys + count - 1) / count;
  return (of_count + step_keys - 1) / step_keys * step_keys;
}

}  // namespace flashcore::kernels
