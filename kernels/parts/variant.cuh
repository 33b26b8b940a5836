// SPDX-License-Identifier: Apache-2.0
//
// How scores change between Q.K^T and the softmax. Each kernel is compiled for the variant that its line `using Variant = ...;` names,
// and pays for no other. A variant is a struct with
//
//   static constexpr bool changes_scores   false: there is no change()
//   static float change(float score, const ScorePlace &place, const AttentionFwdParams &params)
//
// score is softmax_scale * (q . k), as the exponential function takes it, and so is what change() returns. Every thread calls it for the
// scores that it holds, in any order and for keys past the end of the sequence too, so it must not synchronize; masks come after it.
#pragma once

#include "attention_fwd/params.h"

namespace flashcore::kernels {

struct ScorePlace {
  int32_t batch, head_q, query, key;
};

// Attention as it is known: nothing happens to scores, and the scale is left to the exponential.
struct PlainScores {
  static constexpr bool changes_scores = false;
};

// The score at a place, of what tensor cores left of it, for a softmax that multiplies it by softmax_scale_log2.
template <typename Variant>
__device__ __forceinline__ float varied_score(float product, const ScorePlace &place,
                                              const AttentionFwdParams &params) {
  if constexpr (Variant::changes_scores)
    return Variant::change(product * (params.scale_log2 * 0.69314718055994530942f), place, params);
  else
    return product;
}
template <typename Variant>
__device__ __forceinline__ float softmax_scale_log2(const AttentionFwdParams &params) {
  return Variant::changes_scores ? 1.44269504088896340736f : params.scale_log2;
}

}  // namespace flashcore::kernels
