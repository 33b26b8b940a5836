// SPDX-License-Identifier: Apache-2.0
//
// Settings: a context's options and the environment, resolved once into folders, paths and modes.
#pragma once

#include <string>

#include "base/options.hpp"
#include "cache/module_store.hpp"
#include "flashcore/flashcore.h"

namespace flashcore {

struct Settings {
  Environment environment;
  ModuleStoreOptions store;
  std::string nvrtc_library;      // empty: the usual places
  std::string toolkit_directory;  // CUDA_HOME, may be empty
  bool jit_allowed = true;
  std::string jit_refusal;         // why it is not
  bool addresses_checked = false;  // in every call, not only when a shape is new
  bool tuned_rows_used = true;     // false: the cost model alone chooses
  std::string user_cache_note;     // why there is no user cache, empty otherwise
};

// `options` may be null: defaults. INVALID_ARGUMENT names the option or the environment variable at fault.
Result<Settings> resolve_settings(const flashcore_context_options *options);

// Check struct_size and the unknown tail, and return a copy of this version's size. Null gives the defaults.
Result<flashcore_context_options> read_context_options(const flashcore_context_options *options);

}  // namespace flashcore
