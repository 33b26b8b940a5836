// SPDX-License-Identifier: Apache-2.0
//
// Reads a CUDA ELF image (cubin): which architecture it is for, and what each kernel uses. Pure bytes: no CUDA needed.
// Every offset is bounded, so that any input gives a value or an Error (MODULE_CORRUPT). The record layout is that of
// CUDA 13 (ELF ABI version 8) and CUDA 12 (ABI version 7); docs of the fields stand beside the code.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace flashcore {

struct KernelResources {
  std::string name;
  int32_t registers = 0;
  int32_t static_shared_bytes = 0;
  int32_t stack_bytes = 0;
  int32_t spill_store_bytes = 0;  // -1: there is a stack frame and the compiler (before CUDA 12.9) does not say
  int32_t spill_load_bytes = 0;
  int32_t parameter_bytes = 0;
  int32_t max_threads_per_block = 0;  // 0: no launch bounds
  int32_t required_threads = 0;       // 0: none
  int32_t barriers = 0;
  int32_t constant_bytes = 0;
  int64_t code_bytes = 0;
};

struct CubinInfo {
  int32_t arch = 0;                      // 89, 90, 120
  bool arch_specific = false;            // an "a" target (sm_90a): runs on exactly this compute capability
  int32_t toolkit = 0;                   // 130 for CUDA 13.0, 0 where the image does not say
  std::string tool_version;              // "V13.0.88", empty where the image does not say
  std::vector<KernelResources> kernels;  // by name
};

Result<CubinInfo> read_cubin(std::span<const uint8_t> image);

// The machine code of one kernel, within the image.
Result<std::span<const uint8_t>> kernel_code(std::span<const uint8_t> image, std::string_view kernel);

}  // namespace flashcore
