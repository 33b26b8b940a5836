// SPDX-License-Identifier: Apache-2.0
//
// Ragged batches and pages by an emulated kernel.
#pragma once

#include <string>

namespace emulator {

// A kernel that has no module for them is not asked.
void check_ragged(const std::string &kernel);

}  // namespace emulator
