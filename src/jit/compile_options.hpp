// SPDX-License-Identifier: Apache-2.0
//
// How every kernel is compiled. The canonical list belongs to the module key; an NVRTC that is too old for an option gets
// the list without it, because a key may not depend on who compiles.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flashcore {

// In order, verbatim: hermetic (no source folder, no include path, no driver cache, no change of the process's stack limit)
// and bit-reproducible (a fixed seed for the names that NVRTC makes up).
std::vector<std::string> canonical_compile_options(std::string_view arch);

// The same without the options that NVRTC `nvrtc_version` (13000 for 13.0) does not know yet.
std::vector<std::string> compile_options_for(std::string_view arch, int32_t nvrtc_version);

}  // namespace flashcore
