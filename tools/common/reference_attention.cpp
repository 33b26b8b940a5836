// SPDX-License-Identifier: Apache-2.0
//
// One template over the arithmetic: double without rounding is the oracle, float or double with rounding the 16-bit yardsticks.
#include "reference_attention.hpp"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

namespace flashcore::tools {
namespace {

struct KeepFloat64 {
  using Real = double;
  double round(double value) const { return value; }
  double round_probability(double value) const { return value; }
};
struct RoundTo16Bit {
  using Real = float;
  Float16Type type;
  float round(float value) const { return static_cast<float>(to_double(type, to_16bit(type, value))); }
  float round_probability(float value) const { return round(value); }
};
struct RoundFloat64To16Bit {
  using Real = double;
  Float16Type type;
  double largest_probability;
  double round(double value) const { return to_double(type, to_16bit(type, static_cast<float>(value))); }
  double round_probability(double value) const { return round(value * largest_probability) / largest_probability; }
};

struct Row {
  int64_t batch, head, position;
};

// Of a bias or a mask of `size` elements.
size_t score_index(const ReferenceAttention &problem, size_t size, const Row &row, int64_t j) {
  const int64_t of_heads = problem.heads_q * problem.seqlen_q * problem.seqlen_kv;
  const int64_t batch = static_cast<int64_t>(size) > of_heads ? row.batch : 0;
  return static_cast<size_t>(
      ((batch * problem.heads_q + row.head) * problem.seqlen_q + row.position) * problem.seqlen_kv + j);
}

template <typename Real>
Real score(const ReferenceAttention &problem, const Row &row, int64_t j) {
  const int64_t head_kv = row.head / (problem.heads_q / problem.heads_kv);
  const float *query =
      &problem.query[((row.batch * problem.seqlen_q + row.position) * problem.heads_q + row.head) * problem.head_dim];
  const float *key =
      &problem.key[((row.batch * problem.seqlen_kv + j) * problem.heads_kv + head_kv) * problem.head_dim];
  Real sum = 0;
  for (int64_t d = 0; d < problem.head_dim; d++) sum += static_cast<Real>(query[d]) * static_cast<Real>(key[d]);
  Real s = sum * static_cast<Real>(problem.scale);
  if (problem.softcap != 0) s = static_cast<Real>(problem.softcap) * std::tanh(s / static_cast<Real>(problem.softcap));
  if (!problem.alibi_slopes.empty()) {
    const int64_t distance = std::abs(position_among_keys(problem, row.position) - j);
    const bool by_batch = problem.alibi_slopes.size() > static_cast<size_t>(problem.heads_q);
    const int64_t index = (by_batch ? row.batch * problem.heads_q : 0) + row.head;
    s -= static_cast<Real>(problem.alibi_slopes[index]) * static_cast<Real>(distance);
  }
  if (!problem.bias.empty()) s += static_cast<Real>(problem.bias[score_index(problem, problem.bias.size(), row, j)]);
  if (problem.variant_score)
    s = static_cast<Real>(problem.variant_score(static_cast<double>(s), row.batch, row.head, row.position, j));
  return s;
}

template <typename Arithmetic>
void attend_row(const ReferenceAttention &problem, const Row &row, const Arithmetic &arithmetic,
                ReferenceResult &result) {
  using Real = typename Arithmetic::Real;
  const Real minus_infinity = -std::numeric_limits<Real>::infinity();
  std::vector<int64_t> visible;
  std::vector<Real> scores;
  Real maximum = minus_infinity;
  for (int64_t j = 0; j < problem.seqlen_kv; j++) {
    if (!key_is_visible(problem, row.position, j) || !key_is_shown(problem, row.batch, row.head, row.position, j))
      continue;
    if (problem.variant_visible && !problem.variant_visible(row.batch, row.head, row.position, j)) continue;
    visible.push_back(j);
    scores.push_back(score<Real>(problem, row, j));
    if (!(scores.back() <= maximum)) maximum = scores.back();  // a NaN score stays visible
  }
  const bool has_sink = !problem.sinks.empty();
  const Real sink = has_sink ? static_cast<Real>(problem.sinks[row.head]) : minus_infinity;
  if (has_sink) maximum = std::max(maximum, sink);

  double *output =
      &result.output[((row.batch * problem.seqlen_q + row.position) * problem.heads_q + row.head) * problem.head_dim_v];
  double &lse = result.lse[(row.batch * problem.heads_q + row.head) * problem.seqlen_q + row.position];
  std::fill(output, output + problem.head_dim_v, 0.0);
  lse = minus_infinity;
  if (maximum == minus_infinity) return;  // no key is seen, or none with a score above -infinity

  const int64_t head_kv = row.head / (problem.heads_q / problem.heads_kv);
  std::vector<Real> sum_v(static_cast<size_t>(problem.head_dim_v), 0);
  Real sum = has_sink ? std::exp(sink - maximum) : Real(0);
  for (size_t n = 0; n < visible.size(); n++) {
    const Real probability = std::exp(scores[n] - maximum);
    const Real rounded = arithmetic.round_probability(probability);
    sum += probability;
    const float *value =
        &problem
             .value[((row.batch * problem.seqlen_kv + visible[n]) * problem.heads_kv + head_kv) * problem.head_dim_v];
    for (int64_t d = 0; d < problem.head_dim_v; d++) sum_v[d] += rounded * static_cast<Real>(value[d]);
  }
  for (int64_t d = 0; d < problem.head_dim_v; d++) output[d] = arithmetic.round(sum_v[d] / sum);
  const Real natural = maximum + std::log(sum);
  lse = problem.lse_base2 ? natural * static_cast<Real>(1.4426950408889634) : natural;
}

// Rows are independent, so any number of threads gives the same numbers.
template <typename Arithmetic>
ReferenceResult attend_all(const ReferenceAttention &problem, const Arithmetic &arithmetic, int threads) {
  ReferenceResult result;
  const int64_t rows = problem.batch * problem.heads_q * problem.seqlen_q;
  result.output.resize(static_cast<size_t>(rows * problem.head_dim_v));
  result.lse.resize(static_cast<size_t>(rows));
  std::atomic<int64_t> next_row = 0;
  const auto work = [&] {
    for (int64_t index = next_row++; index < rows; index = next_row++) {
      const Row row = {index / problem.seqlen_q / problem.heads_q, index / problem.seqlen_q % problem.heads_q,
                       index % problem.seqlen_q};
      attend_row(problem, row, arithmetic, result);
    }
  };
  const double products = static_cast<double>(rows) * static_cast<double>(problem.seqlen_kv) *
                          static_cast<double>(problem.head_dim + problem.head_dim_v);
  std::vector<std::jthread> helpers;
  for (int n = 1; n < threads && products > 1000000; n++) helpers.emplace_back(work);
  work();
  helpers.clear();  // joins: the result is complete from here on
  return result;
}

}  // namespace

int64_t position_among_keys(const ReferenceAttention &problem, int64_t i) {
  if (problem.query_position >= 0) return i + problem.query_position - problem.key_position;
  return i + problem.seqlen_kv - problem.seqlen_q;
}

bool key_is_visible(const ReferenceAttention &problem, int64_t i, int64_t j) {
  const int64_t diagonal = position_among_keys(problem, i);  // the key at query i's own position
  if (problem.causal == ReferenceCausal::top_left && j > i) return false;
  if (problem.causal == ReferenceCausal::bottom_right && j > diagonal) return false;
  if (problem.window_left >= 0 && j < diagonal - problem.window_left) return false;
  if (problem.window_right >= 0 && j > diagonal + problem.window_right) return false;
  if (const int64_t chunk = problem.attention_chunk; chunk != 0) {
    const int64_t position = diagonal + problem.key_position;
    if (position < 0 || (j + problem.key_position) / chunk != position / chunk) return false;  // none before position 0
  }
  return true;
}

bool key_is_shown(const ReferenceAttention &problem, int64_t batch, int64_t head, int64_t i, int64_t j) {
  const Row row = {batch, head, i};
  if (!problem.mask.empty() && problem.mask[score_index(problem, problem.mask.size(), row, j)] == 0) return false;
  return problem.bias.empty() ||
         problem.bias[score_index(problem, problem.bias.size(), row, j)] != -std::numeric_limits<float>::infinity();
}

int reference_threads() {
  cpu_set_t affinity;
  if (sched_getaffinity(0, sizeof(affinity), &affinity) == 0) return std::max(1, CPU_COUNT(&affinity));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

ReferenceResult reference_attention(const ReferenceAttention &problem, int threads) {
  return attend_all(problem, KeepFloat64{}, threads);
}

ReferenceResult plain_16bit_attention(const ReferenceAttention &problem, Float16Type type, int threads) {
  return attend_all(problem, RoundTo16Bit{type}, threads);
}

ReferenceResult rounded_once_attention(const ReferenceAttention &problem, Float16Type type, int threads,
                                       double largest_probability) {
  return attend_all(problem, RoundFloat64To16Bit{type, largest_probability}, threads);
}

}  // namespace flashcore::tools
