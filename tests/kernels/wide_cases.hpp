// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/feature_cases.hpp"

namespace flashcore::tests {

// Heads above 256 columns.
void add_wide_heads(Cases &cases);
// For the reduced grid.
void add_few_wide_heads(Cases &cases);

}  // namespace flashcore::tests
