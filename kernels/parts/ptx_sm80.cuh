// SPDX-License-Identifier: Apache-2.0
//
// Single instructions behind plain functions, as every GPU since Ampere has them: who a thread is, arithmetic and types of 16 bits, loads
// past the L1 cache, and thread-local memory by address. mma_sm80.cuh has those of tensor cores and shared memory.
#pragma once

#include "contract/problem_key.h"

namespace flashcore::kernels {

// The thread's number, read anew at each call. What is derived from it outside of a kernel's steady loop is then computed
// where it is needed and does not occupy registers through the loop, which has none to spare.
__device__ __forceinline__ int32_t thread_anew() {
  int32_t thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  __builtin_assume(thread >= 0 &&
                   thread < 1024);  // as the compiler knows of threadIdx; or every % 8 becomes five instructions
  return thread;
}

// The block's number, likewise; and along y.
__device__ __forceinline__ uint32_t block_anew() {
  uint32_t block;
  asm volatile("mov.u32 %0, %%ctaid.x;" : "=r"(block));
  return block;
}
__device__ __forceinline__ int32_t block_y_anew() {
  int32_t block;
  asm volatile("mov.u32 %0, %%ctaid.y;" : "=r"(block));
  return block;
}

// The same value, of which the compiler knows nothing: what is derived from it is computed here, and not ahead of a loop around, from
// where it would occupy registers or be spilled.
__device__ __forceinline__ int32_t computed_here(int32_t value) {
  asm volatile("mov.b32 %0, %0;" : "+r"(value));
  return value;
}
__device__ __forceinline__ int64_t computed_here(int64_t value) {
  asm volatile("mov.b64 %0, %0;" : "+l"(value));
  return value;
}

// 2^x. One MUFU instruction: the .ftz form needs no guard around it (plain exp2f costs three more per element).
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// 1 / x to one unit in the last place, without the subroutine for subnormal numbers that a division calls.
__device__ __forceinline__ float reciprocal_approx(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float log2_approx(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Two floats rounded to nearest even into one register, `low` in the low half.
template <int32_t dtype>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
  uint32_t packed;
  if constexpr (dtype == dtype_float16)
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  else
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
}

template <int32_t dtype>
__device__ __forceinline__ float to_float(uint16_t bits) {
  if constexpr (dtype == dtype_float16) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
  } else {
    return __uint_as_float(static_cast<uint32_t>(bits) << 16);
  }
}

// Sixteen bytes that no one else of the multiprocessor reads, and nobody writes during the launch. Returned, they would cost a copy
// where a branch decides whether they are read.
__device__ __forceinline__ void load_global_16(uint4 &value, const uint16_t *source) {
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(source));
}

// Four bytes of global memory that nobody writes during the launch, by a pointer from which the compiler does not see where it leads.
__device__ __forceinline__ int32_t load_global_4(const int32_t *source) {
  int32_t value;
  asm volatile("ld.global.nc.b32 %0, [%1];" : "=r"(value) : "l"(source));
  return value;
}
// What nobody writes during the launch, at a multiple of its bytes.
__device__ __forceinline__ uint32_t load_global_1(const uint8_t *source) {
  uint32_t value;
  asm("ld.global.nc.u8 %0, [%1];" : "=r"(value) : "l"(source));
  return value;
}
__device__ __forceinline__ uint32_t load_global_2(const uint16_t *source) {
  uint32_t value;
  asm("ld.global.nc.u16 %0, [%1];" : "=r"(value) : "l"(source));
  return value;
}
__device__ __forceinline__ uint32_t load_global_4(const uint32_t *source) {
  uint32_t value;
  asm("ld.global.nc.u32 %0, [%1];" : "=r"(value) : "l"(source));
  return value;
}
__device__ __forceinline__ uint2 load_global_8(const uint32_t *source) {
  uint2 value;
  asm("ld.global.nc.v2.u32 {%0, %1}, [%2];" : "=r"(value.x), "=r"(value.y) : "l"(source));
  return value;
}

// Thread-local memory at an address in its own window, which the compiler does not look through.
__device__ __forceinline__ void store_local_4(int64_t address, float value) {
  asm volatile("st.local.f32 [%0], %1;" ::"l"(address), "f"(value) : "memory");
}
__device__ __forceinline__ float load_local_4(int64_t address) {
  float value;
  asm volatile("ld.local.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
  return value;
}

}  // namespace flashcore::kernels
