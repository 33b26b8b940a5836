// SPDX-License-Identifier: Apache-2.0
#include "cache/module_key.hpp"

#include "base/sha256.hpp"
#include "contract/arch.h"

namespace flashcore {
namespace {

// Part of the key, so that a change of this list (or of what an entry means) cannot meet an old entry.
constexpr std::string_view key_schema = "flashcore module 2";
constexpr std::string_view extension = ".fcm";
constexpr size_t key_digits = 64, compiler_digits = 16;

}  // namespace

// Not in the key: paths, times, the driver, the device's number, a kernel's comments. They do not change what the compiler makes.
std::string logical_module_key(const ModuleKeyInput &input) {
  Sha256 hash;
  hash.update_field("schema", key_schema);
  hash.update_field("program_name", input.program_name);
  hash.update_field("kernel_sha256", input.kernel_sha256);
  hash.update_field("specialization", input.specialization);
  hash.update_field("arch", input.arch);
  hash.update_field("options", std::to_string(input.options.size()));
  for (const std::string &option : input.options) hash.update_field("option", option);
  hash.update_field("nvrtc_append_flags", input.nvrtc_append_flags);
  if (!input.variant.empty()) hash.update_field("variant", input.variant);
  return to_hex(hash.finish());
}

std::string module_file_name(std::string_view key, std::string_view compiler_id) {
  std::string name(key);
  name.append(".").append(compiler_id.substr(0, compiler_digits)).append(extension);
  return name;
}

std::optional<ModuleFileName> parse_module_file_name(std::string_view name) {
  if (name.size() != key_digits + 1 + compiler_digits + extension.size() || !name.ends_with(extension))
    return std::nullopt;
  const ModuleFileName parts{name.substr(0, key_digits), name.substr(key_digits + 1, compiler_digits)};
  if (name[key_digits] != '.' || !is_lower_hex(parts.key, key_digits) ||
      !is_lower_hex(parts.compiler16, compiler_digits))
    return std::nullopt;
  return parts;
}

bool is_lower_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_module_arch(std::string_view arch) { return kernels::arch_number(std::string(arch).c_str()) != 0; }

}  // namespace flashcore
