// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/wmma.cuh.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

template <int32_t dtype>
struct WmmaOperand {
  static constexpr int32_t registers = dtype == dtype_float16 ? 8 : 4;
  uint32_t r[registers];
};
struct WmmaAccumulator {
  float r[8];
};

template <int32_t dtype>
__device__ __forceinline__ void wmma_load_a(WmmaOperand<dtype> &a, SharedAddress tile, int32_t pitch) {
  ::emulator::wmma_load(a.r, a.registers, tile, pitch, ::emulator::Order::rows);
}
template <int32_t dtype>
__device__ __forceinline__ void wmma_load_b(WmmaOperand<dtype> &b, SharedAddress tile, int32_t pitch) {
  ::emulator::wmma_load(b.r, b.registers, tile, pitch, ::emulator::Order::rows);
}
template <int32_t dtype>
__device__ __forceinline__ void wmma_load_b_transposed(WmmaOperand<dtype> &b, SharedAddress tile, int32_t pitch) {
  ::emulator::wmma_load(b.r, b.registers, tile, pitch, ::emulator::Order::columns);
}

__device__ __forceinline__ void wmma_load_c(WmmaAccumulator &c, SharedAddress tile, int32_t pitch) {
  ::emulator::wmma_load_floats(c.r, tile, pitch);
}
__device__ __forceinline__ void wmma_store_c(SharedAddress tile, const WmmaAccumulator &c, int32_t pitch) {
  ::emulator::wmma_store_floats(tile, c.r, pitch);
}

// Loads know the order; the product does not.
template <bool b_transposed, int32_t dtype>
__device__ __forceinline__ void wmma_multiply(WmmaAccumulator &c, const WmmaOperand<dtype> &a,
                                              const WmmaOperand<dtype> &b) {
  ::emulator::wmma_multiply(c.r, a.r, b.r, dtype == dtype_bfloat16);
}

}  // namespace flashcore::kernels
