// SPDX-License-Identifier: Apache-2.0
//
// What a launch wrote, held to the float64 reference within the gate of its case.
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "common/accuracy.hpp"
#include "kernels/run_case.hpp"

namespace flashcore::tests {
namespace {

CaseOutcome failed(const std::string &why) { return {Verdict::failed, why}; }

struct Truth {
  tools::ReferenceResult exact, rounded;  // rounded: the yardstick of the case's gate
  // Where many keys share the top, how the largest is rounded is chance, and so is the largest error: then another yardstick, of
  // which the worse one counts.
  std::optional<tools::ReferenceResult> rounded_otherwise;
};

// A case is the same for every kernel, and its truth takes longer than all of them; so it is worked out once.
const Truth &truth_of(const tools::ReferenceAttention &problem, const AttentionCase &one) {
  static std::map<std::string, Truth> known;
  const auto [place, is_new] = known.try_emplace(one.describe());
  if (is_new) {
    const int threads = tools::reference_threads();
    const bool float32_is_enough =
        !one.is_hard() && one.extreme == Extreme::none && std::fabs(one.softmax_scale()) < 1e8;
    Truth &truth = place->second;
    truth.exact = tools::reference_attention(problem, threads);
    truth.rounded = float32_is_enough ? tools::plain_16bit_attention(problem, one.dtype, threads)
                                      : tools::rounded_once_attention(problem, one.dtype, threads);
    if (one.scores == Scores::rising || one.scores == Scores::falling)
      truth.rounded_otherwise = tools::rounded_once_attention(problem, one.dtype, threads, std::sqrt(0.5));
  }
  return place->second;
}

}  // namespace

CaseOutcome judge_result(const CaseOnDevice &run, const AttentionCase &one) {
  const auto output = run.read_output();
  const auto lse = run.read_lse();
  for (const std::string &problem : {run.guard_problem(output, lse), run.input_problem()})
    if (!problem.empty()) return failed(problem);

  const auto mask = run.output_mask();
  const Truth &truth = truth_of(run.reference(), one);
  const auto &expected = truth.exact;
  auto yardstick = tools::measure_error(truth.rounded.output, expected.output, mask);
  if (truth.rounded_otherwise) {
    const auto other = tools::measure_error(truth.rounded_otherwise->output, expected.output, mask);
    yardstick.max_abs = std::max(yardstick.max_abs, other.max_abs),
    yardstick.mean_abs = std::max(yardstick.mean_abs, other.mean_abs);
  }
  const auto gate = one.is_hard() ? tools::hard_gate(yardstick, run.hard_gate_factor())
                                  : tools::output_gate(one.dtype, yardstick, one.fixed_bounds_apply());
  const auto values = run.output_values(output);
  if (one.float32_output && one.has_long_sums() && std::all_of(values.begin(), values.end(), [&](double value) {
        return !(std::fabs(value) > 0) ||
               tools::to_double(one.dtype, tools::to_16bit(one.dtype, static_cast<float>(value))) == value;
      }))
    return failed("the output is of float32, but was rounded to the type of the inputs");
  const auto error = tools::measure_error(values, expected.output, mask);
  if (!expected.output.empty() && error.compared == 0) return failed("the case compares nothing");

  CaseOutcome outcome{Verdict::passed, "", error.max_abs, error.mean_abs, gate.max_abs};
  const auto share = [](double part, double whole) { return part == 0 ? 0 : part / whole; };
  outcome.gate_share = std::max(share(error.max_abs, gate.max_abs), share(error.mean_abs, gate.mean_abs));
  if (one.lse != LseRequest::none)
    outcome.lse_share = tools::lse_gate_ratio(run.lse_values(lse), expected.lse, run.lse_mask());
  if (!gate.passes(error)) {
    outcome.verdict = Verdict::failed;
    outcome.message = "output " + error.describe() + "; gate: " + gate.describe();
  } else if (!(outcome.lse_share <= 1)) {
    outcome.verdict = Verdict::failed;
    outcome.message = "lse is " + std::to_string(outcome.lse_share) + " times as far off as its gate allows";
  }
  return outcome;
}

}  // namespace flashcore::tests
