// SPDX-License-Identifier: Apache-2.0
//
// The resolved NVRTC functions, one member per line of nvrtc_functions.inc. For the .cpp files of this room only: this
// is where nvrtc.h comes in, and it goes no further.
#pragma once

#include <nvrtc.h>

#include "driver/nvrtc_library.hpp"

namespace flashcore {

struct NvrtcFunctionTable {
#define X(member, name) decltype(&::name) member = nullptr;
#include "driver/nvrtc_functions.inc"
#undef X
};

struct NvrtcLibrary::Functions : NvrtcFunctionTable {};

// "nvrtcCreateProgram failed with NVRTC_ERROR_INVALID_INPUT (3)."
Error nvrtc_error(const NvrtcFunctionTable &functions, nvrtcResult result, const char *call);

}  // namespace flashcore
