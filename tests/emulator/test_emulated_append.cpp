// SPDX-License-Identifier: Apache-2.0
//
// The kernel that goes ahead of attention, on the emulator, with attention by few kernels behind it: the cases of tests/kernels, whose cache is
// known to the bit, under several ways to schedule; and mistakes that these cases must see.
#define BOOST_TEST_MODULE test_emulated_append
#include <boost/test/unit_test.hpp>
#include <cstdio>
#include <cstdlib>

#include "emulate.hpp"
#include "kernels/misplaced_rows.hpp"
#include "kernels/ragged_case.hpp"

using namespace flashcore::tests;

namespace {

CaseOutcome run_one(const Device &host, const RaggedCase &one, const emulator::Request &request) {
  RaggedOnDevice run(host, one, "");
  const CaseOutcome emulated = emulator::emulate(run.args(), request);
  return emulated.verdict == Verdict::passed ? run.judge() : emulated;
}

std::string run_misplaced(const Device &host, const MisplacedRows &one, const emulator::Request &request) {
  MisplacedOnDevice run(host, one);
  const CaseOutcome emulated = emulator::emulate(run.args(), request);
  return emulated.verdict == Verdict::passed ? run.judge() : emulated.message;
}

// One that each of these must be right for.
RaggedCase small_case() {
  RaggedCase one{.queries = {3, 9},
                 .keys = {40, 21},
                 .query_places = QueryPlaces::used,
                 .key_places = KeyPlaces::used,
                 .seqlen_new = 5,
                 .rotary_dim = 64};
  one.features.causal = flashcore::tools::ReferenceCausal::bottom_right;
  return one;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_case_is_right) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  std::vector<RaggedCase> cases = append_sweeps();
  std::mt19937 generator(5);
  for (int i = 0; i < 80; ++i) cases.push_back(random_append_case(generator, false));
  const char *const only = std::getenv("FLASHCORE_TEST_CASE");
  for (const char *const kernel : {"sm80_fwd_decode", "sm80_fwd_mma", "sm90_fwd_wgmma", "fwd_scalar"}) {
    int passed = 0, refused = 0;
    uint32_t seed = 0;
    for (const RaggedCase &one : cases) {
      ++seed;
      if (only != nullptr && one.describe().find(only) == std::string::npos) continue;
      const CaseOutcome outcome =
          run_one(host, one, {.kernel = kernel, .seed = seed, .turn = seed, .key_parts = seed % 3 == 0 ? 3 : 0});
      passed += outcome.verdict == Verdict::passed, refused += outcome.verdict == Verdict::refused;
      if (outcome.verdict == Verdict::failed)
        BOOST_ERROR(kernel << ", " << one.describe() << ", seed " << seed << ": " << outcome.message);
    }
    std::printf("%-16s %d batches with new rows passed, %d refused\n", kernel, passed, refused);
    if (only == nullptr) BOOST_TEST(passed >= 3, kernel << " passed " << passed);
  }
}

BOOST_AUTO_TEST_CASE(what_has_no_place_is_not_written) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  uint32_t seed = 0;
  for (const MisplacedRows &one : misplaced_rows()) {
    const std::string wrong = run_misplaced(host, one, {.kernel = "sm80_fwd_decode", .seed = seed++});
    BOOST_TEST(wrong == "", one.name << ": " << wrong);
  }
}

BOOST_AUTO_TEST_CASE(what_is_broken_is_seen) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (const char *const broken : {"append_of_held_pages", "append_without_room"}) {
    bool seen = false;
    for (const MisplacedRows &one : misplaced_rows())
      seen = seen || !run_misplaced(host, one, {.kernel = "sm80_fwd_decode", .broken_ahead = broken}).empty();
    BOOST_TEST(seen, broken << " passes");
  }
  for (const char *const broken : {"append_untold", "rotation_of_one_position"}) {
    const CaseOutcome outcome = run_one(host, small_case(), {.kernel = "sm80_fwd_mma", .broken_ahead = broken});
    BOOST_TEST((outcome.verdict == Verdict::failed), broken << " passes");
  }
  const CaseOutcome outcome = run_one(host, small_case(), {.kernel = "sm80_fwd_mma"});
  BOOST_TEST((outcome.verdict == Verdict::passed), outcome.message);
}
