// SPDX-License-Identifier: Apache-2.0
#include "statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace flashcore::tools {
namespace {

constexpr size_t fewest_samples = 5;  // with fewer, no order of ranks is improbable enough

}  // namespace

double quantile(const std::vector<double> &sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

SampleSummary summarise(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {samples.front(),         quantile(samples, 0.10), quantile(samples, 0.50),
          quantile(samples, 0.90), quantile(samples, 0.99), sum / static_cast<double>(samples.size())};
}

double median(std::vector<double> samples) { return summarise(std::move(samples)).p50; }

double rank_test(const std::vector<double> &smaller, const std::vector<double> &larger) {
  if (smaller.empty() || larger.empty()) return 1;
  std::vector<std::pair<double, bool>> all;  // value, is it of `larger`?
  for (const double value : smaller) all.emplace_back(value, false);
  for (const double value : larger) all.emplace_back(value, true);
  std::sort(all.begin(), all.end());
  const double n = static_cast<double>(all.size()), n1 = static_cast<double>(larger.size()), n2 = n - n1;
  double rank_sum = 0, ties = 0;
  for (size_t begin = 0, end = 0; begin < all.size(); begin = end) {
    while (end < all.size() && all[end].first == all[begin].first) ++end;
    const double rank = static_cast<double>(begin + end + 1) / 2;  // equal values share the mean of their ranks
    for (size_t i = begin; i < end; ++i)
      if (all[i].second) rank_sum += rank;
    const double count = static_cast<double>(end - begin);
    ties += count * count * count - count;
  }
  const double u = rank_sum - n1 * (n1 + 1) / 2;
  const double variance = n1 * n2 / 12 * (n + 1 - ties / (n * (n - 1)));
  if (variance <= 0) return 1;  // all values are equal
  const double z = (u - n1 * n2 / 2 - 0.5) / std::sqrt(variance);
  return std::erfc(z / std::sqrt(2.0)) / 2;
}

Verdict judge(const std::vector<double> &older, const std::vector<double> &newer, double threshold) {
  const double ratio = median(newer) / median(older);
  const bool large = ratio > 1 + threshold || ratio < 1 / (1 + threshold);
  if (!large) return Verdict::same;
  if (older.size() < fewest_samples || newer.size() < fewest_samples) return Verdict::unclear;
  const double chance = ratio > 1 ? rank_test(older, newer) : rank_test(newer, older);
  if (chance >= significance) return Verdict::same;
  return ratio > 1 ? Verdict::slower : Verdict::faster;
}

const char *verdict_word(Verdict verdict) {
  switch (verdict) {
    case Verdict::slower:
      return "slower";
    case Verdict::faster:
      return "faster";
    case Verdict::unclear:
      return "unclear";
    case Verdict::same:
      break;
  }
  return "same";
}

Cell verdict_cell(Verdict verdict) {
  switch (verdict) {
    case Verdict::slower:
      return {"SLOWER", Mark::bad};
    case Verdict::faster:
      return {"faster", Mark::good};
    case Verdict::unclear:
      return {"too few samples", Mark::warning};
    case Verdict::same:
      return {"same"};
  }
  return {};
}

}  // namespace flashcore::tools
