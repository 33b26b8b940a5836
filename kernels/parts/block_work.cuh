// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block of a one-dimensional grid computes. Plain C++, which the host tests call.
#pragma once

#include "attention_fwd/params.h"

namespace flashcore::kernels {

// Query tiles of one head are neighbours, so that they find its keys in L2. Where later queries see more keys the heads are taken in groups
// whose keys fit into L2, and within a group the longest tiles go first: the last blocks of a grid, which no others
// follow, are then short ones (head by head instead: up to 8 % slower).
template <int32_t tile_q, Mask mask>
constexpr BlockWork block_work(const AttentionFwdParams &params, uint32_t block) {
  const uint32_t tiles = (static_cast<uint32_t>(params.seqlen_q) + tile_q - 1) / tile_q;
  const uint32_t heads = static_cast<uint32_t>(params.heads_q);
  uint32_t tile = block % tiles, row_of_heads = block / tiles;
  if constexpr (mask.later_see_more()) {
    const uint32_t group_heads = static_cast<uint32_t>(params.heads_per_group),
                   all_heads = heads * static_cast<uint32_t>(params.batch);
    const uint32_t first_head = row_of_heads / group_heads * group_heads, in_group = block - first_head * tiles;
    const uint32_t heads_here = all_heads - first_head < group_heads ? all_heads - first_head : group_heads;
    tile = in_group / heads_here;
    row_of_heads = first_head + in_group % heads_here;
  }
  const int32_t head_q = static_cast<int32_t>(row_of_heads % heads);
  return {static_cast<int32_t>(row_of_heads / heads), head_q, head_q / params.heads_per_kv,
          static_cast<int32_t>(mask.later_see_more() ? tiles - 1 - tile : tile) * tile_q};
}

}  // namespace flashcore::kernels
