// SPDX-License-Identifier: Apache-2.0
#include "emulated_ragged.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "emulate.hpp"
#include "kernels/attention_grid.hpp"
#include "kernels/ragged_case.hpp"

namespace emulator {

using namespace flashcore::tests;

void check_ragged(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  const GridSize size = grid_size_from_environment("FLASHCORE_EMULATED_GRID", "reduced");
  std::vector<RaggedCase> cases = ragged_sweeps();
  std::mt19937 generator(5);
  const int random_cases = size == GridSize::reduced ? 24 : size == GridSize::full ? 1000 : 200;
  for (int i = 0; i < random_cases; ++i) cases.push_back(random_ragged_case(generator, i % 4 == 0));
  const char *const only = std::getenv("FLASHCORE_TEST_CASE");
  int passed = 0, refused = 0;
  uint32_t seed = 0;
  for (RaggedCase &one : cases) {
    ++seed;
    if (size == GridSize::reduced && one.keys.size() > 1 && one.keys[1] > 2000) one.keys[1] = 2000;
    if (only != nullptr && one.describe().find(only) == std::string::npos) continue;
    RaggedOnDevice run(host, one, "");
    const CaseOutcome emulated =
        emulate(run.args(), {.kernel = kernel, .seed = seed, .turn = seed, .key_parts = seed % 3 == 0 ? 3 : 0});
    refused += emulated.verdict == Verdict::refused;
    if (emulated.verdict == Verdict::refused) continue;
    const CaseOutcome outcome = emulated.verdict == Verdict::failed ? emulated : run.judge();
    passed += outcome.verdict == Verdict::passed;
    if (outcome.verdict == Verdict::failed)
      BOOST_ERROR(one.describe() << ", seed " << seed << ", " << emulated.module << ": " << outcome.message);
  }
  std::printf("%-24s %d ragged batches passed, %d refused\n", kernel.c_str(), passed, refused);
  if (only == nullptr) BOOST_TEST(passed >= 20, kernel << " passed " << passed << " ragged batches only");
}

}  // namespace emulator
