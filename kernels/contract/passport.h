// SPDX-License-Identifier: Apache-2.0
//
// The passport of a kernel: plain constexpr C++ in the first half of kernels/<family>/<name>.cu that says what the kernel can do,
// in which specializations, with which shared memory and grid, and what a call costs. The host compiler reads it into the
// kernel table; NVRTC reads the same lines, so that host and device cannot disagree about a tile.
//
// Glossary
//   kernel          one file, one algorithm, one entry point of the file's name
//   specialization  one set of compile-time choices of a kernel: types, head dimensions, tile
//   module          a specialization compiled for one architecture: one cubin, one .fcm file
//   arch            compute capability as a number: 89 for 8.9
#pragma once

#include "contract/problem_key.h"
#include "contract/specialization.h"

namespace flashcore::kernels {

struct Grid {
  int64_t x, y, z;
};

// What the cost model and the checks know about a device.
struct DeviceLimits {
  int32_t arch;
  int32_t multiprocessors;
  int32_t shared_bytes_per_block;  // after the opt-in
  int32_t shared_bytes_per_multiprocessor;
};

// What a call costs by the model, in microseconds, and the bounds that it follows from (cost.h): the busiest multiprocessor's
// time if only that unit were slow. A kernel leaves the units at 0 that it has no figures for.
struct Cost {
  double launch_us;
  double tensor_us, mufu_us, issue_us, shared_us, l2_us;
  double throughput_us;              // all units together, with what they cost each other
  double latency_us;                 // the steps one after the other
  double total_us;                   // launch and the larger of the two
  double waves;                      // of thread blocks
  double blocks_per_multiprocessor;  // resident at once
};

// Why a kernel cannot serve a problem (the field in the words of flashcore.h) or cannot be compiled in a specialization (the
// field in the words of Specialization), and what that field may be. field == nullptr: it can.
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
  // The index-th specialization; false past the end. All of them are shipped, and `allows` has nothing against them.
  bool (*specialization)(int32_t index, Specialization *out);
  // Can the kernel be compiled so? What is allowed and not shipped is compiled on first need, for a caller or a tuned row
  // that names the module, and is what fc-tune searches. Fields are within their own ranges already.
  Refusal (*allows)(const Specialization &);
  Refusal (*refuse)(const ProblemKey &);
  // May this specialization serve a problem that the kernel does not refuse?
  bool (*serves)(const Specialization &, const ProblemKey &);
  int64_t (*dynamic_shared_bytes)(const Specialization &);
  Grid (*grid)(const Specialization &, const ProblemKey &);
  Cost (*cost)(const Specialization &, const ProblemKey &, const DeviceLimits &);
};
#endif

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace flashcore::kernels
