// SPDX-License-Identifier: Apache-2.0
//
// The golden vectors as values. PROVENANCE.md says where they come from.
#pragma once

#include <string>
#include <vector>

#include "common/reference_attention.hpp"

namespace flashcore::tests {

struct GoldenCase {
  std::string name;
  tools::Float16Type dtype = tools::Float16Type::float16;
  double input_std = 1;
  tools::ReferenceAttention problem;  // inputs and features
  tools::ReferenceResult expected;    // float64 results, stored as float32
};

// Every case of cases.json, in its order. A missing or damaged file ends the program with its name: a test without its
// vectors proves nothing.
std::vector<GoldenCase> load_golden_cases();

}  // namespace flashcore::tests
