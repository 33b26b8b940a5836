// SPDX-License-Identifier: Apache-2.0
//
// Order statistics of samples, and the rank test that tells a shift from noise. Nothing here knows what was measured.
#pragma once

#include <vector>

#include "console.hpp"

namespace flashcore::tools {

struct SampleSummary {
  double minimum = 0, p10 = 0, p50 = 0, p90 = 0, p99 = 0, mean = 0;
};

// Between the two nearest ranks, by linear interpolation. `sorted` is not empty.
double quantile(const std::vector<double> &sorted, double q);
SampleSummary summarise(std::vector<double> samples);  // zeros where there are none
double median(std::vector<double> samples);

// Mann and Whitney: how probable is it that samples of one distribution fall with `larger` as far above `smaller` as
// these do? One-sided, normal approximation with ties; sound from about five samples each. 1 where either is empty.
double rank_test(const std::vector<double> &smaller, const std::vector<double> &larger);

// Are the newer samples slower or faster than the older ones? Their medians must differ by more than the threshold (a share),
// and the rank test must say that this is no chance; either alone is noise.
enum class Verdict { same, faster, slower, unclear };
Verdict judge(const std::vector<double> &older, const std::vector<double> &newer, double threshold);
const char *verdict_word(Verdict verdict);    // "faster", "slower", "same", "unclear"
Cell verdict_cell(Verdict verdict);           // as tables show it
inline constexpr double significance = 0.01;  // of the rank test

}  // namespace flashcore::tools
