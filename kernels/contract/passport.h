// SPDX-License-Identifier: Apache-2.0
//
// The passport of a kernel: plain constexpr C++ in the first half of kernels/<name>.cu that says what the kernel can do,
// in which specializations, with which shared memory and grid, and what a call costs. The host compiler reads it into the
// kernel table; NVRTC reads the same lines, so that host and device cannot disagree about a tile.
//
// Glossary
//   kernel          one file, one algorithm, one entry point of the file's name
//   specialization  one set of compile-time choices of a kernel: types, head dimensions, tile
//   module          a specialization compiled for one architecture: one cubin, one .fcm file
//   arch            compute capability as a number: 89 for 8.9
#pragma once

#include "contract/kernel_params.h"
#include "contract/problem_key.h"

namespace flashcore::kernels {

// Compile-time choices, handed to NVRTC as the generated header "specialization.h" (flashcore::kernels::chosen).
// One struct for all kernels: a field that means nothing to a kernel is 0.
struct Specialization {
  int32_t dtype;           // Dtype
  int32_t head_dim;        // columns of Q and K that the tile holds
  int32_t head_dim_v;      // columns of V and O that the tile holds
  int32_t causal;          // 1: the mask "key <= query + causal_offset" is applied
  int32_t alignment_bytes; // 16: rows are moved by 16 bytes; 2: rows of any alignment, moved element by element
  int32_t tile_q;          // query rows per thread block
  int32_t tile_kv;         // keys per step
  int32_t warps;
  int32_t stages;          // K/V tiles in flight
  int32_t q_in_registers;  // 1: Q fragments stay in registers, 0: they are read again from shared memory each step
};

struct Grid {
  int64_t x, y, z;
};

// What the cost model and the checks know about a device.
struct DeviceLimits {
  int32_t arch;
  int32_t multiprocessors;
  int32_t shared_bytes_per_block;           // after the opt-in
  int32_t shared_bytes_per_multiprocessor;
};

// Why a kernel cannot serve a problem: the field, in the words of flashcore.h, and what it takes. field == nullptr: it can.
struct Refusal {
  const char *field;
  const char *reason;
};
inline constexpr Refusal no_refusal = {nullptr, nullptr};

#ifndef __CUDACC_RTC__
struct Passport {
  const char *name;     // file name = entry point = bench name = cache name
  const char *summary;  // one line
  int32_t minimum_arch;
  int32_t maximum_arch;  // inclusive; 0: open
  bool by_name_only;     // kept to learn from: never the library's own choice, however well it would do
  // The index-th specialization; false past the end. All of them are shipped.
  bool (*specialization)(int32_t index, Specialization *out);
  Refusal (*refuse)(const ProblemKey &);
  // May this specialization serve a problem that the kernel does not refuse?
  bool (*serves)(const Specialization &, const ProblemKey &);
  int64_t (*dynamic_shared_bytes)(const Specialization &);
  Grid (*grid)(const Specialization &, const ProblemKey &);
  double (*cost_us)(const Specialization &, const ProblemKey &, const DeviceLimits &);
};
#endif

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace flashcore::kernels
