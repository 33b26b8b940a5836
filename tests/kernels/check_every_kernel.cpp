// SPDX-License-Identifier: Apache-2.0
//
// Every kernel of the table and the library's own choice, on every kind of device there is, against the float64
// reference over the whole grid. A new kernel is in by its line in kernels/meson.build. A refused shape is counted as
// refused, never as passed, and a kernel that refuses nearly everything fails. The gates stand in
// tools/common/accuracy.hpp.
//
//   FLASHCORE_TEST_GRID=short|full|reduced    how many cases (attention_grid.hpp)
//   FLASHCORE_TEST_CASE="d64 top-left"        only the cases whose description contains this
//   check_every_kernel --run_test='*/cpu'     only one target
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "kernels/attention_grid.hpp"
#include "kernels/run_case.hpp"

using namespace flashcore::tests;

namespace {

struct Tally {
  int passed = 0, refused = 0, failed = 0;
  double max_error = 0, mean_error = 0;  // over the cases with N(0,1) inputs and the default scale
  double gate_share = 0, lse_share = 0;  // over all
  std::string nearest_case;

  void add(const AttentionCase &one, const CaseOutcome &outcome) {
    passed += outcome.verdict == Verdict::passed;
    refused += outcome.verdict == Verdict::refused;
    failed += outcome.verdict == Verdict::failed;
    if (outcome.verdict != Verdict::passed) return;
    lse_share = std::max(lse_share, outcome.lse_share);
    if (outcome.gate_share > gate_share) gate_share = outcome.gate_share, nearest_case = one.describe();
    if (one.input_std != 1 || one.scale || one.is_hard() || one.extreme != Extreme::none) return;
    max_error = std::max(max_error, outcome.max_error);
    mean_error = std::max(mean_error, outcome.mean_error);
  }
  void print(const std::string &target) const {
    std::printf(
        "%-28s %4d cases: %d passed, %d refused, %d failed; N(0,1) inputs: worst max error %.2e, worst mean %.2e; "
        "closest to a gate: %.2f of it (%s), LSE %.2f\n",
        target.c_str(), passed + refused + failed, passed, refused, failed, max_error, mean_error, gate_share,
        nearest_case.c_str(), lse_share);
    std::fflush(stdout);
  }
};

// Fewer than this and the kernel was not tested.
int least_passed(GridSize size) { return size == GridSize::reduced ? 5 : size == GridSize::full ? 60 : 20; }

bool grid_is_whole() { return std::getenv("FLASHCORE_TEST_CASE") == nullptr; }

// The library's choice may refuse only what every kernel of the device refuses, but for kernels that run only when
// asked for by name: those its explanation must point to.
void check_refusal(const Device &device, const Target &target, const AttentionCase &one, const std::string &why) {
  BOOST_TEST(target.device_kind != FLASHCORE_DEVICE_CPU, one.describe()
                                                             << ": the CPU device serves everything, but: " << why);
  if (!target.kernel.empty()) return;
  CaseOnDevice run(device, one, "");
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  BOOST_REQUIRE_MESSAGE(
      flashcore_attention_explain(device.context(), &run.args(), &explanation, &error) == FLASHCORE_OK, error.message);
  BOOST_TEST(explanation.supported == 0, one.describe());
  const std::string reasons = std::string("\n") + explanation.reasons;
  for (const Target &other : list_targets()) {
    if (other.kernel.empty() || !other.skip_reason.empty() || other.device_ordinal != target.device_ordinal) continue;
    const bool pointed_to = reasons.find("\n" + other.kernel + ": only by name") != std::string::npos;
    const bool refuses = run_case(device, other.kernel, one).verdict == Verdict::refused;
    BOOST_TEST(refuses != pointed_to, one.describe() << ": " << other.kernel << (refuses ? " cannot do it" : " does it")
                                                     << ", but the explanation says:" << reasons);
  }
}

void check_grid(const Target &target) {
  const GridSize size = grid_size_from_environment();
  const Device device(target.device_kind, target.device_ordinal);
  Tally tally;
  for (const AttentionCase &one : attention_grid(size)) {
    const CaseOutcome outcome = run_case(device, target.kernel, one);
    tally.add(one, outcome);
    if (outcome.verdict == Verdict::failed) BOOST_ERROR(one.describe() << ": " << outcome.message);
    if (outcome.verdict == Verdict::refused) check_refusal(device, target, one, outcome.message);
  }
  tally.print(target.name);
  if (grid_is_whole())
    BOOST_TEST(tally.passed >= least_passed(size), target.name << " passed " << tally.passed << " cases only");
}

// Same inputs, same bits. The outputs are poisoned between launches: what is not written does not pass for the same.
void check_repeats(const Target &target) {
  const GridSize size = grid_size_from_environment();
  const bool cpu = target.device_kind == FLASHCORE_DEVICE_CPU;
  const int launches = size == GridSize::reduced ? 5 : cpu ? 100 : 1000;
  const AttentionCase cases[] = {
      {.batch = 1, .seqlen_q = 193, .seqlen_kv = 257, .heads_q = 4, .heads_kv = 2},
      {.batch = 2,
       .seqlen_q = 65,
       .seqlen_kv = 193,
       .heads_q = 2,
       .heads_kv = 1,
       .dtype = flashcore::tools::Float16Type::bfloat16,
       .causal = flashcore::tools::ReferenceCausal::bottom_right},
  };
  const Device device(target.device_kind, target.device_ordinal);
  int compared = 0;
  for (const AttentionCase &one : cases) {
    CaseOnDevice run(device, one, target.kernel);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    const flashcore_status first = run.launch(&error);
    if (first == FLASHCORE_UNSUPPORTED) continue;
    BOOST_REQUIRE_MESSAGE(first == FLASHCORE_OK, error.message);
    const auto output = run.read_output();
    const auto lse = run.read_lse();
    for (int n = 1; n < launches; n++) {
      run.poison_outputs();
      BOOST_REQUIRE_MESSAGE(run.launch(&error) == FLASHCORE_OK, error.message);
      const auto lse_now = run.read_lse();
      BOOST_REQUIRE_MESSAGE(run.read_output() == output, one.describe() << ": launch " << n << " gave other bits");
      BOOST_REQUIRE_MESSAGE(std::memcmp(lse_now.data(), lse.data(), lse.size() * sizeof(float)) == 0,
                            one.describe() << ": launch " << n << " gave another LSE");
      compared++;
    }
  }
  BOOST_TEST(compared > 0, "the kernel refused both shapes");
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "check_every_kernel";
  add_test_case_per_target("grid", check_grid);
  add_test_case_per_target("repeats", check_repeats);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
