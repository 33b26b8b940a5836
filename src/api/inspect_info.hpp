// SPDX-License-Identifier: Apache-2.0
//
// What the inner rooms know, as the structs of flashcore_inspect.h.
#pragma once

#include <cstdlib>
#include <memory>

#include "flashcore/flashcore_inspect.h"
#include "plan/select_kernel.hpp"
#include "runtime/module_loop.hpp"
#include "runtime/module_source.hpp"

namespace flashcore {

flashcore_kernel_info kernel_info(const kernels::Passport &passport);
flashcore_model_info model_info(const Selection &selection);
flashcore_module_info module_info(const KnownModule &module);
flashcore_loop_info loop_info(const ModuleLoop &loop);

// Bytes for a caller who gives them to flashcore_inspect_free.
struct Free {
  void operator()(char *memory) const { std::free(memory); }
};
using MallocCopy = std::unique_ptr<char, Free>;
// With `extra` zeros behind them. Throws std::bad_alloc.
MallocCopy malloc_copy(const void *bytes, size_t size, size_t extra);

}  // namespace flashcore
