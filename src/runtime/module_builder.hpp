// SPDX-License-Identifier: Apache-2.0
//
// What a module is made from, and the making: joins the kernel table, the compiler and the entry format.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "cache/module_entry.hpp"
#include "contract/passport.h"
#include "driver/nvrtc_library.hpp"
#include "problem/variants.hpp"

namespace flashcore {

// Everything about a module that is known before it exists.
struct ModuleRequest {
  int32_t kernel_index = -1;
  kernels::Specialization specialization{};
  std::string arch;    // "sm_89"
  std::string module;  // name for people
  std::string key;     // logical key
  uint64_t variant_digest = 0;
  std::shared_ptr<const Variant> variant = {};  // of that digest; null: there is none, or nobody here knows its text
};

ModuleRequest make_module_request(int32_t kernel_index, const kernels::Specialization &specialization,
                                  std::string_view arch, std::string_view nvrtc_append_flags,
                                  uint64_t variant_digest = 0);

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
