// SPDX-License-Identifier: Apache-2.0
//
// Emulated beside measured: what the emulator ran, module by module and case by case, with the same inputs on the first GPU.
//
//   FLASHCORE_EMULATED_ERRORS=emulated.tsv test_emulated_kernels   on any machine; the grid is FLASHCORE_EMULATED_GRID's
//   measure_emulated -- emulated.tsv both.tsv                      on one with a GPU
//
// Lines of the first are module, case, largest error, its gate; of the second module, case, both largest errors, the gate.
#define BOOST_TEST_MODULE measure_emulated
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <sstream>

#include "kernels/attention_grid.hpp"
#include "kernels/run_case.hpp"

using namespace flashcore::tests;

namespace {

struct Emulated {
  std::string module, described, max_error;
};

std::vector<Emulated> read_lines(const char *name) {
  std::vector<Emulated> lines;
  std::ifstream file(name);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    Emulated one;
    for (std::string *field : {&one.module, &one.described, &one.max_error}) std::getline(fields, *field, '\t');
    lines.push_back(one);
  }
  return lines;
}

}  // namespace

BOOST_AUTO_TEST_CASE(on_the_first_gpu) {
  const auto &suite = boost::unit_test::framework::master_test_suite();
  BOOST_REQUIRE_MESSAGE(suite.argc == 3, "usage: measure_emulated -- EMULATED.tsv BOTH.tsv");
  const std::vector<Emulated> lines = read_lines(suite.argv[1]);
  BOOST_REQUIRE_MESSAGE(!lines.empty(), suite.argv[1] << " has no lines");
  std::ofstream both(suite.argv[2]);
  std::vector<AttentionCase> cases = attention_grid(GridSize::reduced);
  const std::vector<AttentionCase> larger = attention_grid(GridSize::full);
  cases.insert(cases.end(), larger.begin(), larger.end());

  const Device device(FLASHCORE_DEVICE_CUDA, 0);
  for (const Emulated &line : lines) {
    const auto one = std::find_if(cases.begin(), cases.end(),
                                  [&](const AttentionCase &other) { return other.describe() == line.described; });
    BOOST_REQUIRE_MESSAGE(one != cases.end(), "no case is " << line.described);
    const CaseOutcome outcome = run_case(device, line.module, *one);
    BOOST_TEST((outcome.verdict == Verdict::passed), line.module << ", " << line.described << ": " << outcome.message);
    both << line.module << '\t' << line.described << '\t' << line.max_error << '\t' << outcome.max_error << '\t'
         << outcome.max_error_gate << '\n';
  }
  BOOST_TEST(!both.flush().fail(), "cannot write " << suite.argv[2]);
}
