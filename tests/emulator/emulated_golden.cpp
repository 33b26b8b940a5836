// SPDX-License-Identifier: Apache-2.0
#include "emulated_golden.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdio>
#include <random>

#include "emulate.hpp"
#include "kernels/golden_on_device.hpp"

namespace emulator {

using namespace flashcore::tests;

void check_golden(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  static const std::vector<GoldenCase> cases = load_golden_cases();
  int matched = 0, refused = 0;
  for (uint32_t seed = 0; seed < cases.size(); ++seed) {
    const GoldenCase &golden = cases[seed];
    if (!feature_fields(golden.problem).empty()) continue;
    const GoldenOnDevice run(host, golden, "");
    const CaseOutcome outcome = emulate(run.args(), {.kernel = kernel, .seed = seed});
    const std::string problem = outcome.verdict == Verdict::passed ? run.problem() : outcome.message;
    matched += outcome.verdict == Verdict::passed;
    refused += outcome.verdict == Verdict::refused;
    if (outcome.verdict != Verdict::refused)
      BOOST_TEST(problem.empty(), golden.name << ", seed " << seed << ": " << problem);
  }
  std::printf("%-24s %d golden cases computed, %d refused\n", kernel.c_str(), matched, refused);
  BOOST_TEST(matched >= 12, "refused nearly everything");
}

namespace {

std::vector<float> random_values(size_t count, flashcore::tools::Float16Type dtype, std::mt19937 &generator) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float &value : values)
    value =
        static_cast<float>(flashcore::tools::to_double(dtype, flashcore::tools::to_16bit(dtype, normal(generator))));
  return values;
}

// In the first tiles of keys and in the last ones, which some rows see in part; in each another column, and of one head alone.
GoldenCase infinite_case(flashcore::tools::Float16Type dtype, flashcore::tools::ReferenceCausal causal) {
  GoldenCase golden;
  golden.dtype = dtype;
  flashcore::tools::ReferenceAttention &problem = golden.problem;
  problem.batch = 1, problem.heads_q = 2, problem.heads_kv = 2;
  problem.seqlen_q = 97, problem.seqlen_kv = 161, problem.head_dim = problem.head_dim_v = 64;
  problem.scale = 0.125, problem.causal = causal;
  std::mt19937 generator(7);
  problem.query = random_values(97 * 2 * 64, dtype, generator);
  problem.key = random_values(161 * 2 * 64, dtype, generator);
  problem.value = random_values(161 * 2 * 64, dtype, generator);
  const auto value = [&](size_t key, size_t column) -> float & { return problem.value[(key * 2 + 1) * 64 + column]; };
  value(5, 3) = value(90, 4) = value(160, 20) = INFINITY;
  value(70, 4) = value(131, 41) = value(150, 17) = -INFINITY;
  value(100, 30) = value(158, 63) = NAN;
  golden.expected = flashcore::tools::reference_attention(problem, flashcore::tools::reference_threads());
  return golden;
}

}  // namespace

void check_infinite_values(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  using flashcore::tools::Float16Type, flashcore::tools::ReferenceCausal;
  for (Float16Type dtype : {Float16Type::float16, Float16Type::bfloat16})
    for (ReferenceCausal causal : {ReferenceCausal::none, ReferenceCausal::bottom_right}) {
      const GoldenCase golden = infinite_case(dtype, causal);
      for (uint32_t seed = 0; seed < 2; ++seed) {
        const GoldenOnDevice run(host, golden, "");
        const CaseOutcome outcome = emulate(run.args(), {.kernel = kernel, .seed = seed, .turn = seed});
        BOOST_REQUIRE_MESSAGE(outcome.verdict == Verdict::passed, outcome.message);
        const std::string problem = run.problem();
        BOOST_TEST(problem.empty(), (dtype == Float16Type::float16 ? "fp16" : "bf16")
                                        << (causal == ReferenceCausal::none ? "" : " causal") << ", seed " << seed
                                        << ": " << problem);
      }
    }
}

}  // namespace emulator
