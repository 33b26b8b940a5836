// SPDX-License-Identifier: Apache-2.0
#include "check.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <set>
#include <thread>
#include <utility>

#include "reference_attention.hpp"

namespace flashcore::tools {
namespace {

// Products that the reference may take, half a second on one core with the yardstick's.
constexpr double reference_products = 1e8;
constexpr int64_t most_rows_per_head = 48;

ReferenceCausal reference_causal(int32_t causal) {
  return causal == FLASHCORE_CAUSAL_TOP_LEFT       ? ReferenceCausal::top_left
         : causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT ? ReferenceCausal::bottom_right
                                                   : ReferenceCausal::none;
}

// Keys that a row sees, by the reference's own rule. Causal masks show a prefix.
int64_t visible_prefix(const Shape &shape, int64_t position) {
  ReferenceAttention problem;
  problem.seqlen_q = shape.seqlen_q;
  problem.seqlen_kv = shape.seqlen_kv;
  problem.causal = reference_causal(shape.causal);
  int64_t visible = 0;
  while (visible < shape.seqlen_kv && key_is_visible(problem, position, visible)) ++visible;
  return visible;
}

// What every 16-bit pattern stands for; long shapes convert millions of them.
std::vector<float> pattern_values(Float16Type type) {
  std::vector<float> values(65536);
  for (uint32_t bits = 0; bits < values.size(); ++bits)
    values[bits] = static_cast<float>(to_double(type, static_cast<uint16_t>(bits)));
  return values;
}

// Where a head's row begins in [batch, sequence, head, dimension].
struct HeadOf {
  int64_t seqlen, heads, dim, batch, head;
  size_t row(int64_t s) const { return static_cast<size_t>(((batch * seqlen + s) * heads + head) * dim); }
};

std::vector<float> head_rows(const std::vector<uint16_t> &bits, const std::vector<float> &values, const HeadOf &at,
                             int64_t first, int64_t count) {
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(count * at.dim));
  for (int64_t s = first; s < first + count; ++s)
    for (size_t i = at.row(s); i < at.row(s) + static_cast<size_t>(at.dim); ++i) rows.push_back(values[bits[i]]);
  return rows;
}

// One query row on its own: the keys that it sees, and no mask.
ReferenceAttention row_problem(const Shape &shape, const HostTensors &host, const std::vector<float> &values,
                               const ReferenceRow &row) {
  const int64_t dim = shape.head_dim;
  const HeadOf at_query{shape.seqlen_q, shape.heads_q, dim, row.batch, row.head};
  const HeadOf at_key{shape.seqlen_kv, shape.heads_kv, dim, row.batch, row.head / (shape.heads_q / shape.heads_kv)};
  ReferenceAttention problem;
  problem.seqlen_q = 1;
  problem.seqlen_kv = visible_prefix(shape, row.position);
  problem.head_dim = problem.head_dim_v = dim;
  problem.scale = 1 / std::sqrt(static_cast<double>(dim));
  problem.query = head_rows(host.query, values, at_query, row.position, 1);
  problem.key = head_rows(host.key, values, at_key, 0, problem.seqlen_kv);
  problem.value = head_rows(host.value, values, at_key, 0, problem.seqlen_kv);
  return problem;
}

std::set<int64_t> choose_positions(int64_t seqlen, int64_t count) {
  std::set<int64_t> positions = {0, seqlen - 1};
  for (const int64_t edge : {63, 64, 127, 128, 15, 16, 31, 32, 191, 192, 255, 256})
    if (edge < seqlen && static_cast<int64_t>(positions.size()) < count / 2) positions.insert(edge);
  for (int64_t i = 1; static_cast<int64_t>(positions.size()) < count && i < count; ++i)
    positions.insert(i * (seqlen - 1) / count);
  return positions;
}

}  // namespace

std::vector<ReferenceRow> choose_reference_rows(const Shape &shape) {
  std::set<std::pair<int64_t, int64_t>> heads = {
      {0, 0}, {shape.batch - 1, shape.heads_q - 1}, {shape.batch / 2, shape.heads_q / 2}, {0, shape.heads_q - 1}};
  const double products_per_row = 2 * static_cast<double>(shape.seqlen_kv) * static_cast<double>(shape.head_dim);
  const double affordable = reference_products / products_per_row / static_cast<double>(heads.size());
  const int64_t rows_per_head =
      std::clamp<int64_t>(static_cast<int64_t>(std::min(affordable, 1e6)), 2, most_rows_per_head);
  std::vector<ReferenceRow> rows;
  for (const auto &[batch, head] : heads)
    for (const int64_t position : choose_positions(shape.seqlen_q, rows_per_head))
      rows.push_back({batch, head, position});
  return rows;
}

ReferenceRows compute_reference(const Shape &shape, const HostTensors &host) {
  const std::vector<float> values = pattern_values(shape.dtype);
  ReferenceRows reference;
  reference.rows = choose_reference_rows(shape);
  std::vector<ReferenceResult> exact(reference.rows.size()), rounded(reference.rows.size());
  std::atomic<size_t> next_row = 0;
  const auto work = [&] {
    for (size_t i = next_row++; i < reference.rows.size(); i = next_row++) {
      const ReferenceAttention problem = row_problem(shape, host, values, reference.rows[i]);
      exact[i] = reference_attention(problem, 1);
      rounded[i] = plain_16bit_attention(problem, shape.dtype, 1);
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int n = 1; n < reference_threads(); ++n) helpers.emplace_back(work);
    work();
  }
  std::vector<double> plain;
  for (size_t i = 0; i < reference.rows.size(); ++i) {
    reference.truth.insert(reference.truth.end(), exact[i].output.begin(), exact[i].output.end());
    reference.truth_lse.push_back(exact[i].lse.front());
    plain.insert(plain.end(), rounded[i].output.begin(), rounded[i].output.end());
  }
  reference.yardstick = measure_error(plain, reference.truth);
  return reference;
}

CheckResult check_output(const Shape &shape, const ReferenceRows &reference, const std::vector<uint16_t> &output,
                         const std::vector<float> &lse) {
  std::vector<double> actual, actual_lse;
  actual.reserve(reference.truth.size());
  for (const ReferenceRow &row : reference.rows) {
    const HeadOf at{shape.seqlen_q, shape.heads_q, shape.head_dim, row.batch, row.head};
    for (size_t i = at.row(row.position); i < at.row(row.position) + static_cast<size_t>(shape.head_dim); ++i)
      actual.push_back(to_double(shape.dtype, output[i]));
    actual_lse.push_back(static_cast<double>(
        lse[static_cast<size_t>((row.batch * shape.heads_q + row.head) * shape.seqlen_q + row.position)]));
  }
  // The fixed bounds of accuracy.hpp are for plain attention over many keys; the inputs are normal always.
  const bool plain_and_long = shape.causal == FLASHCORE_CAUSAL_NONE && shape.seqlen_kv >= 512;
  CheckResult check;
  check.done = true;
  check.error = measure_error(actual, reference.truth);
  check.gate = output_gate(shape.dtype, reference.yardstick, plain_and_long);
  check.lse_ratio = lse_gate_ratio(actual_lse, reference.truth_lse);
  check.rows = static_cast<int64_t>(reference.rows.size());
  return check;
}

Outcome<CheckedCall> checked_call(const Stream &stream, const Shape &shape, const Workload &workload,
                                  const ReferenceRows &reference, const Args &args) {
  const TensorSet &set = workload.sets.front();
  Args with_lse = args;
  with_lse.lse.data = workload.lse.address();
  TOOLS_TRY(set.output.fill(0xff, stream.get()));
  TOOLS_TRY(workload.lse.fill(0xff, stream.get()));
  TOOLS_TRY(stream.synchronize());
  CheckedCall call;
  const double begin_us = clock_us();
  TOOLS_TRY(stream.attend(with_lse));
  TOOLS_TRY(stream.synchronize());
  call.wall_us = clock_us() - begin_us;
  call.output.resize(static_cast<size_t>(workload.output_count()));
  std::vector<float> lse(static_cast<size_t>(workload.lse.bytes()) / sizeof(float));
  TOOLS_TRY(set.output.download(call.output.data()));
  TOOLS_TRY(workload.lse.download(lse.data()));
  call.check = check_output(shape, reference, call.output, lse);
  return call;
}

}  // namespace flashcore::tools
