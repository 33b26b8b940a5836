// SPDX-License-Identifier: Apache-2.0
//
// A warpgroup's share of attention with wgmma: 64 query rows, scores and probabilities in registers in the layout of
// mma.sync, so that what is done to them is that of MmaAttention, in exact steps. What differs is the order: products
// run in the background, and O is multiplied to a new reference only when P.V of the tile before has ended.
#pragma once

#include "parts/mma_attention.cuh"
#include "parts/shared_matrix.cuh"
#include "parts/wgmma.cuh"

namespace flashcore::kernels {

struct WgmmaShape {
  int32_t dtype, head_dim, head_dim_v, tile_q, tile_kv;
  Mask mask;
  bool packed;  // rows of several heads, whose keys are split
};

template <WgmmaShape shape, typename Variant, typename KeyRows>
struct WgmmaAttention : MmaAttention<MmaShape{shape.dtype, shape.head_dim, shape.head_dim_v, shape.tile_kv, 1, 128,
                                              false, shape.mask, false},
                                     Variant, KeyRows> {
  using Mma = MmaAttention<MmaShape{shape.dtype, shape.head_dim, shape.head_dim_v, shape.tile_kv, 1, 128, false,
                                    shape.mask, false},
                           Variant, KeyRows>;
  using typename Mma::Output, typename Mma::Probabilities, typename Mma::RowState, typename Mma::Scores;
  static constexpr int32_t dtype = shape.dtype, head_dim = shape.head_dim, head_dim_v = shape.head_dim_v;
  static constexpr int32_t tile_kv = shape.tile_kv, panel_columns = 64;

  // With a mask, or in a part of the keys, the number of steps hides from the compiler that a warp's lanes agree on where a tile is, and every
  // descriptor would go through vector registers to the uniform ones that a product takes it from (D=256: 60 of 860 instructions of a step).
  static __device__ __forceinline__ SharedMatrix agreed(SharedMatrix matrix) {
    if constexpr (shape.mask.end_moves || shape.mask.begin_moves || shape.packed)
      matrix.low = __shfl_sync(0xffffffffu, matrix.low, 0);
    return matrix;
  }
  // In the background; `query` is at the warpgroup's first row. scores = Q . K^T
  static __device__ __forceinline__ void multiply_query_key(Scores &scores, SharedAddress query, SharedAddress key) {
    constexpr int32_t steps_of_panel = panel_columns / 16;
    auto &c = reinterpret_cast<float(&)[tile_kv / 2]>(scores);
    const auto query_matrix = agreed(SharedMatrix::along_rows(query)),
               key_matrix = agreed(SharedMatrix::along_rows(key));
#pragma unroll
    for (int32_t step = 0; step < head_dim / 16; ++step) {
      const int32_t panel = step / steps_of_panel, within = step % steps_of_panel * 32;
      Wgmma<tile_kv>::template rows_by_rows<dtype>(
          c, query_matrix.moved(panel * shape.tile_q * 128 + within).descriptor(),
          key_matrix.moved(panel * tile_kv * 128 + within).descriptor(), step != 0);
    }
  }
  // In the background: output += P . V
  static __device__ __forceinline__ void multiply_probability_value(Output &output, const Probabilities &p,
                                                                    SharedAddress value) {
    auto &c = reinterpret_cast<float(&)[head_dim_v / 2]>(output);
    const auto matrix = agreed(SharedMatrix::down_columns(value, tile_kv * 128));
#pragma unroll
    for (int32_t step = 0; step < tile_kv / 16; ++step)
      Wgmma<head_dim_v>::template add_columns<dtype>(c, p[step][0], matrix.moved(step * 16 * 128).descriptor());
  }

  // What a tile's scores did to the rows of the state.
  struct TileEffect {
    float rescale[2];     // what O has to be multiplied by, for the new reference
    float sum_before[2];  // of this thread's columns, without the tile's
  };
  // Scores (times the scale, to base 2) from which on what a fused product makes of them is put right.
  static constexpr float largest_fused = 256.0f;

  // The references become the largest scores so far, scores become probabilities. By a fused product, whose rounded
  // subtrahend makes all of a row's probabilities larger or smaller alike.
  static __device__ __forceinline__ TileEffect exponentiate(Scores &scores, RowState &state, float scale_log2) {
    TileEffect effect;
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      // Four at once: one chain of maxima would be as long as the tile is wide.
      float largest[4];
#pragma unroll
      for (int32_t j = 0; j < tile_kv / 8; ++j) {
        const float of_pair = fmaxf(scores[0][j][half * 2], scores[0][j][half * 2 + 1]);
        largest[j % 4] = j < 4 ? of_pair : fmaxf(largest[j % 4], of_pair);
      }
      const float before = state.reference[0][half];
      const float reference =
          fmaxf(before, quad_max(fmaxf(fmaxf(largest[0], largest[1]), fmaxf(largest[2], largest[3]))));
      state.reference[0][half] = reference;
      const float subtracted = subtrahend(reference), scaled = subtracted * scale_log2;
      effect.rescale[half] = exp2_approx((before - subtracted) * scale_log2);
      float sums[4] = {};
#pragma unroll
      for (int32_t j = 0; j < tile_kv / 8; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          float &score = scores[0][j][half * 2 + c];
          // A bias or a text's score may be the lowest of all floats, in place of a mask: what a fused product rounds is then more than floats hold.
          score = exp2_approx(has_large_scores<Variant> ? (score - subtracted) * scale_log2
                                                        : fmaf(score, scale_log2, -scaled));
          sums[j % 2 * 2 + c] += score;
        }
      effect.sum_before[half] = state.row_sum[0][half] * effect.rescale[half];
      state.row_sum[0][half] = effect.sum_before[half] + ((sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
    return effect;
  }
  // Of large scores the probabilities are made again, without what they have in excess: the exponent of the largest
  // one, which is 0 but for the rounded subtrahend. After all else of a step, because a branch before would keep the
  // exponentials from being spread over the rest (-9 %).
  static __device__ __forceinline__ void take_excess_back(Scores &unrounded, Probabilities &probabilities,
                                                          RowState &state, const TileEffect &effect, float scale_log2) {
    if constexpr (has_large_scores<Variant>) return;  // there is none
    const float largest = fmaxf(fabsf(subtrahend(state.reference[0][0])), fabsf(subtrahend(state.reference[0][1])));
    if (__builtin_expect(!__any_sync(0xffffffffu, !(largest * scale_log2 <= largest_fused)), 1)) return;
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float subtracted = subtrahend(state.reference[0][half]);
      const float excess = fmaf(subtracted, scale_log2, -(subtracted * scale_log2)), factor = exp2_approx(-excess);
      float sum = 0.0f;
#pragma unroll
      for (int32_t j = 0; j < tile_kv / 8; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          float &probability = unrounded[0][j][half * 2 + c];
          probability *= factor;
          sum += probability;
        }
      state.row_sum[0][half] = effect.sum_before[half] + sum;
    }
    Mma::round_probabilities(probabilities, unrounded);
  }

  // References grow ever more rarely in a long row, and where no row's does there is nothing to do. The question costs
  // more than the products where O is narrow.
  static constexpr bool asks_whether_to_rescale = head_dim_v > 128;
  static __device__ __forceinline__ void rescale_output(Output &output, const float (&rescale)[2]) {
    if (asks_whether_to_rescale && !__any_sync(0xffffffffu, rescale[0] != 1.0f || rescale[1] != 1.0f)) return;
#pragma unroll
    for (int32_t n = 0; n < head_dim_v / 8; ++n)
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) output[0][n][c] *= rescale[c / 2];
  }

  // Has one of a thread's two rows to be computed again, as far as the thread can see? Its sum is not finite or has lost its largest
  // probability, because the excess was more than floats hold; or O holds what is not finite, perhaps of a masked key. By all lanes: a
  // shuffle behind a condition on a row would wait for lanes of other rows.
  static __device__ __forceinline__ bool is_lost(const Output &output, const RowState &state) {
    float zero = 0.0f;
    bool lost = false;
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[0][half]);
      zero = fmaf(sum, 0.0f, zero);
      lost = lost || (sum == 0.0f && state.reference[0][half] != -infinity);
    }
    if constexpr (shape.mask.end_moves || shape.mask.begin_moves || hides_keys<Variant>)
#pragma unroll
      for (int32_t n = 0; n < head_dim_v / 8; ++n)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c) zero = fmaf(output[0][n][c], 0.0f, zero);
    return lost || !(zero == 0.0f);
  }
};

}  // namespace flashcore::kernels
