// SPDX-License-Identifier: Apache-2.0
//
// What goes into the kernel parameters: operands, groups of heads.
#include <boost/test/unit_test.hpp>

#include "runtime/pack_params.hpp"

using namespace flashcore;

namespace {

int32_t group_of(int64_t batch, int32_t heads_q, int32_t heads_kv, int64_t seqlen_kv, int64_t l2_cache_bytes) {
  kernels::ProblemKey key{};
  key.batch = batch, key.heads_q = heads_q, key.heads_kv = heads_kv, key.seqlen_q = key.seqlen_kv = seqlen_kv;
  key.head_dim = key.head_dim_v = 128, key.dtype = kernels::dtype_float16;
  return heads_per_group(key, l2_cache_bytes);
}

}  // namespace

BOOST_AUTO_TEST_CASE(groups_of_heads_fit_into_l2_and_are_of_one_size) {
  constexpr int64_t h200 = 62914560;                  // two thirds hold the keys and values of 40 heads of 2048 keys
  BOOST_TEST(group_of(8, 16, 16, 2048, h200) == 32);  // four groups, not 40, 40, 40 and 8
  BOOST_TEST(group_of(2, 16, 16, 8192, h200) == 8);   // not 10, 10, 10 and 2
  BOOST_TEST(group_of(1, 16, 16, 512, h200) == 16);   // all
  BOOST_TEST(group_of(1, 32, 8, 8192, h200) == 32);   // query heads that share a key head stay together
  BOOST_TEST(group_of(4, 32, 8, 8192, h200) == 32);
  BOOST_TEST(group_of(4, 32, 8, 1 << 20, h200) == 4);  // one key head is more than the cache
  BOOST_TEST(group_of(3, 8, 8, 100, 0) == 1);
}

BOOST_AUTO_TEST_CASE(sizes_at_the_limits_do_not_overflow) {
  BOOST_TEST(group_of(1, 1, 1, 0x7fffffff, 1 << 30) == 1);
  BOOST_TEST(group_of(0x7fffffff, 65536, 1, 1, int64_t{1} << 40) == 0x7fffffff);
}

BOOST_AUTO_TEST_CASE(every_operand_arrives_at_its_own_place) {
  AttentionProblem problem;
  problem.key.batch = problem.key.seqlen_q = problem.key.seqlen_kv = problem.key.heads_q = problem.key.heads_kv = 1;
  problem.key.dtype = kernels::dtype_float16, problem.softmax_scale = 1;
  for (size_t i = 0; i < fwd::operand_count; ++i) {
    const auto n = static_cast<int64_t>(i);
    problem.tensors[i] = {100 + i, 200 + n, 300 + n, 400 + n};
  }
  kernels::AttentionFwdParams params = pack_params(problem, 1 << 20);
  const auto check = [](const kernels::TensorView &view, size_t operand, uint64_t address) {
    const auto n = static_cast<int64_t>(operand);
    BOOST_TEST(view.data == address + operand);
    BOOST_TEST(view.stride_batch == 200 + n);
    BOOST_TEST(view.stride_row == 300 + n);
    BOOST_TEST(view.stride_head == 400 + n);
  };
  const auto check_all = [&](uint64_t address) {
    check(params.query, fwd::query, address);
    check(params.key, fwd::key, address);
    check(params.value, fwd::value, address);
    check(params.output, fwd::output, address);
    check(params.lse, fwd::lse, address);
  };
  check_all(100);
  set_addresses(params, {500, 501, 502, 503, 504});
  check_all(500);
}
