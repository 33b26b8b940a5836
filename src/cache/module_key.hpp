// SPDX-License-Identifier: Apache-2.0
//
// The two-part name of a module. The logical key says what was asked for, the compiler id who made it. Why two: shipped
// modules were made by another compiler and must still be found, and a warm process must not load NVRTC to form a name.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashcore {

struct ModuleKeyInput {
  std::string_view program_name;
  std::string_view kernel_sha256;   // digest of the kernel's file and those of kernels/ that it includes, hex
  std::string_view specialization;  // text of specialization.h
  std::string_view arch;            // "sm_89"
  std::span<const std::string> options;
  std::string_view nvrtc_append_flags;
  std::string_view variant = {};  // digest of a user's text; empty: there is none
};

// 64 hex digits.
std::string logical_module_key(const ModuleKeyInput &input);

// "<key>.<first 16 digits of compiler_id>.fcm"
std::string module_file_name(std::string_view key, std::string_view compiler_id);

struct ModuleFileName {
  std::string_view key, compiler16;  // into the name that was parsed
};
// nullopt: no name that module_file_name makes.
std::optional<ModuleFileName> parse_module_file_name(std::string_view name);

bool is_lower_hex(std::string_view text, size_t digits);  // exactly so many digits 0-9 a-f
bool is_module_arch(std::string_view arch);  // of the form sm_89, sm_90a, sm_100f; also of architectures to come

}  // namespace flashcore
