// SPDX-License-Identifier: Apache-2.0
//
// Text in, cubin out: one kernel, one specialization, one architecture. Knows no cache and no kernel table.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "driver/nvrtc_library.hpp"

namespace flashcore {

struct CompileRequest {
  std::string_view program_name;  // "sm80_fwd_mma.cu"
  std::string_view source;
  std::span<const NamedText> headers;
  std::string_view arch;  // "sm_89"
};

struct CompiledKernel {
  std::vector<uint8_t> cubin;
  std::string log;                   // what NVRTC and ptxas said
  std::vector<std::string> options;  // as passed
  int64_t compile_us = 0;
};

// COMPILE_FAILED: NVRTC's log is in the message (its first lines), or the architecture is newer than this NVRTC.
Result<CompiledKernel> compile_kernel(const NvrtcLibrary &nvrtc, const CompileRequest &request);

}  // namespace flashcore
