// SPDX-License-Identifier: Apache-2.0
//
// What a module is made from, and the making: joins the kernel table, the compiler and the entry format.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "cache/module_store.hpp"
#include "contract/passport.h"
#include "driver/nvrtc_library.hpp"

namespace flashcore {

// Everything about a module that is known before it exists.
struct ModuleRequest {
  int32_t kernel_index = -1;
  kernels::Specialization specialization{};
  std::string arch;    // "sm_89"
  std::string module;  // name for people
  std::string key;     // logical key
};

ModuleRequest make_module_request(int32_t kernel_index, const kernels::Specialization &specialization,
                                  std::string_view arch, std::string_view nvrtc_append_flags);

// "no module folder and no cache holds <module> for <arch>", and what was there all the same and could not be used.
std::string no_module_text(const ModuleRequest &request, const Refusals &refusals);
// COMPILER_UNAVAILABLE: nothing on disk could be used, and nothing may be compiled, for the reason `jit_refusal`. The driver's code
// is that of an entry which it refused, or 0.
Error no_module_and_no_jit(const ModuleRequest &request, const Refusals &refusals, const std::string &jit_refusal,
                           int32_t driver_code);

struct BuiltModule {
  ModuleRecord record;
  Bytes cubin;
  Bytes encoded;  // the .fcm file
};

Result<BuiltModule> build_module(const ModuleRequest &request, const NvrtcLibrary &nvrtc);

// The architectures whose modules a device of this compute capability runs, best first: what is compiled for it on first need, other
// names of the same number (sm_103a, sm_103f), then lower minors of the same major and their families, whose cubins run there too
// (CUDA's binary compatibility rule; Tegra parts stand alone).
std::vector<std::string> module_archs(int32_t arch);

}  // namespace flashcore
