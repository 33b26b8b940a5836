// SPDX-License-Identifier: Apache-2.0
//
// Keys cut into 1 to 8 shards in any order, some of them empty: float32 results over each, with a sink in one of them, under causal masks, windows,
// chunks and ALiBi that count by positions, merge to the result over all keys.
#pragma once

#include <functional>
#include <string>

#include "kernels/device.hpp"

namespace flashcore::tests {

// Computes the call, or returns false where it is refused by name; anything else is a failed test.
using ComputeShard = std::function<bool(const flashcore_attention_args &)>;

struct ShardsOutcome {
  std::string problem;  // empty: none
  int merged = 0;       // rounds that nothing was refused in
};

ShardsOutcome check_shards(const Device &device, int rounds, const ComputeShard &compute);

}  // namespace flashcore::tests
