// SPDX-License-Identifier: Apache-2.0
//
// What the device half of a kernel's source takes for granted, for the host's compiler: the keywords of CUDA C++, its vector types and
// the functions that NVRTC knows by itself. Included ahead of a kernel (write_module.cpp), and by nothing else.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "add_module.hpp"
#include "hopper.hpp"
#include "running_thread.hpp"
#include "warp.hpp"

#define __CUDACC_RTC__
#ifndef __CUDA_ARCH__
#define __CUDA_ARCH__ 800
#endif
#define __device__
#define __global__
#define __shared__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define threadIdx (::emulator::place().thread)
#define blockIdx (::emulator::place().block)
#define gridDim (::emulator::place().grid)

struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

// Whoever gives them wider integers means them to be cut, as CUDA's own do.
template <typename X, typename Y>
uint2 make_uint2(X x, Y y) {
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(y)};
}
template <typename X, typename Y, typename Z, typename W>
uint4 make_uint4(X x, Y y, Z z, W w) {
  return {static_cast<uint32_t>(x), static_cast<uint32_t>(y), static_cast<uint32_t>(z), static_cast<uint32_t>(w)};
}
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
// The C library's, declared here: with <cmath>, and <string> for the rest, each of hundreds of modules took a third longer to compile.
extern "C" {
float fmaf(float, float, float) noexcept;
float fmaxf(float, float) noexcept;
float fminf(float, float) noexcept;
float fabsf(float) noexcept;
float expf(float) noexcept;
float exp2f(float) noexcept;
float logf(float) noexcept;
float log2f(float) noexcept;
float tanhf(float) noexcept;
}

inline float __uint_as_float(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t __float_as_uint(float value) { return std::bit_cast<uint32_t>(value); }

// 0xffff in each half that is equal.
inline uint32_t __vcmpeq2(uint32_t a, uint32_t b) {
  return ((a & 0xffffu) == (b & 0xffffu) ? 0xffffu : 0u) | (a >> 16 == b >> 16 ? 0xffff0000u : 0u);
}
// Bytes of the eight of b:a, as each hexadecimal digit of the selector says.
inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i)
    result |= static_cast<uint32_t>(bytes >> (selector >> (4 * i) & 7) * 8 & 0xff) << (8 * i);
  return result;
}

inline size_t __cvta_generic_to_shared(const void *pointer) { return ::emulator::shared_address(pointer); }
// A thread's own memory is the host's.
inline size_t __cvta_generic_to_local(const void *pointer) { return reinterpret_cast<size_t>(pointer); }

inline void __syncthreads() { ::emulator::block_barrier("__syncthreads", false); }
inline int __syncthreads_or(int value) { return ::emulator::block_barrier("__syncthreads_or", value != 0) ? 1 : 0; }
inline void __syncwarp() { ::emulator::sync_warp(); }

namespace emulator {
inline void check_mask(uint32_t mask) {
  if (mask != 0xffffffffu) fault("an operation of a part of a warp, which is not emulated");
}
template <typename T>
T shuffle_of(uint32_t mask, T value, uint32_t source_lane) {
  static_assert(sizeof(T) == 4);
  check_mask(mask);
  return std::bit_cast<T>(shuffle(std::bit_cast<uint32_t>(value), source_lane));
}
}  // namespace emulator
template <typename T>
T __shfl_sync(uint32_t mask, T value, int source_lane) {
  return ::emulator::shuffle_of(mask, value, static_cast<uint32_t>(source_lane));
}
template <typename T>
T __shfl_xor_sync(uint32_t mask, T value, int lane_mask) {
  return ::emulator::shuffle_of(mask, value, threadIdx.x % 32 ^ static_cast<uint32_t>(lane_mask));
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate) {
  ::emulator::check_mask(mask);
  return ::emulator::ballot(predicate != 0);
}
inline int __popc(uint32_t bits) { return std::popcount(bits); }
inline int __any_sync(uint32_t mask, int predicate) {
  ::emulator::check_mask(mask);
  return ::emulator::any(predicate != 0) ? 1 : 0;
}
