// SPDX-License-Identifier: Apache-2.0
//
// Which rows a thread block takes. The functions are the kernels' own, compiled for the host.
#define BOOST_TEST_MODULE unit_kernels
#include <boost/test/unit_test.hpp>
#include <set>
#include <tuple>

#include "parts/block_work.cuh"

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
