// SPDX-License-Identifier: Apache-2.0
//
// Warp matrix multiply-accumulate, 16x16x16 with float16 operands and float32 accumulators (PTX ISA, "wmma"). The layout
// of a fragment over the lanes is the hardware's secret: whatever depends on a row or column goes through shared memory.
// Pitches count elements.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

struct WmmaOperand {
  uint32_t r[8];
};
struct WmmaAccumulator {
  float r[8];
};

// A: 16 rows of 16 elements.
__device__ __forceinline__ void wmma_load_a(WmmaOperand &a, SharedAddress tile, int32_t pitch) {
  asm volatile("wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=r"(a.r[0]), "=r"(a.r[1]), "=r"(a.r[2]), "=r"(a.r[3]), "=r"(a.r[4]), "=r"(a.r[5]), "=r"(a.r[6]), "=r"(a.r[7])
               : "r"(tile), "r"(pitch)
               : "memory");
}

// B as stored: element (k, n) at k * pitch + n.
__device__ __forceinline__ void wmma_load_b(WmmaOperand &b, SharedAddress tile, int32_t pitch) {
  asm volatile("wmma.load.b.sync.aligned.row.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=r"(b.r[0]), "=r"(b.r[1]), "=r"(b.r[2]), "=r"(b.r[3]), "=r"(b.r[4]), "=r"(b.r[5]), "=r"(b.r[6]), "=r"(b.r[7])
               : "r"(tile), "r"(pitch)
               : "memory");
}

// B transposed: element (k, n) at n * pitch + k.
__device__ __forceinline__ void wmma_load_b_transposed(WmmaOperand &b, SharedAddress tile, int32_t pitch) {
  asm volatile("wmma.load.b.sync.aligned.col.m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=r"(b.r[0]), "=r"(b.r[1]), "=r"(b.r[2]), "=r"(b.r[3]), "=r"(b.r[4]), "=r"(b.r[5]), "=r"(b.r[6]), "=r"(b.r[7])
               : "r"(tile), "r"(pitch)
               : "memory");
}

__device__ __forceinline__ void wmma_load_c(WmmaAccumulator &c, SharedAddress tile, int32_t pitch) {
  asm volatile("wmma.load.c.sync.aligned.row.m16n16k16.shared.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=f"(c.r[0]), "=f"(c.r[1]), "=f"(c.r[2]), "=f"(c.r[3]), "=f"(c.r[4]), "=f"(c.r[5]), "=f"(c.r[6]), "=f"(c.r[7])
               : "r"(tile), "r"(pitch)
               : "memory");
}

__device__ __forceinline__ void wmma_store_c(SharedAddress tile, const WmmaAccumulator &c, int32_t pitch) {
  asm volatile("wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%8], {%0, %1, %2, %3, %4, %5, %6, %7}, %9;" ::"f"(c.r[0]),
               "f"(c.r[1]), "f"(c.r[2]), "f"(c.r[3]), "f"(c.r[4]), "f"(c.r[5]), "f"(c.r[6]), "f"(c.r[7]), "r"(tile), "r"(pitch)
               : "memory");
}

// c += a . b. The variant with B transposed in memory is a different instruction.
template <bool b_transposed>
__device__ __forceinline__ void wmma_multiply(WmmaAccumulator &c, const WmmaOperand &a, const WmmaOperand &b) {
  if constexpr (b_transposed)
    asm("wmma.mma.sync.aligned.row.col.m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11, %12, %13, %14, %15}, "
        "{%16, %17, %18, %19, %20, %21, %22, %23}, {%0, %1, %2, %3, %4, %5, %6, %7};"
        : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3]), "+f"(c.r[4]), "+f"(c.r[5]), "+f"(c.r[6]), "+f"(c.r[7])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(a.r[4]), "r"(a.r[5]), "r"(a.r[6]), "r"(a.r[7]), "r"(b.r[0]),
          "r"(b.r[1]), "r"(b.r[2]), "r"(b.r[3]), "r"(b.r[4]), "r"(b.r[5]), "r"(b.r[6]), "r"(b.r[7]));
  else
    asm("wmma.mma.sync.aligned.row.row.m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11, %12, %13, %14, %15}, "
        "{%16, %17, %18, %19, %20, %21, %22, %23}, {%0, %1, %2, %3, %4, %5, %6, %7};"
        : "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3]), "+f"(c.r[4]), "+f"(c.r[5]), "+f"(c.r[6]), "+f"(c.r[7])
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(a.r[4]), "r"(a.r[5]), "r"(a.r[6]), "r"(a.r[7]), "r"(b.r[0]),
          "r"(b.r[1]), "r"(b.r[2]), "r"(b.r[3]), "r"(b.r[4]), "r"(b.r[5]), "r"(b.r[6]), "r"(b.r[7]));
}

}  // namespace flashcore::kernels
