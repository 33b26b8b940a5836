// SPDX-License-Identifier: Apache-2.0
//
// Shared memory of the WMMA rungs: the same buffers for every tile, laid out by one function that host and device read.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// The shape of one rung: tile_q queries by tile_kv keys a step, warps as tile_q/16 rows by two columns, K and V in `stages`.
struct WmmaTile {
  int32_t tile_q, tile_kv, head_dim, stages;

  constexpr int32_t warps() const { return tile_q / 16 * 2; }
  constexpr int32_t threads() const { return warps() * 32; }
  // Rows are padded by 16 bytes, so that the eight rows of a WMMA load start in different banks. Counted in elements.
  constexpr int32_t half_pitch() const { return head_dim + 8; }        // Q, K, V
  constexpr int32_t probability_pitch() const { return tile_kv + 8; }  // 16-bit probabilities
  constexpr int32_t score_pitch() const { return tile_kv + 4; }        // float32
  constexpr int32_t output_pitch() const { return head_dim + 4; }      // float32
};

struct WmmaLayout {                 // byte offsets
  int32_t query, key[2], value[2];  // 16-bit tiles; without a second stage both entries are the same
  int32_t probability16;            // P rounded for the tensor cores
  int32_t scores;                   // float32: scores, then the probabilities, in one buffer at different times
  int32_t output;                   // float32: O, rescaled step by step
  int32_t row_max, row_sum;         // float32 per query row
  int32_t total_bytes;

  // Buffers of step n. Selected, not indexed: an indexed array would live in local memory on the device.
  constexpr int32_t key_of(int32_t n) const { return n % 2 == 0 ? key[0] : key[1]; }
  constexpr int32_t value_of(int32_t n) const { return n % 2 == 0 ? value[0] : value[1]; }
};

constexpr WmmaLayout wmma_layout(const WmmaTile &tile) {
  WmmaLayout at{};
  int32_t next = 0;
  const auto take = [&next](int32_t bytes) {
    const int32_t start = next;
    next += bytes;
    return start;
  };
  at.query = take(tile.tile_q * tile.half_pitch() * 2);
  for (int32_t stage = 0; stage < 2; ++stage) {
    const bool own = stage < tile.stages;
    at.key[stage] = own ? take(tile.tile_kv * tile.half_pitch() * 2) : at.key[0];
    at.value[stage] = own ? take(tile.tile_kv * tile.half_pitch() * 2) : at.value[0];
  }
  at.probability16 = take(tile.tile_q * tile.probability_pitch() * 2);
  at.scores = take(tile.tile_q * tile.score_pitch() * 4);
  at.output = take(tile.tile_q * tile.output_pitch() * 4);
  at.row_max = take(tile.tile_q * 4);
  at.row_sum = take(tile.tile_q * 4);
  at.total_bytes = next;
  return at;
}

}  // namespace flashcore::kernels
