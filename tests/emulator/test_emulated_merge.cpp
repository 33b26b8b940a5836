// SPDX-License-Identifier: Apache-2.0
//
// The kernel that merges states, on the emulator: the cases of tests/kernels/merge_case.hpp in all types, against float64, under several ways
// to schedule; arguments are checked and packed as for a GPU, memory is the CPU device's.
#define BOOST_TEST_MODULE test_emulated_merge
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "block.hpp"
#include "emulate.hpp"
#include "kernels/merge_case.hpp"
#include "module.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "runtime/merge_states_call.hpp"

using namespace flashcore;
using namespace flashcore::tests;

namespace {

const emulator::Module &module_for(const MergeStatesProblem &problem, const std::string &broken) {
  const std::string name =
      module_name(passport_at(find_kernel("merge_states")), {{problem.sizes.dtype, problem.output_dtype}});
  for (const emulator::Module &module : emulator::modules())
    if (module.name == name && module.broken == broken) return module;
  BOOST_FAIL(name << " is not compiled for the emulator");
  return emulator::modules().front();
}

// What is wrong; empty: nothing.
std::string run(const MergeOnDevice &merge, uint32_t seed, const std::string &broken = "") {
  const Result<MergeStatesProblem> problem = validate_merge_states(&merge.args(), AddressRule::required);
  if (!problem.ok()) return problem.error().message;
  const kernels::merge_states::Call call = merge_states_call(problem.value());
  const kernels::MergeStatesParams params = kernels::merge_states::params_of(call);
  const kernels::Launch launch = kernels::merge_states::launch_of(params, call.wide);
  const emulator::EntryPoint &entry =
      module_for(problem.value(), broken).entry_points.at(static_cast<size_t>(launch.entry_point));
  if (launch.threads > entry.most_threads) return "more threads than the kernel is compiled for";
  try {
    emulator::run({entry.kernel, &params, launch.grid.x, launch.threads, launch.dynamic_shared_bytes, seed});
  } catch (const emulator::Fault &fault) {
    return fault.what();
  }
  return merge.judge();
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_case_is_right) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  uint32_t seed = 0;
  double largest_share = 0;
  for (const MergeCase &one : merge_cases()) {
    const MergeOnDevice merge(host, one, seed + 1);
    const std::string wrong = run(merge, seed);
    BOOST_TEST(wrong == "", one.describe() << ", seed " << seed << ": " << wrong);
    largest_share = std::max(largest_share, merge.largest_share());
    ++seed;
  }
  std::printf("merge_states: %u merges; closest to a gate: %.2f of it\n", seed, largest_share);
}

// The bits do not depend on the order of threads, and in place nothing is read that others have written.
BOOST_AUTO_TEST_CASE(every_way_to_schedule_gives_the_same) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (const MergeLayout layout : {MergeLayout::padded, MergeLayout::odd}) {
    std::vector<unsigned char> first;
    for (uint32_t seed = 0; seed < 2 * emulator::ways_of_seeds; ++seed) {
      const MergeOnDevice merge(host, {.states = 6, .columns = 136, .layout = layout, .in_place = InPlace::both}, 5);
      const std::string wrong = run(merge, seed);
      BOOST_TEST(wrong == "", "seed " << seed << ": " << wrong);
      if (first.empty()) first = merge.results();
      BOOST_TEST((merge.results() == first), "seed " << seed);
    }
  }
}

// Mistakes that these cases must see.
BOOST_AUTO_TEST_CASE(what_is_broken_is_seen) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  const MergeCase in_place = {.states = 3, .columns = 136, .in_place = InPlace::both},
                  empty = {.logarithms = Logarithms::some_empty}, spread = {.logarithms = Logarithms::spread};
  const struct {
    const char *broken;
    const MergeCase &one;
  } cases[] = {
      {"merge_without_barrier", in_place}, {"merge_of_empty_states", empty}, {"merge_without_maximum", spread}};
  for (const auto &one : cases) {
    bool seen = false;
    for (uint32_t seed = 0; seed < emulator::ways_of_seeds; ++seed)
      seen = seen || !run(MergeOnDevice(host, one.one, 3), seed, one.broken).empty();
    BOOST_TEST(seen, one.broken << " passes");
    BOOST_TEST(run(MergeOnDevice(host, one.one, 3), 0) == "");
  }
}
