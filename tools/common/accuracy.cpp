// SPDX-License-Identifier: Apache-2.0
#include "accuracy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace flashcore::tools {
namespace {

bool counts(std::span<const uint8_t> compare, size_t index) { return compare.empty() || compare[index] != 0; }

// Not a number on one side only, or infinities that differ.
bool differs_in_kind(double actual, double expected) {
  if (std::isfinite(actual) && std::isfinite(expected)) return false;
  if (std::isnan(actual) || std::isnan(expected)) return std::isnan(actual) != std::isnan(expected);
  return actual != expected;
}

}  // namespace

std::string ErrorStatistics::describe() const {
  std::string text = fmt::format("max {:.3g}", max_abs);
  if (max_index >= 0)
    text += fmt::format(" at [{}] (got {:.7g}, expected {:.7g})", max_index, actual_at_max, expected_at_max);
  text += fmt::format(", mean {:.3g}", mean_abs);
  if (wrong_kind > 0)
    text += fmt::format(", {} of {} are NaN or infinite where they should not be", wrong_kind, compared);
  return text;
}

ErrorStatistics measure_error(std::span<const double> actual, std::span<const double> expected,
                              std::span<const uint8_t> compare) {
  ErrorStatistics error;
  double sum = 0, expected_sum = 0;
  int64_t finite = 0;
  for (size_t n = 0; n < std::min(actual.size(), expected.size()); n++) {
    if (!counts(compare, n)) continue;
    error.compared++;
    const bool wrong_kind = differs_in_kind(actual[n], expected[n]);
    const bool comparable = std::isfinite(actual[n]) && std::isfinite(expected[n]);
    const double distance = comparable ? std::fabs(actual[n] - expected[n]) : 0;
    if ((wrong_kind && error.wrong_kind == 0) || (error.wrong_kind == 0 && distance > error.max_abs)) {
      error.max_index = static_cast<int64_t>(n);
      error.actual_at_max = actual[n];
      error.expected_at_max = expected[n];
    }
    error.wrong_kind += wrong_kind;
    if (!comparable) continue;
    finite++;
    error.max_abs = std::max(error.max_abs, distance);
    error.expected_max_abs = std::max(error.expected_max_abs, std::fabs(expected[n]));
    sum += distance;
    expected_sum += std::fabs(expected[n]);
  }
  if (finite > 0) {
    error.mean_abs = sum / static_cast<double>(finite);
    error.expected_mean_abs = expected_sum / static_cast<double>(finite);
  }
  // A result of the wrong length cannot pass: what is missing is of the wrong kind.
  error.wrong_kind +=
      static_cast<int64_t>(std::max(actual.size(), expected.size()) - std::min(actual.size(), expected.size()));
  return error;
}

std::string OutputGate::describe() const { return fmt::format("max {:.3g}, mean {:.3g}", max_abs, mean_abs); }

OutputGate output_gate(Float16Type type, const ErrorStatistics &yardstick, bool fixed_bounds_apply) {
  const double u = unit_roundoff(type);
  OutputGate gate = {2 * yardstick.max_abs + u * yardstick.expected_max_abs,
                     2 * yardstick.mean_abs + u * yardstick.expected_mean_abs / 4};
  if (fixed_bounds_apply) {
    gate.max_abs = std::min(gate.max_abs, type == Float16Type::float16 ? 1e-3 : 5e-3);
    gate.mean_abs = std::min(gate.mean_abs, type == Float16Type::float16 ? 5e-5 : 3e-4);
  }
  return gate;
}

OutputGate hard_gate(const ErrorStatistics &yardstick, double factor) {
  return {factor * yardstick.max_abs, factor * yardstick.mean_abs};
}

double lse_gate_ratio(std::span<const double> actual, std::span<const double> expected,
                      std::span<const uint8_t> compare) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t n = 0; n < actual.size(); n++) {
    if (!counts(compare, n)) continue;
    const double truth = static_cast<float>(expected[n]);  // infinite where a float32 cannot hold it
    if (differs_in_kind(actual[n], truth)) return std::numeric_limits<double>::infinity();
    if (!std::isfinite(truth)) continue;
    worst = std::max(worst, std::fabs(actual[n] - truth) / (1e-4 + 2e-6 * std::fabs(truth)));
  }
  return worst;
}

}  // namespace flashcore::tools
