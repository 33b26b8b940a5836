// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words: the generated header that NVRTC includes as "specialization.h", and the module's name, which
// can be read back.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "contract/passport.h"

namespace flashcore {

std::string specialization_header(const kernels::Specialization &specialization);

// "sm80_fwd_mma-fp16-d64-causal-128x64-w4"; unique within a kernel.
std::string module_name(std::string_view kernel, const kernels::Specialization &specialization);

struct ModuleName {
  std::string_view kernel;  // the first part of the text, known or not
  kernels::Specialization specialization{};
};

// The reverse of module_name, to the letter: module_name of the result is `name`. INVALID_ARGUMENT says which part is
// wrong and what may stand there. Allocates only to describe a failure.
Result<ModuleName> parse_module_name(std::string_view name);

// Can the kernel be compiled so: each field within its range, and nothing against it in the passport. INVALID_ARGUMENT
// names the field, its value and what is allowed. Allocates only to describe a failure.
Status check_specialization(const kernels::Passport &passport, const kernels::Specialization &specialization);

}  // namespace flashcore
