// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block of a one-dimensional grid computes, and which key tiles they see. Plain C++: the host tests
// check it against the mask's definition.
#pragma once

#include "attention_fwd/params.h"

namespace flashcore::kernels {

struct BlockWork {
  int32_t batch, head_q, head_kv;
  int32_t first_query;  // row of the tile's first query
};

// Query tiles of one head are neighbours, so that they find its keys in L2. With a causal mask the heads are taken in groups
// whose keys fit into L2, and within a group the longest tiles go first: the last blocks of a grid, which no others
// follow, are then short ones (head by head instead: up to 8 % slower).
template <int32_t tile_q, bool causal>
constexpr BlockWork block_work(const AttentionFwdParams &params, uint32_t block) {
  const uint32_t tiles = static_cast<uint32_t>((params.seqlen_q + tile_q - 1) / tile_q);
  const uint32_t heads = static_cast<uint32_t>(params.heads_q);
  uint32_t tile = block % tiles, row_of_heads = block / tiles;
  if constexpr (causal) {
    const uint32_t group_heads = static_cast<uint32_t>(params.heads_per_group),
                   all_heads = heads * static_cast<uint32_t>(params.batch);
    const uint32_t first_head = row_of_heads / group_heads * group_heads, in_group = block - first_head * tiles;
    const uint32_t heads_here = all_heads - first_head < group_heads ? all_heads - first_head : group_heads;
    tile = in_group / heads_here;
    row_of_heads = first_head + in_group % heads_here;
  }
  const int32_t head_q = static_cast<int32_t>(row_of_heads % heads);
  return {static_cast<int32_t>(row_of_heads / heads), head_q, head_q / params.heads_per_kv,
          static_cast<int32_t>(causal ? tiles - 1 - tile : tile) * tile_q};
}

struct KeyTiles {
  int32_t count;     // tiles 0 .. count-1 hold a key that some query of the block sees
  int32_t unmasked;  // tiles 0 .. unmasked-1 are seen whole by every query of the block
};

// Keys 0 .. n-1 are seen by a query.
template <bool causal>
constexpr int64_t keys_seen(const AttentionFwdParams &params, int32_t query) {
  if (!causal) return params.seqlen_kv;
  const int64_t seen = int64_t{query} + params.causal_offset + 1;
  return seen < 0 ? 0 : seen < params.seqlen_kv ? seen : params.seqlen_kv;
}

template <int32_t tile_q, int32_t tile_kv, bool causal>
constexpr KeyTiles key_tiles(const AttentionFwdParams &params, int32_t first_query) {
  const int32_t last_query = first_query + tile_q < params.seqlen_q ? first_query + tile_q - 1 : params.seqlen_q - 1;
  return {static_cast<int32_t>((keys_seen<causal>(params, last_query) + tile_kv - 1) / tile_kv),
          static_cast<int32_t>(keys_seen<causal>(params, first_query) / tile_kv)};
}

// Of the unmasked tiles, how many are left when every query from `first_query` on has seen a key in the tiles behind them.
template <int32_t tile_kv, bool causal>
constexpr int32_t tiles_left(const AttentionFwdParams &params, const KeyTiles &tiles, int32_t first_query) {
  const int64_t seen = keys_seen<causal>(params, first_query);
  const int32_t left = static_cast<int32_t>((seen > 0 ? seen - 1 : 0) / tile_kv);
  return left < tiles.unmasked ? left : tiles.unmasked;
}

}  // namespace flashcore::kernels
