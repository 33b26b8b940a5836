// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block of a one-dimensional grid computes, and which key tiles they see. Plain C++: the host tests
// check it against the mask's definition.
#pragma once

#include "contract/kernel_params.h"

namespace flashcore::kernels {

struct BlockWork {
  int32_t batch, head_q, head_kv;
  int32_t first_query;  // row of the tile's first query
};

// Query tiles of one head are neighbours, so that they find its keys in L2; with a causal mask the longest goes first.
template <int32_t tile_q, bool causal>
constexpr BlockWork block_work(const AttentionFwdParams &params, uint32_t block) {
  const uint32_t tiles = static_cast<uint32_t>((params.seqlen_q + tile_q - 1) / tile_q);
  const uint32_t tile = block % tiles, row_of_heads = block / tiles;
  const uint32_t heads = static_cast<uint32_t>(params.heads_q);
  const int32_t head_q = static_cast<int32_t>(row_of_heads % heads);
  return {static_cast<int32_t>(row_of_heads / heads), head_q, head_q / params.heads_per_kv,
          static_cast<int32_t>(causal ? tiles - 1 - tile : tile) * tile_q};
}

struct KeyTiles {
  int32_t count;     // tiles 0 .. count-1 hold a key that some query of the block sees
  int32_t unmasked;  // tiles 0 .. unmasked-1 are seen whole by every query of the block
};

template <int32_t tile_q, int32_t tile_kv, bool causal>
constexpr KeyTiles key_tiles(const AttentionFwdParams &params, int32_t first_query) {
  int64_t seen_by_last = params.seqlen_kv, seen_by_first = params.seqlen_kv;  // keys 0 .. n-1
  if constexpr (causal) {
    const int64_t last_query = first_query + tile_q < params.seqlen_q ? first_query + tile_q - 1 : params.seqlen_q - 1;
    const int64_t last = last_query + params.causal_offset + 1, first = int64_t{first_query} + params.causal_offset + 1;
    seen_by_last = last < 0 ? 0 : last < params.seqlen_kv ? last : params.seqlen_kv;
    seen_by_first = first < 0 ? 0 : first < params.seqlen_kv ? first : params.seqlen_kv;
  }
  return {static_cast<int32_t>((seen_by_last + tile_kv - 1) / tile_kv), static_cast<int32_t>(seen_by_first / tile_kv)};
}

}  // namespace flashcore::kernels
