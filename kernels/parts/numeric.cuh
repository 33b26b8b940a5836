// SPDX-License-Identifier: Apache-2.0
//
// Numbers on the device: 16-bit types by tag, packing, the fast exponential, warp reductions. No CUDA header is used, so
// that a kernel compiles from this folder and libcu++ alone.
#pragma once

#include "contract/problem_key.h"

namespace flashcore::kernels {

inline constexpr float infinity = __builtin_bit_cast(float, 0x7f800000u);
inline constexpr float not_a_number = __builtin_bit_cast(float, 0x7fffffffu);

// 2^x. One MUFU instruction: the .ftz form needs no guard around it (plain exp2f costs three more per element).
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
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

// Exponent bits of both halves of a register: all set means infinity or NaN.
template <int32_t dtype>
inline constexpr uint32_t exponent_mask2 = dtype == dtype_float16 ? 0x7c007c00u : 0x7f807f80u;
// 1.0 in both halves.
template <int32_t dtype>
inline constexpr uint32_t one2 = dtype == dtype_float16 ? 0x3c003c00u : 0x3f803f80u;

// 0xffff in each half that holds an infinity or a NaN.
template <int32_t dtype>
__device__ __forceinline__ uint32_t nonfinite_halves(uint32_t packed) {
  return __vcmpeq2(packed & exponent_mask2<dtype>, exponent_mask2<dtype>);
}

// Over the four lanes that share a row of an mma accumulator.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

}  // namespace flashcore::kernels
