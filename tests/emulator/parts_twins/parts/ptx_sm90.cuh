// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/ptx_sm90.cuh.
#pragma once

#include "contract/tensor_map.h"
#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

struct SharedBarrier {
  SharedAddress at;

  __device__ __forceinline__ void init(int32_t arrivals) const { ::emulator::shared_barrier_init(at, arrivals); }
  __device__ __forceinline__ void arrive() const { ::emulator::shared_barrier_arrive(at, 0); }
  __device__ __forceinline__ void arrive_expecting(uint32_t bytes) const {
    ::emulator::shared_barrier_arrive(at, bytes);
  }
  __device__ __forceinline__ void wait(uint32_t parity) const { ::emulator::shared_barrier_wait(at, parity); }
};
__device__ __forceinline__ void fence_barrier_init() { ::emulator::shared_barrier_fence(); }

__device__ __forceinline__ void copy_box(SharedAddress destination, const TensorMap &map, SharedBarrier arrival,
                                         int32_t column, int32_t row, int32_t head, int32_t batch) {
  ::emulator::copy_box(destination, &map, arrival.at, {column, row, head, batch});
}
__device__ __forceinline__ void prefetch_tensor_map(const TensorMap &map) {
  ::emulator::check_tensor_map("prefetch.tensormap", &map);
}

__device__ __forceinline__ void fence_shared_for_async() { ::emulator::fence_stores_for_async(); }

__device__ __forceinline__ void barrier_wait(int32_t id, int32_t threads) {
  ::emulator::barrier("bar.sync", id, threads, false);
}
__device__ __forceinline__ bool barrier_wait_or(int32_t id, int32_t threads, bool value) {
  return ::emulator::barrier("bar.red.or", id, threads, value);
}
__device__ __forceinline__ void barrier_arrive(int32_t id, int32_t threads) {
  ::emulator::arrive_at_barrier("bar.arrive", id, threads);
}

template <int32_t count>
__device__ __forceinline__ void give_registers_back() {
  ::emulator::give_registers_back(count);
}
template <int32_t count>
__device__ __forceinline__ void take_registers() {
  ::emulator::take_registers(count);
}

}  // namespace flashcore::kernels
