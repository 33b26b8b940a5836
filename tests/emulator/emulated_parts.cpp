// SPDX-License-Identifier: Apache-2.0
#include "emulated_parts.hpp"

#include <boost/test/unit_test.hpp>

#include "emulate.hpp"
#include "kernels/attention_case.hpp"

namespace emulator {

using namespace flashcore::tests;
using flashcore::tools::Float16Type, flashcore::tools::ReferenceCausal;

namespace {

// Keys for some parts of whole steps of the largest cluster, and a tail.
constexpr int64_t keys = 2600;
const AttentionCase cases[] = {
    {.seqlen_q = 1, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 1},
    {.batch = 2, .seqlen_q = 5, .seqlen_kv = keys - 7, .heads_q = 6, .heads_kv = 2, .lse = LseRequest::base2},
    {.seqlen_q = 30, .seqlen_kv = keys, .heads_q = 7, .heads_kv = 1, .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 150, .seqlen_kv = keys, .heads_q = 2, .heads_kv = 2, .causal = ReferenceCausal::top_left},
    {.seqlen_q = 300, .seqlen_kv = 280, .heads_q = 2, .heads_kv = 1, .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 1100, .seqlen_kv = 1090, .heads_q = 1, .heads_kv = 1, .causal = ReferenceCausal::bottom_right},
    {.seqlen_q = 3,
     .seqlen_kv = keys,
     .heads_q = 12,
     .heads_kv = 4,
     .dtype = Float16Type::bfloat16,
     .layout = Layout::padded,
     .lse = LseRequest::padded,
     .scale = -0.2f},
    {.seqlen_q = 9,
     .seqlen_kv = keys,
     .heads_q = 5,
     .heads_kv = 1,
     .causal = ReferenceCausal::bottom_right,
     .layout = Layout::bhsd,
     .scale = -0.1f},
    {.seqlen_q = 20, .seqlen_kv = keys, .heads_q = 4, .heads_kv = 2, .sink = 60, .values = Values::around_8},
    {.seqlen_q = 4, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .extreme = Extreme::minus_infinity_first},
    {.seqlen_q = 4, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .extreme = Extreme::minus_infinity},
    {.seqlen_q = 4, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .extreme = Extreme::not_a_number},
    {.seqlen_q = 4, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .extreme = Extreme::two_large},
    {.seqlen_q = 21,
     .seqlen_kv = 700,
     .heads_q = 6,
     .heads_kv = 2,
     .causal = ReferenceCausal::top_left,
     .garbage = Garbage::later_values},
    {.seqlen_q = 2, .seqlen_kv = keys, .heads_q = 8, .heads_kv = 2, .head_dim = 72, .head_dim_v = 120},
};

}  // namespace

void check_parts(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  uint32_t seed = 0;
  for (const AttentionCase &one : cases)
    for (const int32_t key_parts : {1, 2, 3, 16})
      for (uint32_t turn = 0; turn < 4; ++turn, ++seed) {
        const CaseOutcome outcome = emulate_case(
            host, one, {.kernel = kernel, .seed = seed, .turn = turn, .key_parts = key_parts});
        BOOST_TEST((outcome.verdict == Verdict::passed),
                   one.describe() << ", " << key_parts << " parts, seed " << seed << ": " << outcome.message);
      }
}

}  // namespace emulator
