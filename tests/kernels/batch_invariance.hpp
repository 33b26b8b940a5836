// SPDX-License-Identifier: Apache-2.0
//
// Batch invariance: sequences of random numbers, of which calls take some, alone or together. The bits of a sequence's output and LSE must be
// the same in all of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "kernels/device.hpp"

namespace flashcore::tests {

struct InvarianceCase {
  std::vector<int64_t> queries, keys;  // of each sequence; all alike where they are not ragged
  bool ragged = false;
  int32_t heads_q = 4, heads_kv = 2, head_dim = 64;
  bool bfloat16 = false, float32_output = false;
  int32_t causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT;
  int64_t window_left = -1;  // -1: open
  int64_t split_tokens = 0;  // 0: the library's own pieces, by FLASHCORE_FLAG_BATCH_INVARIANT

  std::string describe() const;
};

// Computes the call, or returns false where it is refused by name; anything else is a failed test.
using Compute = std::function<bool(flashcore_attention_args &)>;

struct InvarianceOutcome {
  std::string problem;  // empty: none
  int compared = 0;     // sequences in calls
};

// Each sequence alone, then in calls of two and more of its neighbours, and in the call of all.
InvarianceOutcome check_invariance(const Device &device, const InvarianceCase &one, const Compute &compute);

// Few queries and many, keys around pieces, windows that hide nothing of short sequences, ragged and not.
std::vector<InvarianceCase> invariance_cases();

}  // namespace flashcore::tests
