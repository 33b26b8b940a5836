// SPDX-License-Identifier: Apache-2.0
//
// An emulated kernel with a variant that changes scores by where they stand (tests/other_parts/variants.cuh).
#pragma once

#include <string>

namespace emulator {

// As checks of the running test case.
void check_variant(const std::string &kernel);

}  // namespace emulator
