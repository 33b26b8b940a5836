// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/wgmma.cuh.
#pragma once

#include "contract/problem_key.h"
#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

__device__ __forceinline__ void wgmma_fence() { ::emulator::fence_registers(); }
__device__ __forceinline__ void wgmma_commit() { ::emulator::end_product_group(); }
template <int32_t pending>
__device__ __forceinline__ void wgmma_wait() {
  ::emulator::wait_for_products(pending);
}

template <int32_t n>
struct Wgmma;

#define FLASHCORE_WGMMA(n)                                                                                            \
  template <>                                                                                                         \
  struct Wgmma<n> {                                                                                                   \
    template <int32_t dtype>                                                                                          \
    static __device__ __forceinline__ void rows_by_rows(float (&c)[n / 2], uint64_t a, uint64_t b, bool accumulate) { \
      ::emulator::multiply_in_background({c, nullptr, a, b, n, false, accumulate, dtype == dtype_bfloat16});          \
    }                                                                                                                 \
    template <int32_t dtype>                                                                                          \
    static __device__ __forceinline__ void add_columns(float (&c)[n / 2], const uint32_t (&a)[4], uint64_t b) {       \
      ::emulator::multiply_in_background({c, a, 0, b, n, true, true, dtype == dtype_bfloat16});                       \
    }                                                                                                                 \
  }
FLASHCORE_WGMMA(64);
FLASHCORE_WGMMA(80);
FLASHCORE_WGMMA(96);
FLASHCORE_WGMMA(112);
FLASHCORE_WGMMA(128);
FLASHCORE_WGMMA(160);
FLASHCORE_WGMMA(176);
FLASHCORE_WGMMA(192);
FLASHCORE_WGMMA(256);

}  // namespace flashcore::kernels
