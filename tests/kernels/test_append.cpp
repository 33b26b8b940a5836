// SPDX-License-Identifier: Apache-2.0
//
// New keys and values in the cache ahead of attention, and rotary embedding, on every device and kernel. The cache is known to the bit after the
// call, with all that is around it, and so are the inputs; outputs are held to float64.
//
//   FLASHCORE_TEST_GRID=short|full|reduced    how many random batches
//   FLASHCORE_TEST_CASE="pages16"             only the cases whose description contains this
#define BOOST_TEST_NO_MAIN  // which targets there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>

#include "kernels/attention_grid.hpp"
#include "kernels/misplaced_rows.hpp"
#include "kernels/ragged_case.hpp"

using namespace flashcore::tests;

namespace {

void check_append(const Target &target) {
  const GridSize size = grid_size_from_environment();
  const Device device(target.device_kind, target.device_ordinal);
  std::vector<RaggedCase> cases = append_sweeps();
  std::mt19937 generator(23);
  const int random_cases = size == GridSize::reduced ? 20 : size == GridSize::full ? 2000 : 300;
  for (int i = 0; i < random_cases; i++) {
    const bool with_features = i % 3 == 0;
    cases.push_back(random_append_case(generator, with_features));
  }
  const char *const only = std::getenv("FLASHCORE_TEST_CASE");
  int passed = 0, refused = 0;
  double gate_share = 0;
  for (const RaggedCase &one : cases) {
    if (only != nullptr && one.describe().find(only) == std::string::npos) continue;
    const CaseOutcome outcome = run_ragged_case(device, target.kernel, one);
    if (outcome.verdict == Verdict::failed) BOOST_ERROR(one.describe() << ": " << outcome.message);
    if (target.kernel.empty() && outcome.verdict == Verdict::refused)
      BOOST_ERROR(one.describe() << " is refused: " << outcome.message);
    passed += outcome.verdict == Verdict::passed, refused += outcome.verdict == Verdict::refused;
    gate_share = std::max(gate_share, outcome.gate_share);
  }
  std::printf("%-28s %d batches with new rows passed, %d refused; closest to a gate: %.2f of it\n", target.name.c_str(),
              passed, refused, gate_share);
  std::fflush(stdout);
  BOOST_TEST(passed + refused > 0);
}

void check_misplaced(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  for (const MisplacedRows &one : misplaced_rows()) {
    MisplacedOnDevice run(device, one);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    BOOST_TEST(run.launch(&error) == FLASHCORE_OK, one.name << ": " << error.message);
    const std::string wrong = run.judge();
    BOOST_TEST(wrong == "", one.name << ": " << wrong);
  }
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_append";
  add_test_case_per_target("append", check_append);
  add_test_case_per_target("misplaced", check_misplaced, [](const Target &target) { return target.kernel.empty(); });
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
