// SPDX-License-Identifier: Apache-2.0
//
// One module entry (.fcm): the cubin and the record of what it is. Byte layout: ptx_cache/FORMAT.md.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/file.hpp"
#include "cubin/cubin_reader.hpp"

namespace flashcore {

// What the JSON record says. Everything is written; `key`, `arch`, `compiler_id`, the cubin's digest and size are
// checked on read.
struct ModuleRecord {
  std::string module;                         // "sm80_fwd_mma-fp16-d64-causal-128x64-w4"
  std::string kernel;                         // "sm80_fwd_mma": entry point
  std::string arch;                           // "sm_89", "sm_90a"
  std::string key;                            // logical key, 64 hex digits
  std::string compiler_id;                    // 32 hex digits
  std::string compiler;                       // "NVRTC 13.0, ptxas V13.0.88"
  std::string specialization;                 // text of specialization.h
  std::vector<std::string> options;           // verbatim, in order
  std::string source_sha256, headers_sha256;  // hex
  int64_t dynamic_shared_bytes = 0;
  std::string ptxas_log;
  int64_t compile_us = 0;
  std::string library_version;  // "1.0.0"
  // Filled by encode from the cubin, checked by decode.
  std::string cubin_sha256;
  int64_t cubin_bytes = 0;
  KernelResources resources;
};

struct ModuleEntry {
  ModuleRecord record;
  Bytes cubin;
  CubinInfo cubin_info;
  int64_t compressed_bytes = 0;
  std::string record_json;
};

// The file's bytes. INTERNAL when the cubin does not hold record.kernel for record.arch.
Result<Bytes> encode_module_entry(ModuleRecord record, std::span<const uint8_t> cubin);

// Check everything (frames, trailing hash, record, size, cubin digest, ELF gate: arch, "a" flag, kernel symbol) and
// return the content. MODULE_CORRUPT names the check that failed. Any input is safe.
Result<ModuleEntry> decode_module_entry(std::span<const uint8_t> file);

}  // namespace flashcore
