// SPDX-License-Identifier: Apache-2.0
//
// The library's table of architectures (kernels/contract/arch.h) as the tools ask it.
#pragma once

#include <cstdint>
#include <string>

#include "outcome.hpp"
#include "words.hpp"

namespace flashcore::tools {

Words arch_words();  // "sm_80", "sm_86", ...
// A name of the table, or none at all. `opening` is that of the failure: "option --arch".
Step check_arch(const std::string &opening, const std::string &arch);
int32_t arch_number(const std::string &arch);  // 89 of "sm_89", 90 of "sm_90a"; 0: no name of an architecture
std::string module_arch(int32_t number);       // what the modules of such a device are compiled for: "sm_89", "sm_90a"
// Shared memory that a block may use on `arch` after the opt-in; 0: not in the table.
int64_t shared_limit_bytes(const std::string &arch);
int32_t resident_threads(int32_t number);  // of a multiprocessor; of the nearest one below that the table knows

}  // namespace flashcore::tools
