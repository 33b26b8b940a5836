// SPDX-License-Identifier: Apache-2.0
//
// The golden vectors on an emulated kernel.
#pragma once

#include <string>

namespace emulator {

// Those that it serves, each under a seed of its own, as checks of the running test case; those with features are not for kernels to refuse
// (tests/kernels/test_golden.cpp).
void check_golden(const std::string &kernel);

}  // namespace emulator
