// SPDX-License-Identifier: Apache-2.0
//
// Which line of a kernel an address belongs to, from the debug information of this program (addr2line). Looked up for faults alone.
#pragma once

#include <string>

namespace emulator {

// Where a call returns to `address`: the first line outside of the emulator, and those it is inlined into, "/.../tile_io.cuh:40 < rounds.cuh:12".
// Where no line is known it says so.
std::string source_line(const void *address);
// The same of the function that runs.
std::string current_line();

}  // namespace emulator
