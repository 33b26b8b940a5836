// SPDX-License-Identifier: Apache-2.0
//
// Each of tests/broken_kernels on the emulator: a wrong answer or a fault under one of the ways to schedule at least, also where a GPU
// gives the right answer on most days. The kernels that they were made of pass the same cases under all of them.
#define BOOST_TEST_MODULE test_emulated_broken
#include <boost/test/unit_test.hpp>
#include <fstream>
#include <set>

#include "broken_list.hpp"
#include "emulate.hpp"
#include "plan/kernel_table.hpp"

using namespace flashcore::tests;

namespace {

// The second changes the sign of the queries.
const AttentionCase cases[] = {
    {.seqlen_q = 64, .seqlen_kv = 457, .heads_q = 1, .heads_kv = 1, .lse = LseRequest::none},
    {.seqlen_q = 64, .seqlen_kv = 457, .heads_q = 1, .heads_kv = 1, .lse = LseRequest::none, .scale = -0.125f}};

// Others are test_emulated_merge's and test_emulated_append's.
bool computes_attention(const flashcore::Broken &broken) {
  return flashcore::is_attention(flashcore::passport_at(flashcore::find_kernel(broken.kernel)));
}

// What the first case and seed that show it say; empty: none does.
std::string mistake_shown(const Device &host, emulator::Request request) {
  for (const AttentionCase &one : cases)
    for (request.seed = 0; request.seed < emulator::ways_of_seeds; ++request.seed) {
      const CaseOutcome outcome = emulator::emulate_case(host, one, request);
      BOOST_REQUIRE_MESSAGE(outcome.verdict != Verdict::refused, outcome.message);
      if (outcome.verdict == Verdict::failed) return outcome.message;
    }
  return "";
}

// The text of the line whose "FILE:LINE" follows these words of a fault.
std::string line_behind(const std::string &fault, const std::string &words) {
  const size_t begin = fault.find(words);
  if (begin == std::string::npos) return "";
  const std::string place =
      fault.substr(begin + words.size(), fault.find_first_of(" )", begin + words.size()) - begin - words.size());
  const size_t colon = place.rfind(':');
  if (colon == std::string::npos) return "";
  std::ifstream file(place.substr(0, colon));
  std::string line;
  for (int n = std::atoi(place.c_str() + colon + 1); n > 0; --n) std::getline(file, line);
  return line;
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_mistake_is_seen) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (const flashcore::Broken &broken : flashcore::broken_kernels()) {
    if (!computes_attention(broken)) continue;
    const std::string edits = broken.edits.empty() ? "" : broken.name;
    const std::string shown = mistake_shown(
        host, {.kernel = broken.kernel, .broken = edits, .shared_bytes_taken = broken.shared_bytes_taken});
    BOOST_TEST(!shown.empty(), broken.name << " passes: " << broken.lesson);
    BOOST_TEST_MESSAGE(broken.name << ": " << shown);
  }
}

BOOST_AUTO_TEST_CASE(what_they_were_made_of_is_right) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  std::set<std::string> kernels;
  for (const flashcore::Broken &broken : flashcore::broken_kernels())
    if (computes_attention(broken)) kernels.insert(broken.kernel);
  for (const std::string &kernel : kernels) BOOST_TEST(mistake_shown(host, {kernel}) == "", kernel);
}

// Also where the order that was drawn does no harm.
BOOST_AUTO_TEST_CASE(races_are_named_under_every_seed) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  for (const char *const broken : {"missing_barrier", "missing_wait"})
    for (uint32_t seed = 0; seed < 2 * emulator::ways_of_seeds; ++seed) {
      const std::string fault =
          emulator::emulate_case(host, cases[0], {.kernel = "fwd_wmma_64x64_async", .broken = broken, .seed = seed})
              .message;
      BOOST_TEST(fault.find("a race at bytes ") != std::string::npos, broken << ", seed " << seed << ": " << fault);
      const std::string now = line_behind(fault, "; at "), before = line_behind(fault, " (");
      const auto meets = [](const std::string &one, const std::string &other) {
        return one.find("copy_async_16(") != std::string::npos && other.find("wmma_load") != std::string::npos;
      };
      BOOST_TEST((meets(now, before) || meets(before, now)),
                 broken << ", seed " << seed << ": " << now << before << fault);
    }
}
