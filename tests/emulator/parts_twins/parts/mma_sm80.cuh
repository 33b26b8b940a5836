// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/mma_sm80.cuh.
#pragma once

#include "contract/problem_key.h"

namespace flashcore::kernels {

using SharedAddress = uint32_t;

__device__ __forceinline__ SharedAddress shared_address(const void *pointer) {
  return ::emulator::shared_address(pointer);
}

template <int32_t threads, bool whole_block>
struct Group {
  int32_t id, thread;

  __device__ __forceinline__ Group(int32_t group_id, int32_t thread_in_group) : id(group_id), thread(thread_in_group) {}
  __device__ __forceinline__ void barrier() const {
    if constexpr (whole_block)
      __syncthreads();
    else if constexpr (threads == 32)
      __syncwarp();
    else
      ::emulator::barrier("bar.sync", id, threads, false);
  }
};

__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], SharedAddress row) {
  ::emulator::load_matrix_x4(r, row, false);
}
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], SharedAddress row) {
  ::emulator::load_matrix_x4(r, row, true);
}
__device__ __forceinline__ uint32_t transpose_8x8(uint32_t pair) { return ::emulator::transpose_8x8(pair); }

template <int32_t dtype>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ::emulator::mma_m16n8k16(c, a, b0, b1, dtype == dtype_bfloat16);
}

__device__ __forceinline__ void copy_async_16(SharedAddress destination, const void *source, bool valid) {
  ::emulator::copy_in_background(destination, source, valid ? 16 : 0);
}
__device__ __forceinline__ void copy_async_commit() { ::emulator::end_copy_group(); }
template <int32_t pending>
__device__ __forceinline__ void copy_async_wait() {
  ::emulator::wait_for_copies(pending);
}

__device__ __forceinline__ void store_shared_16(SharedAddress destination, uint4 value) {
  ::emulator::store_shared("st.shared.v4", destination, &value, 16);
}
__device__ __forceinline__ void or_shared_4(SharedAddress destination, uint32_t bits) {
  ::emulator::or_shared("red.shared.or", destination, bits);
}
__device__ __forceinline__ uint4 load_shared_16(SharedAddress source) {
  uint4 value;
  ::emulator::load_shared("ld.shared.v4", source, &value, 16);
  return value;
}
__device__ __forceinline__ uint32_t load_shared_4(SharedAddress source) {
  uint32_t value;
  ::emulator::load_shared("ld.shared", source, &value, 4);
  return value;
}

}  // namespace flashcore::kernels
