// SPDX-License-Identifier: Apache-2.0
//
// An emulated kernel with the texts of examples/variants.
#pragma once

#include <string>

namespace emulator {

// As checks of the running test case.
void check_texts(const std::string &kernel);

}  // namespace emulator
