// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block computes that stays for the whole call. Plain C++, which the host tests call.
#pragma once

#include "attention_fwd/tile_order.h"

namespace flashcore::kernels {

// Blocks that stay, block b of `blocks` in all, and are given the places of the tiles' order in turn.
template <int32_t tile_q, Mask mask>
struct Rounds {
  using Work = BlockWork;

  const TileOrder &order;
  uint32_t block, blocks;
  int32_t count;

  // block < blocks <= tiles; where they come in pairs there are as many of those
  static constexpr Rounds of(const TileOrder &order, uint32_t block, uint32_t blocks) {
    const uint32_t whole = order.all_tiles / blocks;  // rounds of all blocks, but for those of pairs
    Rounds rounds{order, block, blocks, static_cast<int32_t>(whole / 2 * 2)};
    while (rounds.place(static_cast<uint32_t>(rounds.count)) < order.all_tiles) ++rounds.count;
    return rounds;
  }
  constexpr BlockWork work(const AttentionFwdParams &, int32_t round) const {
    return order.template work<tile_q, mask.later_see_more()>(place(static_cast<uint32_t>(round)));
  }

 private:
  constexpr uint32_t place(uint32_t round) const {
    if (!mask.later_see_more()) return round * blocks + block;
    if (order.in_pairs) return (round / 2 * blocks + block) * 2 + round % 2;
    return round * blocks + (round % 2 != 0 ? blocks - 1 - block : block);
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
