// SPDX-License-Identifier: Apache-2.0
//
// How scores change between Q.K^T and the softmax. Each kernel is compiled for the variant that its line `using Variant = ...;` names,
// and pays for no other. A variant is a struct with
//
//   static constexpr bool changes_scores   false: there is no change()
//   static constexpr bool has_sinks        params.sinks joins the sums of rows (row_end.cuh)
//   static float change(float score, const ScorePlace &place, const AttentionFwdParams &params)
//
// score is softmax_scale * (q . k), as the exponential function takes it, and so is what change() returns. Every thread calls it for the
// scores that it holds, in any order and for keys past the end of the sequence too, so it must not synchronize; masks come after it.
#pragma once

#include "attention_fwd/params.h"
#include "contract/problem_key.h"
#include "parts/ptx_sm80.cuh"
#include "parts/score_tensors.cuh"

namespace flashcore::kernels {

// Attention as it is known: nothing happens to scores, and the scale is left to the exponential.
struct PlainScores {
  static constexpr bool changes_scores = false, has_sinks = false;
};

// What the library itself offers, by the bits of `Scores`.
template <int32_t scores>
struct OfferedScores {
  static constexpr bool changes_scores = (scores & ~scores_sinks) != 0, has_sinks = (scores & scores_sinks) != 0;

  static __device__ __forceinline__ float change(float score, const ScorePlace &place,
                                                 const AttentionFwdParams &params) {
    if constexpr ((scores & scores_softcap) != 0) score = params.softcap * tanh_of(score * params.softcap_inverse);
    if constexpr ((scores & scores_alibi) != 0) {
      const TensorView &slopes = params.alibi_slopes;
      const float slope = reinterpret_cast<const float *>(
          slopes.data)[place.batch * slopes.stride_batch + place.head_q * slopes.stride_head];
      const int32_t distance = place.query + (params.seqlen_kv - params.seqlen_q) - place.key;
      score = fmaf(-slope, fabsf(static_cast<float>(distance)), score);
    }
    if constexpr ((scores & scores_bias) != 0) score = with_bias(score, bias_at(params, place));
    if constexpr ((scores & scores_mask) != 0) score = mask_shows(params, place) ? score : -infinity;
    return score;
  }

 private:
  // 1 - 2 / (e^(2x) + 1), which has lost too many digits where x is small: there the first terms of the series. tanh.approx, of one
  // instruction, is off by 2^-11, times a cap of 30 as much as a 16-bit probability's rounding thirty times.
  static __device__ __forceinline__ float tanh_of(float x) {
    const float far = 1.0f - 2.0f * reciprocal_approx(exp2_approx(x * 2.88539008f) + 1.0f), square = x * x;
    const float series = fmaf(fmaf(fmaf(-0.0539682540f, square, 0.133333333f), square, -0.333333333f), square, 1.0f);
    return fabsf(x) < 0.25f ? x * series : far;
  }
};
template <int32_t scores>
struct VariantOf {
  using Variant = OfferedScores<scores>;
};
template <>
struct VariantOf<0> {
  using Variant = PlainScores;
};
template <int32_t scores>
using ChosenScores = typename VariantOf<scores>::Variant;

// What tensor cores left of a score, times the scale.
__device__ __forceinline__ float scaled_product(float product, const AttentionFwdParams &params) {
  return product * (params.scale_log2 * 0.69314718055994530942f);
}
// The score at a place, of what tensor cores left of it, for a softmax that multiplies it by softmax_scale_log2.
template <typename Variant>
__device__ __forceinline__ float varied_score(float product, const ScorePlace &place,
                                              const AttentionFwdParams &params) {
  if constexpr (Variant::changes_scores)
    return Variant::change(scaled_product(product, params), place, params);
  else
    return product;
}
// The same without its bias and its mask, which kernels add where their layout allows pairs of keys.
template <typename Variant>
__device__ __forceinline__ float varied_but_for_tensors(float product, const ScorePlace &place,
                                                        const AttentionFwdParams &params) {
  if constexpr (hides_keys<Variant>)
    return ScoreTensorsOf<Variant>::Rest::change(scaled_product(product, params), place, params);
  else
    return varied_score<Variant>(product, place, params);
}
template <typename Variant>
__device__ __forceinline__ float softmax_scale_log2(const AttentionFwdParams &params) {
  return Variant::changes_scores ? 1.44269504088896340736f : params.scale_log2;
}

}  // namespace flashcore::kernels
