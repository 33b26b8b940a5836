// SPDX-License-Identifier: Apache-2.0
//
// What is done to a warp's scores of a tile of keys by a warpgroup's products, whose rows are queries of one head, or of all heads that share
// a key head.
#pragma once

#include "parts/mma_attention.cuh"
#include "parts/packed_tile.cuh"

namespace flashcore::kernels {

// In the tile.
__device__ __forceinline__ int32_t first_row_of_warp(int32_t warpgroup) {
  return warpgroup * 64 + thread_anew() % 128 / 32 * 16;
}

// first_row: the query of the warpgroup's first row.
template <typename Attention, typename Packed, typename Variant, bool packs>
struct TileScores {
  using Scores = typename Attention::Scores;
  using Shown = typename Attention::ShownByMask;

  // What the variant makes of them, and -infinity where a key is hidden; `masked`: the ends of runs may be in the tile.
  template <bool masked>
  static __device__ __forceinline__ void change(Scores &scores, const Shown &shown, const AttentionFwdParams &params,
                                                const BlockWork &work, int32_t first_key, int32_t warpgroup,
                                                int32_t first_row) {
    if constexpr (Variant::changes_scores && packs)
      Packed::change_scores(scores, params, work, first_key, first_row_of_warp(warpgroup));
    else if constexpr (Variant::changes_scores)
      Attention::change_scores(scores, params, work, first_key, first_row + thread_anew() % 128 / 32 * 16);
    if constexpr (has_mask<Variant>) shown.hide_others(scores);
    if constexpr (masked && packs)
      Packed::mask_scores(scores, params, work, first_key, first_row_of_warp(warpgroup));
    else if constexpr (masked)
      Attention::mask_scores(scores, params, first_key, first_row + thread_anew() % 128 / 32 * 16);
  }
  // The mask's bits, where there is one.
  static __device__ __forceinline__ void look_at_mask(Shown &shown, const AttentionFwdParams &params,
                                                      const BlockWork &work, int32_t first_key, int32_t warpgroup,
                                                      int32_t first_row) {
    if constexpr (has_mask<Variant> && packs)
      shown = Packed::shown_by_mask(params, work, first_key, first_row_of_warp(warpgroup));
    else if constexpr (has_mask<Variant>)
      shown = Attention::shown_by_mask(params, work, first_key, first_row + thread_anew() % 128 / 32 * 16);
  }
};

}  // namespace flashcore::kernels
