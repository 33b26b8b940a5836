// SPDX-License-Identifier: Apache-2.0
//
// Kernels that split keys over the grid, in so many parts as a test says.
#pragma once

#include <string>

namespace emulator {

// Rows that some parts have no key for, or that see none at all; heads that do not divide a tile; signs, logarithms and rows that are computed
// again.
void check_parts(const std::string &kernel);

}  // namespace emulator
