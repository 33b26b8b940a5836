// SPDX-License-Identifier: Apache-2.0
#include "emulated_variant.hpp"

#include <boost/test/unit_test.hpp>

#include "common/accuracy.hpp"
#include "emulate.hpp"
#include "kernels/attention_case.hpp"

namespace emulator {

using namespace flashcore;
using namespace flashcore::tests;

// Distance takes 0.01 * (head + 1) for each key between: that is what slopes are to the reference, where as many queries as keys are.
void check_variant(const std::string &kernel) {
  const Device host(FLASHCORE_DEVICE_CPU, 0);
  const AttentionCase one = {.batch = 2, .seqlen_q = 130, .seqlen_kv = 130, .heads_q = 4, .heads_kv = 2};
  CaseOnDevice run(host, one, "");
  tools::ReferenceAttention problem = run.reference();
  problem.alibi_slopes = {0.01f, 0.02f, 0.03f, 0.04f};
  const int threads = tools::reference_threads();
  const auto expected = tools::reference_attention(problem, threads);
  const auto rounded = tools::plain_16bit_attention(problem, one.dtype, threads);
  const auto gate = tools::output_gate(one.dtype, tools::measure_error(rounded.output, expected.output), false);
  const auto error_of = [&] { return tools::measure_error(run.output_values(run.read_output()), expected.output); };

  const CaseOutcome outcome = emulate(run.args(), {.kernel = kernel, .broken = "Distance"});
  BOOST_REQUIRE_MESSAGE(outcome.verdict == Verdict::passed, outcome.message);
  const auto error = error_of();
  BOOST_TEST(gate.passes(error), error.describe() << "; gate: " << gate.describe());
  BOOST_TEST(tools::lse_gate_ratio(run.lse_values(run.read_lse()), expected.lse) <= 1);

  run.poison_outputs();
  BOOST_REQUIRE(emulate(run.args(), {.kernel = kernel}).verdict == Verdict::passed);
  BOOST_TEST(!gate.passes(error_of()), "the case does not tell the variant from none");
}

}  // namespace emulator
