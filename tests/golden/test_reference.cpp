// SPDX-License-Identifier: Apache-2.0
//
// Is the judge fit to judge? The float64 reference against vectors that PyTorch made, feature by feature, and the
// 16-bit yardstick against the same truth. Only float32 storage of the vectors may stand between them.
#define BOOST_TEST_MODULE test_reference
#include <boost/test/unit_test.hpp>
#include <cmath>

#include "common/accuracy.hpp"
#include "golden/golden_cases.hpp"

using namespace flashcore;
using tests::GoldenCase;

BOOST_AUTO_TEST_CASE(all_cases_are_there) { BOOST_TEST(tests::load_golden_cases().size() == 38u); }

BOOST_AUTO_TEST_CASE(reference_matches_every_vector) {
  for (const GoldenCase &golden : tests::load_golden_cases()) {
    BOOST_TEST_CONTEXT(golden.name) {
      const auto result = tools::reference_attention(golden.problem, tools::reference_threads());
      const auto output = tools::measure_error(result.output, golden.expected.output);
      const auto lse = tools::measure_error(result.lse, golden.expected.lse);
      BOOST_TEST(output.compared == static_cast<int64_t>(golden.expected.output.size()));
      BOOST_TEST(output.wrong_kind == 0);
      BOOST_TEST(lse.wrong_kind == 0);
      // Stored as float32: half of its last bit, relative to the largest number.
      BOOST_TEST(output.max_abs <= 0x1p-24 * output.expected_max_abs + 1e-12, output.describe());
      BOOST_TEST(lse.max_abs <= 0x1p-24 * lse.expected_max_abs + 1e-12, lse.describe());
    }
  }
}

// The yardstick must be good enough to be one: within the fixed bounds' order at std 1, and never exact, which would
// make the gate it sets impossible to meet.
BOOST_AUTO_TEST_CASE(yardstick_is_honest) {
  for (const GoldenCase &golden : tests::load_golden_cases()) {
    if (golden.input_std > 1 || golden.problem.seqlen_kv < 64) continue;
    BOOST_TEST_CONTEXT(golden.name) {
      const auto result = tools::plain_16bit_attention(golden.problem, golden.dtype, tools::reference_threads());
      const auto error = tools::measure_error(result.output, golden.expected.output);
      const double u = tools::unit_roundoff(golden.dtype);
      BOOST_TEST(error.wrong_kind == 0);
      BOOST_TEST(error.max_abs > 0);
      BOOST_TEST(error.max_abs <= 2 * u * std::max(1.0, error.expected_max_abs), error.describe());
    }
  }
}

// A gate that lets everything through proves nothing: a scale 1 % off, one lost key, a NaN or a missing element must
// close it.
BOOST_AUTO_TEST_CASE(gate_refuses_wrong_results) {
  for (const GoldenCase &golden : tests::load_golden_cases()) {
    if (golden.name != "square" && golden.name != "square_bf16" && golden.name != "peaky") continue;
    BOOST_TEST_CONTEXT(golden.name) {
      const int threads = tools::reference_threads();
      const auto yardstick = tools::measure_error(
          tools::plain_16bit_attention(golden.problem, golden.dtype, threads).output, golden.expected.output);
      const auto gate = tools::output_gate(golden.dtype, yardstick, false);
      BOOST_TEST(gate.passes(yardstick));

      tools::ReferenceAttention wrong = golden.problem;
      wrong.scale *= 1.01;
      BOOST_TEST(!gate.passes(
          tools::measure_error(tools::reference_attention(wrong, threads).output, golden.expected.output)));
      wrong = golden.problem;
      wrong.window_right =
          golden.input_std > 1 ? wrong.seqlen_q / 2 : wrong.seqlen_q - 2;  // at least one row loses its last key
      BOOST_TEST(!gate.passes(
          tools::measure_error(tools::reference_attention(wrong, threads).output, golden.expected.output)));

      std::vector<double> damaged = golden.expected.output;
      damaged[damaged.size() / 2] = NAN;
      BOOST_TEST(!gate.passes(tools::measure_error(damaged, golden.expected.output)));
      damaged = golden.expected.output;
      damaged.pop_back();
      BOOST_TEST(!gate.passes(tools::measure_error(damaged, golden.expected.output)));

      std::vector<double> lse = golden.expected.lse;
      BOOST_TEST(tools::lse_gate_ratio(lse, golden.expected.lse) <= 1);
      lse.back() += 2e-3;
      BOOST_TEST(tools::lse_gate_ratio(lse, golden.expected.lse) > 1);
      lse.back() = INFINITY;
      BOOST_TEST(tools::lse_gate_ratio(lse, golden.expected.lse) > 1);
    }
  }
}
