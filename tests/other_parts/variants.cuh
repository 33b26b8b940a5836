// SPDX-License-Identifier: Apache-2.0
//
// Variants beside PlainScores (parts/variant.cuh), as a user would write them.
#pragma once

#include "parts/numeric.cuh"
#include "parts/variant.cuh"

namespace flashcore::kernels {

// No score is larger than the cap, which is tanh's slope at 0.
struct Softcap {
  static constexpr bool changes_scores = true, has_sinks = false;
  static constexpr float cap = 0.75f;
  static __device__ __forceinline__ float change(float score, const ScorePlace &, const AttentionFwdParams &) {
    const float power = exp2_approx(score * (2 / cap * 1.44269504f));  // e^(2x); tanh x = 1 - 2 / (e^(2x) + 1)
    return cap - 2 * cap * reciprocal_approx(power + 1);
  }
};

// Keys count less the further they are from the query, by a slope for each head.
struct Distance {
  static constexpr bool changes_scores = true, has_sinks = false;
  static __device__ __forceinline__ float change(float score, const ScorePlace &place, const AttentionFwdParams &) {
    const int32_t distance = place.key < place.query ? place.query - place.key : place.key - place.query;
    return score - 0.01f * static_cast<float>((place.head_q + 1) * distance);
  }
};

}  // namespace flashcore::kernels
