// SPDX-License-Identifier: Apache-2.0
//
// The bias and the mask of a case: their numbers, for the reference, and the same in memory as the case lays them out.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/attention_case.hpp"

namespace flashcore::tests {

struct ScoreTensorInMemory {
  std::vector<uint8_t> bytes;  // with garbage around the elements, and none behind the last one
  int64_t first_byte = 0;      // of element [0,0,0,0]
  int64_t strides[4] = {};     // as flashcore_tensor has them; all 0: left to the library
  int32_t dtype = 0;
};

// [batch, heads_q, seqlen_q, seqlen_kv], as the reference takes them; empty where the case has none.
std::vector<float> bias_of(const AttentionCase &one, std::mt19937 &generator);
std::vector<uint8_t> mask_of(const AttentionCase &one, std::mt19937 &generator);

ScoreTensorInMemory laid_out(const AttentionCase &one, const std::vector<float> &bias);
ScoreTensorInMemory laid_out(const AttentionCase &one, const std::vector<uint8_t> &mask);

}  // namespace flashcore::tests
