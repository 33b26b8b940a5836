// SPDX-License-Identifier: Apache-2.0
//
// What the steady loop of a module is made of, counted in its machine code and set against the tile that the module's name says.
#pragma once

#include "base/error.hpp"
#include "cache/module_entry.hpp"
#include "cubin/steady_loop.hpp"

namespace flashcore {

struct ModuleLoop {
  SteadyLoop counts;
  int32_t score_tiles = 0;  // of 16x8 scores that a warp computes in one pass
};

// UNSUPPORTED: the kernel has no loop with mma.sync or wgmma, or its name is of another version.
Result<ModuleLoop> steady_loop_of(const ModuleEntry &entry);

}  // namespace flashcore
