// SPDX-License-Identifier: Apache-2.0
//
// The kernel table: one row per line of kernels/meson.build, generated at build time (generate_kernel_table.py). A row
// holds the passport, read from the kernel's own file, and the texts that NVRTC needs to compile it anywhere.
#pragma once

#include <span>
#include <string_view>

#include "contract/passport.h"

namespace flashcore {

struct KernelRow {
  const kernels::Passport *passport;
  std::string_view source;  // kernels/<family>/<name>.cu, zero-terminated
  // SHA-256 (hex) over this file and those of kernels/ that it includes: of what the compiler sees of them (kernel_text.py), and
  // of their texts as they stand.
  std::string_view tokens_sha256, text_sha256;
};

struct EmbeddedHeader {
  std::string_view name;  // as the include directive spells it: "contract/passport.h", "cuda/std/cstdint"
  std::string_view text;  // zero-terminated
};

std::span<const KernelRow> kernel_table();
inline const kernels::Passport &passport_at(int32_t index) {
  return *kernel_table()[static_cast<size_t>(index)].passport;
}
inline bool is_attention(const kernels::Passport &passport) {
  return passport.operation == kernels::operation_attention_fwd;
}
inline bool runs_on(const kernels::Passport &passport, int32_t arch) {
  return arch >= passport.minimum_arch && (passport.maximum_arch == 0 || arch <= passport.maximum_arch);
}
// Every header that a kernel may include, in a fixed order, and the SHA-256 of names and texts (hex).
std::span<const EmbeddedHeader> kernel_headers();
std::string_view kernel_headers_sha256();

// Index in kernel_table(), or -1.
int32_t find_kernel(std::string_view name);

}  // namespace flashcore
