// SPDX-License-Identifier: Apache-2.0
//
// Pairs of lengths of queries and keys that other libraries' suites are known to be run with, and that their users' faults were
// found with: around tiles, unequal both ways, one row or one key, few rows over very many keys. Each with the masks of training, of
// decoding and of a sliding window, on every device and by the library's own choice and every kernel.
#define BOOST_TEST_NO_MAIN  // which cases there are is known only when the library has been asked
#include <boost/test/unit_test.hpp>
#include <cstdio>

#include "kernels/run_case.hpp"

using namespace flashcore::tests;

namespace {

using flashcore::tools::Float16Type;
using flashcore::tools::ReferenceCausal;

constexpr int64_t pairs[][2] = {
    {1, 1},     {1, 3},     {2, 1},      {3, 3},       {1, 128},     {1, 147},     {1, 239},     {1, 339},
    {3, 513},   {3, 799},   {3, 1024},   {16, 20000},  {64, 32},     {64, 128},    {64, 256},    {64, 800},
    {64, 2048}, {113, 128}, {113, 203},  {113, 211},   {128, 128},   {128, 192},   {128, 217},   {108, 256},
    {127, 512}, {127, 513}, {239, 1},    {256, 256},   {256, 512},   {307, 256},   {384, 256},   {511, 1},
    {512, 256}, {640, 128}, {799, 3},    {1023, 1024}, {1024, 1023}, {1024, 1024}, {2048, 2048}, {203, 113},
    {217, 128}, {256, 108}, {1, 131072}, {16, 100000}, {16, 131072},
};

std::vector<AttentionCase> cases() {
  std::vector<AttentionCase> list;
  for (const auto &pair : pairs) {
    AttentionCase one = {.seqlen_q = pair[0], .seqlen_kv = pair[1], .heads_q = 2, .heads_kv = 1};
    one.dtype = list.size() % 2 == 0 ? Float16Type::float16 : Float16Type::bfloat16;
    const bool large = pair[0] * pair[1] > 1 << 20;
    if (!large) list.push_back(one);
    one.causal = ReferenceCausal::bottom_right;
    list.push_back(one);
    one.window_left = 127;
    if (!large || pair[0] <= 16) list.push_back(one);
    one.causal = ReferenceCausal::none, one.window_left = 60, one.window_right = 30;
    if (!large) list.push_back(one);
  }
  return list;
}

void check_pairs(const Target &target) {
  const Device device(target.device_kind, target.device_ordinal);
  int passed = 0, refused = 0;
  for (const AttentionCase &one : cases()) {
    const CaseOutcome outcome = run_case(device, target.kernel, one);
    BOOST_TEST((outcome.verdict != Verdict::failed), one.describe() << ": " << outcome.message);
    passed += outcome.verdict == Verdict::passed, refused += outcome.verdict == Verdict::refused;
  }
  std::printf("%-28s %d cases of pairs passed, %d refused\n", target.name.c_str(), passed, refused);
  std::fflush(stdout);
  BOOST_TEST(passed >= 40, "refused nearly everything");
  if (target.kernel.empty()) BOOST_TEST(refused == 0);
}

bool add_cases() {
  boost::unit_test::framework::master_test_suite().p_name.value = "test_seqlen_pairs";
  add_test_case_per_target("pairs", check_pairs);
  return true;
}

}  // namespace

int main(int argc, char **argv) { return boost::unit_test::unit_test_main(add_cases, argc, argv); }
