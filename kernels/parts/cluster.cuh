// SPDX-License-Identifier: Apache-2.0
//
// Thread blocks of a cluster (compute capability 9.0 and newer) meet at a barrier and read each other's shared memory.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

// All threads of all blocks; what was written to shared memory before it is seen after it.
__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// Of this thread block in its cluster; and how many blocks that has.
__device__ __forceinline__ int32_t cluster_rank() {
  int32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
__device__ __forceinline__ int32_t cluster_size() {
  int32_t blocks;
  asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(blocks));
  return blocks;
}

// The same place in the shared memory of the block with this rank.
__device__ __forceinline__ SharedAddress cluster_address(SharedAddress own, int32_t rank) {
  SharedAddress there;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(own), "r"(rank));
  return there;
}
__device__ __forceinline__ float load_cluster_float(SharedAddress source) {
  float value;
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(source) : "memory");
  return value;
}
__device__ __forceinline__ float4 load_cluster_float4(SharedAddress source) {
  float4 value;
  asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(source)
               : "memory");
  return value;
}

}  // namespace flashcore::kernels
