// SPDX-License-Identifier: Apache-2.0
//
// What the translation unit of a module says at its end (write_module.cpp); the fields are those of module.hpp.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace emulator {

struct EntryPoint {
  void (*kernel)(const void *parameters);
  int32_t most_threads;  // of __launch_bounds__
};

bool add_module(const char *name, const char *broken, std::initializer_list<EntryPoint> entry_points);

// A kernel as the launch calls it, which has one parameter, by value.
template <auto kernel>
struct Entry;
template <typename Parameters, void (*kernel)(Parameters)>
struct Entry<kernel> {
  static void call(const void *parameters) { kernel(*static_cast<const Parameters *>(parameters)); }
};

}  // namespace emulator
