// SPDX-License-Identifier: Apache-2.0
#include "jit/kernel_compiler.hpp"

#include <chrono>

#include "base/cut_text.hpp"
#include "contract/arch.h"
#include "jit/compile_options.hpp"

namespace flashcore {
namespace {

std::string version_text(int32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Status check_arch(const NvrtcLibrary &nvrtc, std::string_view arch) {
  FLASHCORE_TRY_ASSIGN(const std::vector<int32_t> supported, nvrtc.supported_archs());
  const int32_t asked = kernels::arch_number(std::string(arch).c_str());
  std::string known;
  for (const int32_t number : supported) {
    if (number == asked) return success();
    known += (known.empty() ? "" : ", ") + std::to_string(number);
  }
  return Error{FLASHCORE_COMPILE_FAILED, "NVRTC " + version_text(nvrtc.version()) + " (" + nvrtc.path() +
                                             ") cannot compile for " + std::string(arch) + "; it knows " + known +
                                             ". Install a newer or older NVRTC."};
}

// What it warns of comes before, and may be long.
std::string_view from_first_error(std::string_view log) {
  const size_t error = log.find(": error");
  return error == std::string_view::npos ? log : log.substr(log.rfind('\n', error) + 1);
}

}  // namespace

Result<CompiledKernel> compile_kernel(const NvrtcLibrary &nvrtc, const CompileRequest &request) {
  FLASHCORE_TRY(check_arch(nvrtc, request.arch));
  CompiledKernel compiled;
  compiled.options = compile_options_for(request.arch, nvrtc.version());
  const auto start = std::chrono::steady_clock::now();
  FLASHCORE_TRY_ASSIGN(NvrtcOutput output,
                       nvrtc.compile(request.program_name, request.source, request.headers, compiled.options));
  compiled.compile_us =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start).count();
  if (!output.compiled) {
    constexpr size_t log_limit = 700;  // what fits into flashcore_error.message beside the sentence
    return Error{FLASHCORE_COMPILE_FAILED,
                 "NVRTC " + version_text(nvrtc.version()) + " could not compile " + std::string(request.program_name) +
                     " for " + std::string(request.arch) + ": " +
                     std::string(cut_text(from_first_error(output.log), log_limit)),
                 "", output.nvrtc_result};
  }
  compiled.cubin = std::move(output.cubin);
  compiled.log = std::move(output.log);
  return compiled;
}

}  // namespace flashcore
