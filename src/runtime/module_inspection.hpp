// SPDX-License-Identifier: Apache-2.0
//
// Modules looked at without a device: one by name, whether it is there or must be compiled, and what its steady loop is made of.
#pragma once

#include "base/error.hpp"
#include "cache/module_store.hpp"
#include "cubin/steady_loop.hpp"
#include "runtime/module_builder.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

// From the store, else compiled and kept. The size and the time of its file are not looked up, and a module that was
// compiled and could not be kept has no path.
Result<ListedModule> obtain_module(const Settings &settings, const ModuleRequest &request);

struct ModuleLoop {
  SteadyLoop counts;
  int32_t score_tiles = 0;  // of 16x8 scores that a warp computes in one pass
};

// UNSUPPORTED: the kernel has no loop with mma.sync, or its name is of another version.
Result<ModuleLoop> steady_loop_of(const ModuleEntry &entry);

}  // namespace flashcore
