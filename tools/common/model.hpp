// SPDX-License-Identifier: Apache-2.0
//
// The library's cost model as the tools ask it: for a shape, on this device or on one that stands for an architecture.
#pragma once

#include <flashcore/flashcore_inspect.h>

#include <string>

#include "measuring.hpp"

namespace flashcore::tools {

// The GPU that stands for an architecture where there is none. "sm_89": an NVIDIA L4.
Outcome<flashcore_device_info> representative_device(const std::string &arch);

// `kernel`: a kernel, a module, or empty for the model's choice.
Outcome<flashcore_model_info> model_of(const Shape &shape, const std::string &kernel,
                                       const flashcore_device_info &device);

// "tensor": the unit, or the latency, that bounds the call by the model.
const char *bound_word(const flashcore_model_info &model);

// Was the model fitted on this architecture, or does it predict?
bool model_is_fitted(int32_t arch);

}  // namespace flashcore::tools
