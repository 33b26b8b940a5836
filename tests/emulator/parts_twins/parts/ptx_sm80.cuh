// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/ptx_sm80.cuh.
#pragma once

#include "contract/problem_key.h"

namespace flashcore::kernels {

__device__ __forceinline__ int32_t thread_anew() { return static_cast<int32_t>(threadIdx.x); }
__device__ __forceinline__ uint32_t block_anew() { return blockIdx.x; }
__device__ __forceinline__ int32_t block_y_anew() { return static_cast<int32_t>(blockIdx.y); }
__device__ __forceinline__ int32_t computed_here(int32_t value) { return value; }
__device__ __forceinline__ int64_t computed_here(int64_t value) { return value; }

// Subnormal numbers, given or found, are zeros.
__device__ __forceinline__ float exp2_approx(float x) { return ::emulator::flushed(exp2f(::emulator::flushed(x))); }
__device__ __forceinline__ float reciprocal_approx(float x) {
  return ::emulator::flushed(1.0f / ::emulator::flushed(x));
}
__device__ __forceinline__ float log2_approx(float x) { return log2f(::emulator::flushed(x)); }

template <int32_t dtype>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
  return ::emulator::bits16_of(low, dtype == dtype_bfloat16) |
         uint32_t{::emulator::bits16_of(high, dtype == dtype_bfloat16)} << 16;
}

template <int32_t dtype>
__device__ __forceinline__ float to_float(uint16_t bits) {
  return ::emulator::float_of(bits, dtype == dtype_bfloat16);
}

__device__ __forceinline__ void load_global_16(uint4 &value, const uint16_t *source) {
  ::emulator::check_alignment("ld.global.v4", source, 16);
  value = *reinterpret_cast<const uint4 *>(source);
}

__device__ __forceinline__ int32_t load_global_4(const int32_t *source) {
  ::emulator::check_alignment("ld.global", source, 4);
  return *source;
}
__device__ __forceinline__ uint32_t load_global_1(const uint8_t *source) { return *source; }
__device__ __forceinline__ uint32_t load_global_2(const uint16_t *source) {
  ::emulator::check_alignment("ld.global.u16", source, 2);
  return *source;
}
__device__ __forceinline__ uint32_t load_global_4(const uint32_t *source) {
  ::emulator::check_alignment("ld.global.u32", source, 4);
  return *source;
}
__device__ __forceinline__ uint2 load_global_8(const uint32_t *source) {
  ::emulator::check_alignment("ld.global.v2.u32", source, 8);
  return *reinterpret_cast<const uint2 *>(source);
}

__device__ __forceinline__ void store_local_4(int64_t address, float value) {
  *reinterpret_cast<float *>(address) = value;
}
__device__ __forceinline__ float load_local_4(int64_t address) { return *reinterpret_cast<const float *>(address); }

}  // namespace flashcore::kernels
