// SPDX-License-Identifier: Apache-2.0
//
// The plan cache: what goes in comes out, a full cache forgets and never lies, readers need no lock.
#define BOOST_TEST_MODULE unit_runtime
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <iterator>
#include <thread>
#include <vector>

#include "runtime/plan_cache.hpp"

using namespace flashcore;

namespace {

kernels::ProblemKey key_of(int64_t seqlen) {
  kernels::ProblemKey key{};
  key.batch = 1, key.seqlen_q = seqlen, key.seqlen_kv = seqlen, key.heads_q = 8, key.heads_kv = 8, key.head_dim = 64,
  key.head_dim_v = 64;
  key.dtype = 1, key.alignment_bytes = 16, key.kernel_index = -1;
  return key;
}

// A plan whose every field follows from the sequence length, so that a torn read shows.
LaunchPlan plan_of(int64_t seqlen) {
  const auto n = static_cast<uint32_t>(seqlen);
  LaunchPlan plan{kernels::most_stages};
  for (uint32_t i = 0; i < kernels::most_stages; ++i)
    plan.stages[i] = {reinterpret_cast<CudaFunction>(static_cast<uintptr_t>(n + i) * 16),
                      {{n, n + 1, n + 2}, n + 3, n + 4, n + 5, i}};
  return plan;
}

bool same_stage(const LaunchPlan::Stage &a, const LaunchPlan::Stage &b) {
  return a.function == b.function && std::equal(a.shape.grid, a.shape.grid + 3, b.shape.grid) &&
         a.shape.threads == b.shape.threads && a.shape.dynamic_shared_bytes == b.shape.dynamic_shared_bytes &&
         a.shape.cluster == b.shape.cluster && a.shape.programmatic_dependent == b.shape.programmatic_dependent;
}

bool is_plan_of(const LaunchPlan &plan, int64_t seqlen) {
  const LaunchPlan want = plan_of(seqlen);
  return plan.stage_count == want.stage_count &&
         std::equal(plan.stages, std::end(plan.stages), want.stages, same_stage);
}

}  // namespace

BOOST_AUTO_TEST_CASE(what_goes_in_comes_out) {
  PlanCache cache;
  LaunchPlan plan;
  BOOST_TEST(!cache.find(key_of(1), &plan));
  for (int64_t seqlen = 1; seqlen <= 100; ++seqlen) cache.insert(key_of(seqlen), plan_of(seqlen));
  int32_t found = 0;
  for (int64_t seqlen = 1; seqlen <= 100; ++seqlen)
    if (cache.find(key_of(seqlen), &plan)) {
      BOOST_TEST(is_plan_of(plan, seqlen));
      ++found;
    }
  BOOST_TEST(found == 100);
  cache.insert(key_of(5), plan_of(500));
  BOOST_REQUIRE(cache.find(key_of(5), &plan));
  BOOST_TEST(is_plan_of(plan, 500));
}

BOOST_AUTO_TEST_CASE(a_full_cache_forgets_and_never_lies) {
  PlanCache cache;
  constexpr int64_t many = 20000;
  int64_t found = 0;
  for (int64_t seqlen = 1; seqlen <= many; ++seqlen) {
    cache.insert(key_of(seqlen), plan_of(seqlen));
    LaunchPlan plan;
    BOOST_TEST(cache.find(key_of(seqlen), &plan));  // the newest is always there
  }
  for (int64_t seqlen = 1; seqlen <= many; ++seqlen) {
    LaunchPlan plan;
    if (!cache.find(key_of(seqlen), &plan)) continue;
    BOOST_TEST(is_plan_of(plan, seqlen));
    ++found;
  }
  BOOST_TEST(found > 0);
  BOOST_TEST(found < many);
}

BOOST_AUTO_TEST_CASE(readers_and_writers_at_once_see_whole_plans) {
  PlanCache cache;
  std::atomic<bool> stop{false};
  std::atomic<int64_t> torn{0}, hits{0};
  std::vector<std::thread> threads;
  for (int64_t reader = 0; reader < 3; ++reader)
    threads.emplace_back([&, reader] {
      for (int64_t seqlen = reader + 1; !stop; seqlen = seqlen % 4000 + 1) {
        LaunchPlan plan;
        if (!cache.find(key_of(seqlen), &plan)) continue;
        ++hits;
        if (!is_plan_of(plan, seqlen)) ++torn;
      }
    });
  for (int64_t round = 0; round < 20; ++round)
    for (int64_t seqlen = 1; seqlen <= 4000; ++seqlen) cache.insert(key_of(seqlen), plan_of(seqlen));
  stop = true;
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(torn == 0);
  BOOST_TEST(hits > 0);
}
