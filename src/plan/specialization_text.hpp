// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words: the generated header that NVRTC includes as "specialization.h", and the module's name.
#pragma once

#include <string>
#include <string_view>

#include "contract/passport.h"

namespace flashcore {

std::string specialization_header(const kernels::Specialization &specialization);

// "sm80_fwd_mma-fp16-d64-causal-128x64-w4"; unique within a kernel.
std::string module_name(std::string_view kernel, const kernels::Specialization &specialization);

}  // namespace flashcore
