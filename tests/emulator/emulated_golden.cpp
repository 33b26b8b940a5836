// SPDX-License-Identifier: Apache-2.0
#include "emulated_golden.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdio>

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

}  // namespace emulator
