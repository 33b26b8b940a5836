// SPDX-License-Identifier: Apache-2.0
#include "base/options.hpp"

#include <sys/auxv.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace flashcore {
namespace {

struct Row {
  const char *variable;
  std::string Environment::*member;
};

// A later row fills a member only where an earlier one left it empty.
constexpr Row table[] = {
    {"FLASHCORE_CACHE_DIR", &Environment::cache_directory},
    {"FLASHCORE_CACHE", &Environment::cache_mode},
    {"FLASHCORE_MODULE_PATH", &Environment::module_path},
    {"FLASHCORE_JIT", &Environment::jit_mode},
    {"FLASHCORE_TUNED", &Environment::tuned_mode},
    {"FLASHCORE_CHECK_ADDRESSES", &Environment::address_checks},
    {"FLASHCORE_LIBCUDA", &Environment::libcuda},
    {"FLASHCORE_LIBNVRTC", &Environment::libnvrtc},
    {"FLASHCORE_CXX", &Environment::host_compiler},
    {"NVRTC_APPEND_FLAGS", &Environment::nvrtc_append_flags},
    {"CUDA_HOME", &Environment::cuda_home},
    {"CUDA_PATH", &Environment::cuda_home},
    {"XDG_CACHE_HOME", &Environment::xdg_cache_home},
    {"HOME", &Environment::home},
};

// secure_getenv hides from a privileged program what NVRTC sees all the same.
bool nvrtc_flags_are_set() {
  constexpr std::string_view name = "NVRTC_APPEND_FLAGS=";
  for (char **entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    if (const std::string_view text = *entry; text.starts_with(name) && text.size() > name.size()) return true;
  return false;
}

}  // namespace

Environment read_environment() {
  Environment environment;
  for (const Row &row : table) {
    const char *value = secure_getenv(row.variable);
    if (value != nullptr && (environment.*row.member).empty()) environment.*row.member = value;
  }
  environment.privileged = getauxval(AT_SECURE) != 0;
  environment.nvrtc_flags_forced = environment.privileged && nvrtc_flags_are_set();
  return environment;
}

}  // namespace flashcore
