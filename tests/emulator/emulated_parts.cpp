// SPDX-License-Identifier: Apache-2.0
#include "emulated_parts.hpp"

#include <boost/test/unit_test.hpp>
#include <vector>

#include "emulate.hpp"
#include "kernels/attention_case.hpp"

namespace emulator {

using namespace flashcore::tests;
using flashcore::tools::Float16Type, flashcore::tools::ReferenceCausal;

namespace {

constexpr ReferenceCausal top_left = ReferenceCausal::top_left, bottom_right = ReferenceCausal::bottom_right;

// `keys`: for some parts of whole steps, and a tail.
std::vector<AttentionCase> cases_of(int64_t keys) {
  std::vector<AttentionCase> cases = {
      {.seqlen_q = 1, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 1},
      {.batch = 2, .seqlen_q = 5, .seqlen_kv = keys - 7, .heads_q = 6, .heads_kv = 2, .lse = LseRequest::base2},
      {.seqlen_q = 30, .seqlen_kv = keys, .heads_q = 7, .heads_kv = 1, .causal = bottom_right},
      {.seqlen_q = 150, .seqlen_kv = keys, .heads_q = 2, .heads_kv = 2, .causal = top_left},
      {.seqlen_q = keys / 2 + 10, .seqlen_kv = keys / 2, .heads_q = 1, .heads_kv = 1, .causal = bottom_right},
      {.seqlen_q = 20, .seqlen_kv = keys, .heads_q = 4, .heads_kv = 2, .sink = 60, .values = Values::around_8},
      {.seqlen_q = 21, .seqlen_kv = keys, .heads_q = 6, .heads_kv = 2, .causal = top_left},
      {.seqlen_q = 2, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .head_dim = 72, .head_dim_v = 120},
  };
  cases[6].garbage = Garbage::later_values;
  // Of which rows see nothing in the first parts, or in the last.
  const AttentionCase seen_in_part = {.seqlen_q = 9, .seqlen_kv = keys, .heads_q = 2, .heads_kv = 2};
  for (const int64_t left : {int64_t{37}, keys / 3})
    cases.push_back(seen_in_part), cases.back().causal = bottom_right, cases.back().window_left = left;
  cases.push_back(seen_in_part), cases.back().window_right = keys / 3;
  cases.push_back(seen_in_part), cases.back().causal = bottom_right, cases.back().attention_chunk = keys / 3;
  for (const Extreme extreme : {Extreme::minus_infinity_first, Extreme::minus_infinity_last, Extreme::minus_infinity,
                                Extreme::not_a_number, Extreme::two_large})
    cases.push_back({.seqlen_q = 4, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .extreme = extreme});
  AttentionCase signs = {.seqlen_q = 9, .seqlen_kv = keys, .heads_q = 5, .heads_kv = 1, .causal = bottom_right};
  signs.dtype = Float16Type::bfloat16, signs.layout = Layout::padded, signs.lse = LseRequest::padded;
  signs.scale = -0.1f;
  cases.push_back(signs);
  return cases;
}

}  // namespace

void check_parts(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  uint32_t seed = 0;
  int windows = 0;
  for (const AttentionCase &one : cases_of(kernel.ends_with("_decode") ? 2600 : 620))
    for (const int32_t key_parts : {1, 2, 3, 16}) {
      const Request request = {.kernel = kernel, .seed = seed, .turn = seed / 2, .key_parts = key_parts};
      const CaseOutcome outcome = emulate_case(host, one, request);
      ++seed;
      // Not each kernel has a module for each kind of window here.
      if (one.has_window() && outcome.verdict == Verdict::refused) continue;
      windows += one.has_window();
      BOOST_TEST((outcome.verdict == Verdict::passed),
                 one.describe() << ", " << key_parts << " parts, seed " << seed - 1 << ": " << outcome.message);
    }
  BOOST_TEST(windows >= 4, kernel << " ran " << windows << " windows in parts");
}

}  // namespace emulator
