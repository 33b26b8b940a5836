// SPDX-License-Identifier: Apache-2.0
//
// Problems with answers from elsewhere on an emulated kernel: the golden vectors, and others that are held to the float64 reference.
#pragma once

#include <string>

namespace emulator {

// Those that it serves, with nothing to read behind the tensors, each under a seed of its own, as checks of the running test case; those with
// features where a module has them.
void check_golden(const std::string &kernel);

// Infinities and NaN among the values: who sees their key gets them, and nobody else. (The grid plants them where they count for nobody.)
void check_infinite_values(const std::string &kernel);

// Rows of so many keys that O is summed in stretches (parts/long_sum.cuh).
void check_long_rows(const std::string &kernel);

}  // namespace emulator
