// SPDX-License-Identifier: Apache-2.0
//
// The JSON text inside a module entry: what is written, what is accepted. It knows no frames and no cubin.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "cache/module_entry.hpp"

namespace flashcore {

inline constexpr int64_t record_limit_bytes = 1 << 20;
inline constexpr int64_t module_file_limit_bytes = 64 << 20;
inline constexpr int64_t cubin_limit_bytes = 64 << 20;
inline constexpr size_t ptxas_log_limit_bytes = 64 << 10;  // a longer log is cut when it is written

// Empty, or which field breaks its rule, with its value and what is allowed.
std::string module_record_fault(const ModuleRecord &record);

// One line, keys sorted, no spaces: equal records give equal bytes.
std::string write_module_record(const ModuleRecord &record);

// Every field must be there and keep its rule; unknown fields are ignored. MODULE_CORRUPT names the field.
Result<ModuleRecord> parse_module_record(std::string_view json);

// The first resource in which the two differ, or nullptr.
const char *different_resource(const KernelResources &a, const KernelResources &b);

}  // namespace flashcore
