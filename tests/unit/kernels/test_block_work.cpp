// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block takes. The functions are the kernels' own, compiled for the host.
#define BOOST_TEST_MODULE unit_kernels
#include <boost/test/unit_test.hpp>
#include <random>
#include <set>
#include <tuple>

#include "contract/passport.h"
#include "parts/block_work.cuh"
#include "parts/rounds.cuh"

using namespace flashcore::kernels;

namespace {

AttentionFwdParams params_for(int32_t seqlen) {
  AttentionFwdParams params{};
  params.batch = 3, params.heads_q = 4, params.heads_per_kv = 2, params.heads_per_group = 5;
  params.seqlen_q = params.seqlen_kv = seqlen;
  return params;
}

}  // namespace

BOOST_AUTO_TEST_CASE(blocks_cover_every_tile_of_every_head_once) {
  const AttentionFwdParams params = params_for(300);
  std::set<std::tuple<int32_t, int32_t, int32_t>> seen;
  const uint32_t blocks = 5 * 4 * 3;  // tiles of 64 rows, heads, batch entries
  for (uint32_t block = 0; block < blocks; ++block) {
    const BlockWork work = block_work<64, causal_mask>(params, block);
    BOOST_TEST(work.head_kv == work.head_q / 2);
    BOOST_TEST((work.batch < 3 && work.head_q < 4 && work.first_query < 300 && work.first_query % 64 == 0));
    BOOST_TEST(seen.insert({work.batch, work.head_q, work.first_query}).second);
  }
  // Within a group of five heads the longest blocks go first; the last group has two.
  for (uint32_t block = 0; block < blocks; ++block) {
    const BlockWork work = block_work<64, causal_mask>(params, block);
    const uint32_t group_heads = block < 50 ? 5 : 2, in_group = block % 25;
    BOOST_TEST(work.first_query == static_cast<int32_t>(4 - in_group / group_heads) * 64);
    BOOST_TEST(static_cast<uint32_t>(work.batch * 4 + work.head_q) == block / 25 * 5 + in_group % group_heads);
  }
  BOOST_TEST((block_work<64, no_mask>(params, 0).first_query == 0));
}

BOOST_AUTO_TEST_CASE(divisors_divide) {
  constexpr uint32_t most = 0x7fffffff;
  std::mt19937 random(1);
  for (uint32_t divisor :
       {1u, 2u, 3u, 5u, 7u, 8u, 64u, 65535u, 65536u, 65537u, most / 2, most / 2 + 1, most - 1, most}) {
    const Divisor by = Divisor::of(divisor);
    for (uint32_t near : {0u, 1u, 2u, 1000u, most / divisor - 1, most / divisor})
      for (int32_t off = -1; off <= 1; ++off)
        if (const int64_t number = int64_t{near} * divisor + off; number >= 0 && number <= most)
          BOOST_TEST(by.quotient(static_cast<uint32_t>(number)) == static_cast<uint32_t>(number) / divisor);
  }
  for (int i = 0; i < 100000; ++i) {
    const uint32_t divisor = std::max<uint32_t>(1, (random() & most) >> random() % 31), number = random() & most;
    BOOST_REQUIRE(Divisor::of(divisor).quotient(number) == number / divisor);
  }
}

namespace {

using Place = std::tuple<int32_t, int32_t, int32_t>;
TileOrder order_of(const AttentionFwdParams &params, int32_t tile_q, int64_t group_heads, bool in_pairs) {
  return TileOrder::of(params.batch, params.heads_q, params.heads_per_kv, ceil_div(params.seqlen_q, tile_q),
                       group_heads, in_pairs);
}

}  // namespace

// Under a causal mask two tiles that follow one another are of one length or of neighbouring ones, or two are as long as any other two.
BOOST_AUTO_TEST_CASE(lengths_never_jump_in_the_order_of_tiles) {
  const AttentionFwdParams params = params_for(300);
  for (const int64_t group_heads : {2, 4, 6, 8, 10, 12}) {
    const TileOrder order = order_of(params, 64, group_heads, false);
    BOOST_TEST(order.all_tiles == 5u * 12);
    const auto query = [&](uint32_t place) { return order.work<64, true>(place).first_query; };
    BOOST_TEST(query(order.all_tiles - 1) == 0);
    for (uint32_t place = 1; place < order.all_tiles; ++place)
      BOOST_TEST(std::abs(query(place) - query(place - 1)) <= 64);
    const TileOrder pairs = order_of(params, 64, group_heads, true);
    for (uint32_t place = 0; place < pairs.all_tiles; place += 2) {
      const BlockWork longer = pairs.work<64, true>(place), shorter = pairs.work<64, true>(place + 1);
      BOOST_TEST(longer.first_query + shorter.first_query == 4 * 64);
      BOOST_TEST(longer.first_query >= shorter.first_query);
    }
  }
}

// Blocks that stay take every tile once, whatever their number, and under a causal mask have as many keys to see as each other, but for a pair
// of tiles.
BOOST_AUTO_TEST_CASE(rounds_cover_every_tile_of_every_head_once) {
  for (const int32_t seqlen : {1, 64, 65, 300, 320, 640, 6400}) {
    const AttentionFwdParams params = params_for(seqlen);
    const uint32_t tiles = static_cast<uint32_t>((seqlen + 63) / 64), all = tiles * 12;
    for (const auto &[blocks, in_pairs] : std::initializer_list<std::pair<uint32_t, bool>>{{1, false},
                                                                                           {1, true},
                                                                                           {2, true},
                                                                                           {7, false},
                                                                                           {7, true},
                                                                                           {8, false},
                                                                                           {all / 2, true},
                                                                                           {all / 3, false},
                                                                                           {all, false}}) {
      if (blocks > (in_pairs ? all / 2 : all)) continue;
      const TileOrder order = order_of(params, 64, in_pairs ? 2 : 4, in_pairs);
      std::set<Place> causal, plain;
      int64_t least = INT64_MAX, most = 0;
      for (uint32_t block = 0; block < blocks; ++block) {
        const auto in_order = Rounds<64, no_mask>::of(order, block, blocks);
        for (int32_t round = 0; round < in_order.count; ++round) {
          const BlockWork work = in_order.work(params, round);
          BOOST_TEST(plain.insert({work.batch, work.head_q, work.first_query}).second);
        }
        const auto rounds = Rounds<64, causal_mask>::of(order, block, blocks);
        int64_t keys = 0;
        for (int32_t round = 0; round < rounds.count; ++round) {
          const BlockWork work = rounds.work(params, round);
          BOOST_TEST(work.head_kv == work.head_q / 2);
          BOOST_TEST(causal.insert({work.batch, work.head_q, work.first_query}).second);
          keys += work.first_query / 64 + 1;
        }
        least = std::min(least, keys), most = std::max(most, keys);
      }
      BOOST_TEST(causal.size() == all);
      BOOST_TEST((causal == plain));
      if (all >= 8 * blocks) BOOST_TEST(most - least <= tiles + 1, "of " << most);
    }
  }
}
