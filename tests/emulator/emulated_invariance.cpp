// SPDX-License-Identifier: Apache-2.0
#include "emulated_invariance.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "emulate.hpp"
#include "kernels/batch_invariance.hpp"
#include "kernels/shards.hpp"

namespace emulator {

using namespace flashcore::tests;

void check_batch_invariance(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  int compared = 0;
  uint32_t seed = 0;
  for (InvarianceCase one : invariance_cases()) {
    // Of few modules, and shorter.
    one.head_dim = 64, one.bfloat16 = one.float32_output = false;
    one.queries.resize(3), one.keys.resize(3);
    const bool few = one.queries[0] <= 8;
    for (int64_t &keys : one.keys) keys = few ? keys * 2 / 5 + 1 : keys / 5 + 1;
    if (!few)
      for (int64_t &queries : one.queries) queries = queries / 2 + 1;
    if (one.window_left >= 0) one.window_left = few ? 160 : 70;
    const InvarianceOutcome outcome = check_invariance(host, one, [&](flashcore_attention_args &args) {
      const CaseOutcome emulated = emulate(args, {.kernel = kernel, .seed = ++seed});
      if (emulated.verdict == Verdict::failed) BOOST_ERROR(one.describe() << ": " << emulated.message);
      return emulated.verdict == Verdict::passed;
    });
    BOOST_TEST(outcome.problem == "");
    compared += outcome.compared;
  }
  std::printf("%-24s %d sequences have the same bits alone and in batches\n", kernel.c_str(), compared);
  BOOST_TEST(compared >= 10);
}

void check_shards_of_keys(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  uint32_t seed = 0;
  const ShardsOutcome outcome = check_shards(host, 20, [&](const flashcore_attention_args &args) {
    // Which some kernels refuse.
    if (args.seqlen_kv == 0) return flashcore_attention_fwd(host.context(), &args, nullptr, nullptr) == FLASHCORE_OK;
    const CaseOutcome emulated = emulate(args, {.kernel = kernel, .seed = ++seed});
    if (emulated.verdict == Verdict::failed) BOOST_ERROR(emulated.message);
    return emulated.verdict == Verdict::passed;
  });
  BOOST_TEST(outcome.problem == "");
  std::printf("%-24s %d rounds of shards merged\n", kernel.c_str(), outcome.merged);
  BOOST_TEST(outcome.merged > 0);
}

}  // namespace emulator
