// SPDX-License-Identifier: Apache-2.0
//
// What the steady loop of a tensor-core kernel is made of, counted in the machine code of compute capability 8.0 to 12.x. No
// disassembler is needed for that: an instruction is 16 bytes, and its low 9 bits say what it is, whatever its operands.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace flashcore {

// Instructions of one pass through the loop, by class.
struct SteadyLoop {
  int32_t hmma = 0;   // mma.sync
  int32_t hgmma = 0;  // wgmma, of compute capability 9.0: a product of a warpgroup, which each of its four warps issues
  int32_t ldsm = 0;   // ldmatrix
  int32_t mufu = 0;   // exp2 and its kind
  int32_t ffma = 0;   // fused multiply-adds
  int32_t fmnmx = 0;  // maxima
  int32_t other = 0;
  int32_t skipped =
      0;  // behind a forward branch, without matrix products or without ldmatrix where the loop has it: what few passes do; in no class
  int64_t first_byte = 0, bytes = 0;  // where the loop stands in the code

  int32_t products() const { return hmma + hgmma; }  // a kernel has one kind
};

// The innermost loop with the most matrix products (mma.sync or wgmma), loops without any not counting; of two with as many the one
// with fewer instructions that are not skipped, which is the one without masks. A loop is code that runs on from its head to its
// branch: what stands behind an exit and branches back to the middle of the code, as waits for a barrier do, is none.
// `arch`: 89, 90. nullopt: no loop has any.
std::optional<SteadyLoop> find_steady_loop(std::span<const uint8_t> code, int32_t arch);

}  // namespace flashcore
