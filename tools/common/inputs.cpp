// SPDX-License-Identifier: Apache-2.0
#include "inputs.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "memory.hpp"
#include "reference_attention.hpp"

namespace flashcore::tools {
namespace {

constexpr size_t quantile_count = 65536;

// x with P(N(0,1) <= x) = p, for p below one half, by Newton's method from `start`, which must not be left of it: there
// the distribution function is convex, so every step stays on the right side.
double normal_quantile(double p, double start) {
  double x = start;
  for (int step = 0; step < 100; ++step) {
    const double error = std::erfc(-x / std::numbers::sqrt2) / 2 - p;
    const double density = std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
    const double next = x - error / density;
    if (std::fabs(next - x) < 1e-12) return next;
    x = next;
  }
  return x;
}

uint64_t splitmix64(uint64_t &state) {
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// A shape's numbers do not depend on the shapes measured before it.
uint64_t shape_seed(const Shape &shape, int64_t seed) {
  uint64_t state = static_cast<uint64_t>(seed);
  uint64_t mixed = splitmix64(state);
  for (const int64_t number :
       {shape.batch, shape.heads_q, shape.heads_kv, shape.seqlen_q, shape.seqlen_kv, shape.head_dim}) {
    state = mixed ^ static_cast<uint64_t>(number);
    mixed = splitmix64(state);
  }
  return mixed;
}

int64_t tensor_count(const Shape &shape, int64_t seqlen, int64_t heads) {
  return shape.batch * seqlen * heads * shape.head_dim;
}

Outcome<Buffer> uploaded(const Context &context, const std::vector<uint16_t> &bits) {
  TOOLS_TRY_ASSIGN(Buffer buffer, Buffer::make(context, static_cast<int64_t>(bits.size() * sizeof(uint16_t))));
  TOOLS_TRY(buffer.upload(bits.data()));
  return buffer;
}

// Host memory of make_workload and of what compares results: two outputs, and the rows of the reference.
Step check_workload_memory(const Context &context, const Shape &shape, int64_t sets) {
  TOOLS_TRY_ASSIGN(const ContextInfo info, context.describe());
  const auto real = [](int64_t size) { return static_cast<double>(size); };
  const double output_rows = real(shape.batch) * real(shape.seqlen_q) * real(shape.heads_q),
               output = output_rows * real(shape.head_dim);
  const double set =
      output + 2 * real(shape.batch) * real(shape.seqlen_kv) * real(shape.heads_kv) * real(shape.head_dim);
  MemoryNeeds needs = {
      {"inputs", 2 * set * (sets > 1 ? 2 : 1)},
      {"results to compare", 4 * output + 4 * output_rows},
      {"the float64 reference", real(shape.seqlen_kv) * (8 * real(shape.head_dim) + 24) * reference_threads()}};
  if (info.device.kind == FLASHCORE_DEVICE_CPU)
    needs.emplace_back("what the CPU device computes on", real(sets) * 2 * (set + output) + 4 * output_rows);
  return check_memory(needs);
}

}  // namespace

NormalBits::NormalBits(Float16Type type) : quantiles_(quantile_count) {
  double x = 0;
  for (size_t i = quantile_count / 2; i-- > 0;) {
    x = normal_quantile((static_cast<double>(i) + 0.5) / quantile_count, x);
    quantiles_[i] = to_16bit(type, x);
    quantiles_[quantile_count - 1 - i] = to_16bit(type, -x);
  }
}

std::vector<uint16_t> NormalBits::draw(uint64_t seed, int64_t count) const {
  uint64_t state = seed;
  std::vector<uint16_t> bits(static_cast<size_t>(count));
  for (size_t i = 0; i < bits.size(); i += 4) {
    uint64_t drawn = splitmix64(state);
    for (size_t j = i; j < std::min(i + 4, bits.size()); ++j, drawn >>= 16) bits[j] = quantiles_[drawn & 0xffff];
  }
  return bits;
}

void TensorSet::use_in(Args &args) const {
  args.query.data = query.address();
  args.key.data = key.address();
  args.value.data = value.address();
  args.output.data = output.address();
}

int64_t default_sets(const Shape &shape, bool on_gpu) {
  constexpr double most_bytes = 400e6;
  if (!on_gpu) return 1;
  return std::clamp<int64_t>(static_cast<int64_t>(std::min(most_bytes / attention_bytes(shape), 8.0)), 1, 8);
}

HostTensors draw_tensors(const NormalBits &normal, const Shape &shape, int64_t seed, int64_t set) {
  const uint64_t first = shape_seed(shape, seed) + static_cast<uint64_t>(set) * 0x2545f4914f6cdd1d;
  return {normal.draw(first + 1, tensor_count(shape, shape.seqlen_q, shape.heads_q)),
          normal.draw(first + 2, tensor_count(shape, shape.seqlen_kv, shape.heads_kv)),
          normal.draw(first + 3, tensor_count(shape, shape.seqlen_kv, shape.heads_kv))};
}

Outcome<TensorSet> TensorSet::make(const Context &context, const HostTensors &host) {
  TOOLS_TRY_ASSIGN(Buffer query, uploaded(context, host.query));
  TOOLS_TRY_ASSIGN(Buffer key, uploaded(context, host.key));
  TOOLS_TRY_ASSIGN(Buffer value, uploaded(context, host.value));
  TOOLS_TRY_ASSIGN(Buffer output, Buffer::make(context, query.bytes()));
  return TensorSet{std::move(query), std::move(key), std::move(value), std::move(output)};
}

Outcome<Buffer> make_lse(const Context &context, const Shape &shape) {
  return Buffer::make(context, shape.batch * shape.heads_q * shape.seqlen_q * static_cast<int64_t>(sizeof(float)));
}

Outcome<Workload> make_workload(const Context &context, const Shape &shape, int64_t sets, int64_t seed) {
  TOOLS_TRY(check_workload_memory(context, shape, sets));
  const NormalBits normal(shape.dtype);
  TOOLS_TRY_ASSIGN(Buffer lse, make_lse(context, shape));
  Workload workload{{}, {}, std::move(lse)};
  workload.sets.reserve(static_cast<size_t>(sets));
  for (int64_t i = 0; i < sets; ++i) {
    HostTensors host = draw_tensors(normal, shape, seed, i);
    TOOLS_TRY_ASSIGN(TensorSet set, TensorSet::make(context, host));
    workload.sets.push_back(std::move(set));
    if (i == 0) workload.host = std::move(host);
  }
  return workload;
}

}  // namespace flashcore::tools
