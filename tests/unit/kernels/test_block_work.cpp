// SPDX-License-Identifier: Apache-2.0
//
// Which rows and key tiles a thread block takes, held to the mask's definition: key j is visible to query i when
// j <= i + causal_offset. The functions are the kernels' own, compiled for the host.
#define BOOST_TEST_MODULE unit_kernels
#include <boost/test/unit_test.hpp>
#include <set>
#include <tuple>

#include "parts/block_work.cuh"

using namespace flashcore::kernels;

namespace {

AttentionFwdParams params_for(int32_t seqlen_q, int32_t seqlen_kv, int32_t offset) {
  AttentionFwdParams params{};
  params.batch = 3, params.heads_q = 4, params.heads_per_kv = 2, params.heads_per_group = 5;
  params.seqlen_q = seqlen_q, params.seqlen_kv = seqlen_kv, params.causal_offset = offset;
  return params;
}

template <bool causal>
bool visible(const AttentionFwdParams &params, int32_t query, int32_t key) {
  return key < params.seqlen_kv && (!causal || key <= query + params.causal_offset);
}

template <int32_t tile_q, int32_t tile_kv, bool causal>
void check_tiles(const AttentionFwdParams &params) {
  for (int32_t first = 0; first < params.seqlen_q; first += tile_q) {
    const KeyTiles tiles = key_tiles<tile_q, tile_kv, causal>(params, first);
    const int32_t all = (params.seqlen_kv + tile_kv - 1) / tile_kv;
    for (int32_t tile = 0; tile < all; ++tile) {
      bool some = false, whole = true;
      for (int32_t query = first; query < first + tile_q && query < params.seqlen_q; ++query)
        for (int32_t key = tile * tile_kv; key < (tile + 1) * tile_kv; ++key) {
          some |= visible<causal>(params, query, key);
          whole &= visible<causal>(params, query, key);
        }
      BOOST_TEST((tile < tiles.count) == some, "tile " << tile << " from query " << first);
      if (tile < tiles.unmasked) BOOST_TEST(whole, "unmasked tile " << tile << " from query " << first);
    }
    BOOST_TEST(tiles.unmasked <= all);
    // Before the tiles that are left come, a query has seen a key, and not more than it must have.
    for (int32_t query = first; query < first + tile_q && query < params.seqlen_q; ++query) {
      const int32_t left = tiles_left<tile_kv, causal>(params, tiles, query);
      BOOST_TEST((left >= 0 && left <= tiles.unmasked));
      int32_t seen = 0;
      for (int32_t key = left * tile_kv; key < tiles.count * tile_kv; ++key)
        seen += visible<causal>(params, query, key);
      if (left > 0) BOOST_TEST(seen > 0, "query " << query << " before tile " << left);
      if (left < tiles.unmasked) BOOST_TEST(seen <= tile_kv, "query " << query << " from tile " << left);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(key_tiles_hold_what_the_mask_says) {
  for (const int32_t seqlen_q : {1, 31, 64, 100, 129})
    for (const int32_t seqlen_kv : {1, 32, 63, 64, 65, 200})
      for (const int32_t offset : {0, seqlen_kv - seqlen_q, -500}) {
        BOOST_TEST_CONTEXT(seqlen_q << " queries, " << seqlen_kv << " keys, offset " << offset) {
          const AttentionFwdParams params = params_for(seqlen_q, seqlen_kv, offset);
          check_tiles<64, 64, true>(params);
          check_tiles<128, 32, true>(params);
          check_tiles<64, 64, false>(params);
        }
      }
}

BOOST_AUTO_TEST_CASE(blocks_cover_every_tile_of_every_head_once) {
  const AttentionFwdParams params = params_for(300, 300, 0);
  std::set<std::tuple<int32_t, int32_t, int32_t>> seen;
  const uint32_t blocks = 5 * 4 * 3;  // tiles of 64 rows, heads, batch entries
  for (uint32_t block = 0; block < blocks; ++block) {
    const BlockWork work = block_work<64, true>(params, block);
    BOOST_TEST(work.head_kv == work.head_q / 2);
    BOOST_TEST((work.batch < 3 && work.head_q < 4 && work.first_query < 300 && work.first_query % 64 == 0));
    BOOST_TEST(seen.insert({work.batch, work.head_q, work.first_query}).second);
  }
  // Within a group of five heads the longest blocks go first; the last group has two.
  for (uint32_t block = 0; block < blocks; ++block) {
    const BlockWork work = block_work<64, true>(params, block);
    const uint32_t group_heads = block < 50 ? 5 : 2, in_group = block % 25;
    BOOST_TEST(work.first_query == static_cast<int32_t>(4 - in_group / group_heads) * 64);
    BOOST_TEST(static_cast<uint32_t>(work.batch * 4 + work.head_q) == block / 25 * 5 + in_group % group_heads);
  }
  BOOST_TEST((block_work<64, false>(params, 0).first_query == 0));
}
