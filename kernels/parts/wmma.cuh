// SPDX-License-Identifier: Apache-2.0
//
// Warp matrix multiply-accumulate, 16x16x16 with 16-bit operands and float32 accumulators (PTX ISA, "wmma"). The layout of
// a fragment over the lanes is the hardware's secret: whatever depends on a row or column goes through shared memory.
// Pitches count elements.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

// A float16 operand takes eight registers (each element is held twice), a bfloat16 one four.
template <int32_t dtype>
struct WmmaOperand {
  uint32_t r[dtype == dtype_float16 ? 8 : 4];
};
struct WmmaAccumulator {
  float r[8];
};

// One load instruction for both types: `matrix` and `order` are PTX words.
#define FLASHCORE_WMMA_LOAD(operand, matrix, order, tile, pitch)                                                       \
  if constexpr (dtype == dtype_float16)                                                                                \
    asm volatile("wmma.load." matrix ".sync.aligned." order                                                            \
                 ".m16n16k16.shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"                                   \
                 : "=r"(operand.r[0]), "=r"(operand.r[1]), "=r"(operand.r[2]), "=r"(operand.r[3]), "=r"(operand.r[4]), \
                   "=r"(operand.r[5]), "=r"(operand.r[6]), "=r"(operand.r[7])                                          \
                 : "r"(tile), "r"(pitch)                                                                               \
                 : "memory");                                                                                          \
  else                                                                                                                 \
    asm volatile("wmma.load." matrix ".sync.aligned." order ".m16n16k16.shared.bf16 {%0, %1, %2, %3}, [%4], %5;"       \
                 : "=r"(operand.r[0]), "=r"(operand.r[1]), "=r"(operand.r[2]), "=r"(operand.r[3])                      \
                 : "r"(tile), "r"(pitch)                                                                               \
                 : "memory")

// A: 16 rows of 16 elements.
template <int32_t dtype>
__device__ __forceinline__ void wmma_load_a(WmmaOperand<dtype> &a, SharedAddress tile, int32_t pitch) {
  FLASHCORE_WMMA_LOAD(a, "a", "row", tile, pitch);
}
// B as stored: element (k, n) at k * pitch + n.
template <int32_t dtype>
__device__ __forceinline__ void wmma_load_b(WmmaOperand<dtype> &b, SharedAddress tile, int32_t pitch) {
  FLASHCORE_WMMA_LOAD(b, "b", "row", tile, pitch);
}
// B transposed: element (k, n) at n * pitch + k.
template <int32_t dtype>
__device__ __forceinline__ void wmma_load_b_transposed(WmmaOperand<dtype> &b, SharedAddress tile, int32_t pitch) {
  FLASHCORE_WMMA_LOAD(b, "b", "col", tile, pitch);
}
#undef FLASHCORE_WMMA_LOAD

__device__ __forceinline__ void wmma_load_c(WmmaAccumulator &c, SharedAddress tile, int32_t pitch) {
  asm volatile("wmma.load.c.sync.aligned.row.m16n16k16.shared.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"
               : "=f"(c.r[0]), "=f"(c.r[1]), "=f"(c.r[2]), "=f"(c.r[3]), "=f"(c.r[4]), "=f"(c.r[5]), "=f"(c.r[6]),
                 "=f"(c.r[7])
               : "r"(tile), "r"(pitch)
               : "memory");
}

__device__ __forceinline__ void wmma_store_c(SharedAddress tile, const WmmaAccumulator &c, int32_t pitch) {
  asm volatile(
      "wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%8], {%0, %1, %2, %3, %4, %5, %6, %7}, %9;" ::"f"(c.r[0]),
      "f"(c.r[1]), "f"(c.r[2]), "f"(c.r[3]), "f"(c.r[4]), "f"(c.r[5]), "f"(c.r[6]), "f"(c.r[7]), "r"(tile), "r"(pitch)
      : "memory");
}

#define FLASHCORE_WMMA_ACCUMULATOR(c) \
  "+f"(c.r[0]), "+f"(c.r[1]), "+f"(c.r[2]), "+f"(c.r[3]), "+f"(c.r[4]), "+f"(c.r[5]), "+f"(c.r[6]), "+f"(c.r[7])
#define FLASHCORE_WMMA_MULTIPLY(order)                                                                             \
  if constexpr (dtype == dtype_float16)                                                                            \
    asm("wmma.mma.sync.aligned." order                                                                             \
        ".m16n16k16.f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "                                                    \
        "{%8, %9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19, %20, %21, %22, %23}, "                       \
        "{%0, %1, %2, %3, %4, %5, %6, %7};"                                                                        \
        : FLASHCORE_WMMA_ACCUMULATOR(c)                                                                            \
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(a.r[4]), "r"(a.r[5]), "r"(a.r[6]), "r"(a.r[7]),  \
          "r"(b.r[0]), "r"(b.r[1]), "r"(b.r[2]), "r"(b.r[3]), "r"(b.r[4]), "r"(b.r[5]), "r"(b.r[6]), "r"(b.r[7])); \
  else                                                                                                             \
    asm("wmma.mma.sync.aligned." order                                                                             \
        ".m16n16k16.f32.bf16.bf16.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, "                                          \
        "{%8, %9, %10, %11}, {%12, %13, %14, %15}, {%0, %1, %2, %3, %4, %5, %6, %7};"                              \
        : FLASHCORE_WMMA_ACCUMULATOR(c)                                                                            \
        : "r"(a.r[0]), "r"(a.r[1]), "r"(a.r[2]), "r"(a.r[3]), "r"(b.r[0]), "r"(b.r[1]), "r"(b.r[2]), "r"(b.r[3]))

// c += a . b. The variant with B transposed in memory is a different instruction.
template <bool b_transposed, int32_t dtype>
__device__ __forceinline__ void wmma_multiply(WmmaAccumulator &c, const WmmaOperand<dtype> &a,
                                              const WmmaOperand<dtype> &b) {
  if constexpr (b_transposed) {
    FLASHCORE_WMMA_MULTIPLY("row.col");
  } else {
    FLASHCORE_WMMA_MULTIPLY("row.row");
  }
}
#undef FLASHCORE_WMMA_ACCUMULATOR
#undef FLASHCORE_WMMA_MULTIPLY

}  // namespace flashcore::kernels
