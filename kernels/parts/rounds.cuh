// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block computes that stays for the whole call. Plain C++, which the host tests call.
#pragma once

#include "parts/block_work.cuh"

namespace flashcore::kernels {

// Blocks that stay, block b of `blocks` in all, and take units b, b + blocks and so on: a tile, or where later queries see more keys a
// tile and then its mirror image, the last with the first and so on, so that any two units are as long as each other. Those of one head
// are neighbours. (Heads in turn, as many as fit into L2: -5 % at S=512, no gain at 16384.) Where there is a block for each tile, that is its
// unit.
template <int32_t tile_q, Mask mask>
struct Rounds {
  static constexpr uint32_t tiles_of_unit = mask.later_see_more() ? 2 : 1;
  static constexpr uint32_t units_of_head(uint32_t tiles) { return (tiles + tiles_of_unit - 1) / tiles_of_unit; }

  using Work = BlockWork;

  uint32_t tiles;  // of a head
  uint32_t first_unit, blocks;
  int32_t count;
  bool tile_each;  // a block for each tile

  // block < blocks, and there is a unit for it
  static constexpr Rounds of(const AttentionFwdParams &params, uint32_t block, uint32_t blocks) {
    const auto tiles = (static_cast<uint32_t>(params.seqlen_q) + tile_q - 1) / tile_q;
    const uint32_t heads = static_cast<uint32_t>(params.heads_q) * static_cast<uint32_t>(params.batch);
    if (tiles_of_unit == 2 && blocks >= tiles * heads) return {tiles, block, blocks, 1, true};
    const uint32_t after_first = units_of_head(tiles) * heads - 1 - block;
    return {tiles, block, blocks, static_cast<int32_t>((after_first / blocks + 1) * tiles_of_unit), false};
  }
  // first_query of -1: this round has nothing. (The tile in the middle is its own image.)
  constexpr BlockWork work(const AttentionFwdParams &params, int32_t round) const {
    const uint32_t unit = first_unit + static_cast<uint32_t>(round) / tiles_of_unit * blocks;
    const uint32_t units = tile_each ? tiles : units_of_head(tiles);
    const uint32_t row_of_heads = unit / units, low = unit % units, high = tiles - 1 - low;
    const bool in_pairs = tiles_of_unit == 2 && !tile_each;
    const bool takes_high = in_pairs && round % 2 == 0, nothing_left = in_pairs && low == high;
    const auto heads = static_cast<uint32_t>(params.heads_q);
    const auto head_q = static_cast<int32_t>(row_of_heads % heads);
    return {static_cast<int32_t>(row_of_heads / heads), head_q, head_q / params.heads_per_kv,
            nothing_left && !takes_high ? -1 : static_cast<int32_t>(takes_high ? high : low) * tile_q};
  }
};

// Tiles of the rows of all query heads that share a key head, whose keys are split: a unit is a part of a tile's keys, one part of all
// tiles after the other, so that tiles of one head find each other's keys in L2. work().head_q is the first of the heads.
struct PackedWork : BlockWork {
  int32_t part;
};
template <int32_t tile_q>
struct PackedRounds {
  using Work = PackedWork;

  uint32_t tiles_of_head, tiles;
  uint32_t first_unit, blocks;
  int32_t count;

  // block < blocks, and there is a unit for it
  static constexpr PackedRounds of(const AttentionFwdParams &params, int32_t parts, uint32_t block, uint32_t blocks) {
    const int32_t queries = tile_q / params.heads_per_kv;
    const auto of_head = static_cast<uint32_t>((params.seqlen_q + queries - 1) / queries);
    const uint32_t tiles = of_head * static_cast<uint32_t>(params.heads_q / params.heads_per_kv * params.batch);
    const uint32_t after_first = tiles * static_cast<uint32_t>(parts) - 1 - block;
    return {of_head, tiles, block, blocks, static_cast<int32_t>(after_first / blocks) + 1};
  }
  constexpr PackedWork work(const AttentionFwdParams &params, int32_t round) const {
    const uint32_t unit = first_unit + static_cast<uint32_t>(round) * blocks, tile = unit % tiles;
    const uint32_t head = tile / tiles_of_head;
    const auto heads_kv = static_cast<uint32_t>(params.heads_q / params.heads_per_kv);
    const auto head_kv = static_cast<int32_t>(head % heads_kv);
    return {{static_cast<int32_t>(head / heads_kv), head_kv * params.heads_per_kv, head_kv,
             static_cast<int32_t>(tile % tiles_of_head) * (tile_q / params.heads_per_kv)},
            static_cast<int32_t>(unit / tiles)};
  }
};

}  // namespace flashcore::kernels
