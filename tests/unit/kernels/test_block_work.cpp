// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block takes. The functions are the kernels' own, compiled for the host.
#define BOOST_TEST_MODULE unit_kernels
#include <boost/test/unit_test.hpp>
#include <set>
#include <tuple>

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

// Blocks that stay take every tile once, whatever their number, and under a causal mask any two of their units are as long as each other.
BOOST_AUTO_TEST_CASE(rounds_cover_every_tile_of_every_head_once) {
  for (const int32_t seqlen : {1, 64, 65, 300, 320}) {
    const AttentionFwdParams params = params_for(seqlen);
    const uint32_t tiles = static_cast<uint32_t>((seqlen + 63) / 64), units = (tiles + 1) / 2 * 4 * 3;
    for (const uint32_t blocks : {1u, 7u, units, tiles * 12}) {
      if (blocks > units && blocks != tiles * 12) continue;
      std::set<std::tuple<int32_t, int32_t, int32_t>> causal, plain;
      for (uint32_t block = 0; block < blocks; ++block) {
        const auto in_order = Rounds<64, no_mask>::of(params, block, blocks);
        for (int32_t round = 0; round < in_order.count; ++round) {
          const BlockWork work = in_order.work(params, round);
          BOOST_TEST(plain.insert({work.batch, work.head_q, work.first_query}).second);
        }
        const auto rounds = Rounds<64, causal_mask>::of(params, block, blocks);
        if (blocks == tiles * 12) {  // a block for each tile
          const BlockWork work = rounds.work(params, 0);
          BOOST_TEST(rounds.count == 1);
          BOOST_TEST(causal.insert({work.batch, work.head_q, work.first_query}).second);
          continue;
        }
        BOOST_TEST(rounds.count % 2 == 0);
        for (int32_t round = 0; round < rounds.count; round += 2) {
          const BlockWork high = rounds.work(params, round), low = rounds.work(params, round + 1);
          BOOST_TEST(causal.insert({high.batch, high.head_q, high.first_query}).second);
          if (low.first_query < 0) {
            BOOST_TEST(high.first_query * 2 == static_cast<int32_t>(tiles - 1) * 64);  // the one in the middle
            continue;
          }
          BOOST_TEST(causal.insert({low.batch, low.head_q, low.first_query}).second);
          BOOST_TEST((low.head_q == high.head_q && low.batch == high.batch && low.head_kv == low.head_q / 2));
          BOOST_TEST(low.first_query + high.first_query == static_cast<int32_t>(tiles - 1) * 64);
          BOOST_TEST(high.first_query > low.first_query);
        }
      }
      BOOST_TEST(causal.size() == tiles * 12);
      BOOST_TEST((causal == plain));
    }
  }
}
