// SPDX-License-Identifier: Apache-2.0
#include "arch.hpp"

#include <fmt/format.h>

#include "contract/arch.h"

namespace flashcore::tools {

Words arch_words() {
  Words names;
  for (const kernels::ArchName &name : kernels::arch_names) names.emplace_back(name.text);
  return names;
}

Step check_arch(const std::string &opening, const std::string &arch) {
  if (arch.empty() || kernels::is_arch_name(arch.c_str())) return Done{};
  // "90", "compute_90" and "SM_90" are how others call sm_90.
  const size_t digits = arch.find_first_of("0123456789");
  const std::string usual = digits == std::string::npos ? arch : "sm_" + arch.substr(digits);
  return usage_failure(fmt::format("{} is \"{}\", but must be one of: {}{}", opening, arch, listed(arch_words()),
                                   did_you_mean(usual, arch_words())));
}

int32_t arch_number(const std::string &arch) { return kernels::arch_number(arch.c_str()); }

std::string module_arch(int32_t number) {
  const char suffix = kernels::usual_suffix(number);
  return fmt::format("sm_{}{}", number, std::string(suffix == 0 ? 0 : 1, suffix));
}

int32_t resident_threads(int32_t number) { return kernels::arch_like(number).resident_threads; }

int64_t shared_limit_bytes(const std::string &arch) {
  const kernels::Arch *known = kernels::find_arch(arch_number(arch));
  return known == nullptr ? 0 : known->shared_bytes_per_block;
}

}  // namespace flashcore::tools
