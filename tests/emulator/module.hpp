// SPDX-License-Identifier: Apache-2.0
//
// Kernels that were compiled for the emulator, each in one specialization, by the names of their modules.
#pragma once

#include <string>
#include <vector>

#include "add_module.hpp"

namespace emulator {

struct Module {
  std::string name;                      // of the module, as "fwd_scalar-fp16"
  std::string broken;                    // what of tests/broken_kernels; empty: nothing
  std::vector<EntryPoint> entry_points;  // as its passport counts them
};

// In the order of their names.
const std::vector<Module> &modules();

}  // namespace emulator
