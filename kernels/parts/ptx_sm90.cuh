// SPDX-License-Identifier: Apache-2.0
//
// Hopper's instructions around its products (compute capability 9.0 alone, "sm_90a"), behind plain functions: barriers in shared
// memory that copies complete, copies of tensor boxes, barriers of some of the block's warps, and registers that move between warps
// (PTX ISA: mbarrier, cp.async.bulk.tensor, barrier, setmaxnreg).
#pragma once

#include "contract/tensor_map.h"
#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

// A barrier of 8 bytes in shared memory. Its phases are counted by who waits: the n-th wait is for parity n % 2.
struct SharedBarrier {
  SharedAddress at;

  __device__ __forceinline__ void init(int32_t arrivals) const {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "r"(arrivals) : "memory");
  }
  __device__ __forceinline__ void arrive() const {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory");
  }
  // Arrives, and the phase ends only when so many bytes have been copied as well.
  __device__ __forceinline__ void arrive_expecting(uint32_t bytes) const {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
  }
  __device__ __forceinline__ void wait(uint32_t parity) const {
    asm volatile(
        "{\n\t"
        ".reg .pred done;\n\t"
        "WAIT:\n\t"
        "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n\t"
        "@!done bra WAIT;\n\t"
        "}" ::"r"(at),
        "r"(parity)
        : "memory");
  }
};
// What was initialised is seen by the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// A box of a tensor to shared memory in the background; `arrival` counts its bytes.
__device__ __forceinline__ void copy_box(SharedAddress destination, const TensorMap &map, SharedBarrier arrival,
                                         int32_t column, int32_t row, int32_t head, int32_t batch) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::
          "r"(destination),
      "l"(&map), "r"(arrival.at), "r"(column), "r"(row), "r"(head), "r"(batch)
      : "memory");
}
__device__ __forceinline__ void prefetch_tensor_map(const TensorMap &map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// What this thread wrote to shared memory is seen by copies and wgmma.
__device__ __forceinline__ void fence_shared_for_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Barrier `id` (0 is the block's) of `threads` threads: wait for all of them, or only be one of them.
__device__ __forceinline__ void barrier_wait(int32_t id, int32_t threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
// And whether one of them had a value that is not false.
__device__ __forceinline__ bool barrier_wait_or(int32_t id, int32_t threads, bool value) {
  int32_t any;
  asm volatile(
      "{\n.reg .pred one, some;\nsetp.ne.s32 one, %3, 0;\nbar.red.or.pred some, %1, %2, one;\nselp.s32 %0, 1, 0, some;\n}"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<int32_t>(value))
      : "memory");
  return any != 0;
}
__device__ __forceinline__ void barrier_arrive(int32_t id, int32_t threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// All warps of a warpgroup, from the count that the block was launched with.
template <int32_t count>
__device__ __forceinline__ void give_registers_back() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}
template <int32_t count>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

}  // namespace flashcore::kernels
