// SPDX-License-Identifier: Apache-2.0
//
// In which order blocks that stay take tiles of queries, so that all are busy to the end and find each other's keys in L2. Plain C++, which the
// host tests call.
#pragma once

#include "attention_fwd/params.h"
#include "contract/divisor.h"

namespace flashcore::kernels {

// A tile's place in the order is a number below all_tiles. Those of one head are neighbours. Where later queries see more keys, heads are taken in
// groups, and a group's tiles by their lengths, in one of two ways, of which neither lets lengths jump:
// - from the longest one down to the shortest in the last group, up in the one before it, and so on. Places are given to blocks back and forth.
// - in pairs: the longest and the shortest, the second longest and the second shortest, and so on. A block is given both of a pair.
// The first is even to the last tile; the second has all tiles of a head in the same hands at the same time, so that its keys come from memory once.
struct TileOrder {
  Divisor tiles;        // of a head
  Divisor group_tiles;  // of a group
  Divisor group_heads, last_group_heads;
  Divisor heads_q, heads_per_kv;
  uint32_t all_tiles, last_group;
  bool in_pairs;

  static constexpr TileOrder of(int64_t batch, int64_t heads_q, int64_t heads_per_kv, int64_t tiles,
                                int64_t group_heads, bool in_pairs) {
    const int64_t heads = batch * heads_q, last_group = (heads - 1) / group_heads;
    return {Divisor::of(tiles),
            Divisor::of(group_heads * tiles),
            Divisor::of(group_heads),
            Divisor::of(heads - last_group * group_heads),
            Divisor::of(heads_q),
            Divisor::of(heads_per_kv),
            static_cast<uint32_t>(heads * tiles),
            static_cast<uint32_t>(last_group),
            in_pairs};
  }

  template <int32_t tile_q, bool later_see_more>
  constexpr BlockWork work(uint32_t place) const {
    uint32_t row_of_heads = tiles.quotient(place), tile = place - row_of_heads * tiles.divisor;
    if constexpr (later_see_more) {
      const uint32_t group = group_tiles.quotient(place), in_group = place - group * group_tiles.divisor;
      const Divisor &heads_here = group == last_group ? last_group_heads : group_heads;
      const uint32_t all_here = heads_here.divisor * tiles.divisor;
      const bool from_below = in_pairs ? in_group % 2 != 0 : (last_group - group) % 2 != 0;
      const uint32_t nth = in_pairs ? in_group / 2 : in_group, rank = from_below ? all_here - 1 - nth : nth;
      const uint32_t from_last = heads_here.quotient(rank);
      row_of_heads = group * group_heads.divisor + rank - from_last * heads_here.divisor;
      tile = tiles.divisor - 1 - from_last;
    }
    const uint32_t batch = heads_q.quotient(row_of_heads), head_q = row_of_heads - batch * heads_q.divisor;
    return {static_cast<int32_t>(batch), static_cast<int32_t>(head_q),
            static_cast<int32_t>(heads_per_kv.quotient(head_q)), static_cast<int32_t>(tile) * tile_q};
  }
};

}  // namespace flashcore::kernels
