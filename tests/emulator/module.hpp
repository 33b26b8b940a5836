// SPDX-License-Identifier: Apache-2.0
//
// Kernels that were compiled for the emulator, each in one specialization, by the names of their modules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

struct EntryPoint {
  void (*kernel)(const void *parameters);
  int32_t most_threads;  // of __launch_bounds__
};

struct Module {
  std::string name;                      // of the module, as "fwd_scalar-fp16"
  std::string broken;                    // what of tests/broken_kernels; empty: nothing
  std::vector<EntryPoint> entry_points;  // as its passport counts them
};

// In the order of their names.
const std::vector<Module> &modules();

// A translation unit's own, at its end.
bool add_module(const Module &module);

// A kernel as the launch calls it, which has one parameter, by value.
template <auto kernel>
struct Entry;
template <typename Parameters, void (*kernel)(Parameters)>
struct Entry<kernel> {
  static void call(const void *parameters) { kernel(*static_cast<const Parameters *>(parameters)); }
};

}  // namespace emulator
