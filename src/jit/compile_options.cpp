// SPDX-License-Identifier: Apache-2.0
#include "jit/compile_options.hpp"

namespace flashcore {
namespace {

struct Option {
  const char *text;
  int32_t since;  // first NVRTC version that knows it
};
constexpr Option options[] = {
    {"--std=c++20", 12000},
    {"--device-as-default-execution-space", 12000},
    {"--modify-stack-limit=false", 12000},
    {"--no-source-include", 12000},
    {"--no-cache", 12090},
    {"--frandom-seed=flashcore", 13000},
    {"--ptxas-options=-v", 12000},
    // ptxas says on stderr of the log where a register did not fit; the tests read it.
    {"--ptxas-options=--warn-on-spills", 12000},
};

}  // namespace

std::vector<std::string> compile_options_for(std::string_view arch, int32_t nvrtc_version) {
  std::vector<std::string> list{"--gpu-architecture=" + std::string(arch)};
  for (const Option &option : options)
    if (nvrtc_version >= option.since) list.emplace_back(option.text);
  return list;
}

std::vector<std::string> canonical_compile_options(std::string_view arch) {
  return compile_options_for(arch, INT32_MAX);
}

}  // namespace flashcore
