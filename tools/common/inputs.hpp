// SPDX-License-Identifier: Apache-2.0
//
// Random normal inputs and the device memory that holds them: sets of Q, K, V and O among which a row rotates.
#pragma once

#include <cstdint>
#include <vector>

#include "device.hpp"
#include "measuring.hpp"

namespace flashcore::tools {

// Normal numbers as 16-bit patterns, drawn from the 65,536 quantiles of N(0,1), which are rounded once: a number then
// costs a nanosecond, and gigabytes of them a few seconds.
class NormalBits {
 public:
  explicit NormalBits(Float16Type type);
  std::vector<uint16_t> draw(uint64_t seed, int64_t count) const;

 private:
  std::vector<uint16_t> quantiles_;
};

struct HostTensors {
  std::vector<uint16_t> query, key, value;  // [batch, sequence, head, dimension]
};
// The numbers of one set of a shape; they do not depend on what else is measured.
HostTensors draw_tensors(const NormalBits &normal, const Shape &shape, int64_t seed, int64_t set);

struct TensorSet {
  static Outcome<TensorSet> make(const Context &context, const HostTensors &host);
  Buffer query, key, value, output;
  void use_in(Args &args) const;
};

// What one shape is measured on. All sets hold different numbers; those of the first are kept for the reference.
struct Workload {
  HostTensors host;
  std::vector<TensorSet> sets;
  Buffer lse;

  int64_t output_count() const { return sets.front().output.bytes() / 2; }
};

Outcome<Buffer> make_lse(const Context &context, const Shape &shape);
// Sets of a row where the command line does not say: up to eight while they fit into 400 MB; one on the CPU device.
int64_t default_sets(const Shape &shape, bool on_gpu);
Outcome<Workload> make_workload(const Context &context, const Shape &shape, int64_t sets, int64_t seed);

}  // namespace flashcore::tools
