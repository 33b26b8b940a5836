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
#include "parts/numeric.cuh"
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
      const int32_t distance = place.query + params.diagonal - place.key;
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

// Keys begin .. end - 1 of a sequence.
struct KeyRange {
  int32_t begin, end;
};
// A pointer to const of whatever type a text's function takes.
struct VariantParams {
  const void *data;
  template <typename T>
  __device__ __forceinline__ operator const T *() const {
    return static_cast<const T *>(data);
  }
};
// A user's text after what the library offers. Text is what the generated header makes of the functions that the text has; they meet
// places of the sequences alone, though rows and keys past the end are computed too.
template <typename Text, typename Offered>
struct TextVariant;
template <typename Text, typename OfferedBeside>
struct TextOf<TextVariant<Text, OfferedBeside>> {
  static constexpr bool changes_scores = Text::has_score, has_key_range = Text::has_key_range,
                        hides_keys = Text::has_visible || has_key_range;
  using Offered = OfferedBeside;
};
template <typename Text, typename Offered>
struct TextVariant {
  static constexpr bool changes_scores =
      Offered::changes_scores || Text::has_score || Text::has_visible || Text::has_key_range;
  static constexpr bool has_sinks = Offered::has_sinks;

  static __device__ __forceinline__ float change(float score, const ScorePlace &place,
                                                 const AttentionFwdParams &params) {
    if constexpr (Offered::changes_scores) score = Offered::change(score, place, params);
    const bool hidden = hides_keys<Offered> && score == -infinity;  // by a tensor, and so it stays
    if constexpr (Text::has_score) {
      const ScorePlace real = within(place, params);
      score = Text::score(score, real.batch, real.head_q, real.query, real.key, block(params));
    }
    if constexpr (TextOf<TextVariant>::hides_keys) score = shows(place, params) ? score : -infinity;
    return hidden ? -infinity : score;
  }
  static __device__ __forceinline__ bool shows(const ScorePlace &place, const AttentionFwdParams &params) {
    const ScorePlace real = within(place, params);
    bool shown = true;
    if constexpr (Text::has_key_range) {
      const KeyRange range = key_range(real.batch, real.head_q, real.query, params);
      shown = real.key >= range.begin && real.key < range.end;
    }
    if constexpr (Text::has_visible)
      shown = shown && Text::visible(real.batch, real.head_q, real.query, real.key, block(params));
    return shown;
  }
  static __device__ __forceinline__ KeyRange key_range(int32_t batch, int32_t head_q, int32_t query,
                                                       const AttentionFwdParams &params) {
    return Text::key_range(batch, head_q, query, block(params));
  }

 private:
  static __device__ __forceinline__ VariantParams block(const AttentionFwdParams &params) {
    return {reinterpret_cast<const void *>(params.variant_params)};
  }
  static __device__ __forceinline__ ScorePlace within(const ScorePlace &place, const AttentionFwdParams &params) {
    return {place.batch, place.head_q, min(place.query, params.seqlen_q - 1), min(place.key, params.seqlen_kv - 1)};
  }
};
struct VariantText;  // of the generated header, in a module with a text

template <int32_t scores>
using ChosenScores = OneOf<(scores & scores_variant) != 0,
                           TextVariant<VariantText, typename VariantOf<(scores & ~scores_variant)>::Variant>,
                           typename VariantOf<(scores & ~scores_variant)>::Variant>;

// Of some tiles of keys those that hold a key of some query's range, for the queries first_query .. first_query + count - 1 as far as they
// exist. By all lanes of a warp.
template <typename Variant, typename Tiles>
__device__ __forceinline__ Tiles tiles_in_range(Tiles tiles, int32_t batch, int32_t head_q, int32_t first_query,
                                                int32_t count, int32_t tile_kv, const AttentionFwdParams &params,
                                                int32_t lane) {
  int32_t begin = params.seqlen_kv, end = 0;
  for (int32_t i = lane; i < count && first_query + i < params.seqlen_q; i += 32) {
    const KeyRange range = Variant::key_range(batch, head_q, first_query + i, params);
    if (range.begin >= range.end) continue;
    begin = min(begin, range.begin), end = max(end, range.end);
  }
#pragma unroll
  for (int32_t distance = 16; distance != 0; distance /= 2) {
    begin = min(begin, __shfl_xor_sync(0xffffffffu, begin, distance));
    end = max(end, __shfl_xor_sync(0xffffffffu, end, distance));
  }
  const int32_t past_last = end <= 0 ? 0 : (end - 1) / tile_kv + 1, first = begin < 0 ? 0 : begin / tile_kv;
  tiles.end = min(tiles.end, past_last);
  tiles.moving_begin = min(max(tiles.moving_begin, first), tiles.end);
  return tiles;
}

// put() the tiles of keys that a block of queries works through, by one thread: tiles(), or what a text's ranges leave of them.
template <typename Variant, typename TilesOf, typename Work, typename Put>
__device__ __forceinline__ void put_tiles(TilesOf tiles, const AttentionFwdParams &params, const Work &work,
                                          int32_t tile_q, int32_t tile_kv, Put put) {
  if constexpr (!TextOf<Variant>::has_key_range) {
    if (threadIdx.x == 0) put(tiles());
  } else if (threadIdx.x < 32) {
    const auto in_range = tiles_in_range<Variant>(tiles(), work.batch, work.head_q, work.first_query, tile_q, tile_kv,
                                                  params, static_cast<int32_t>(threadIdx.x));
    if (threadIdx.x == 0) put(in_range);
  }
}

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
  if constexpr (ScoreTensorsOf<Variant>::bits != 0)
    return ScoreTensorsOf<Variant>::Rest::change(scaled_product(product, params), place, params);
  else
    return varied_score<Variant>(product, place, params);
}
template <typename Variant>
__device__ __forceinline__ float softmax_scale_log2(const AttentionFwdParams &params) {
  return Variant::changes_scores ? 1.44269504088896340736f : params.scale_log2;
}

}  // namespace flashcore::kernels
