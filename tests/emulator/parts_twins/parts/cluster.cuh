// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/cluster.cuh.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

__device__ __forceinline__ void cluster_barrier() { ::emulator::cluster_barrier("barrier.cluster"); }
__device__ __forceinline__ int32_t cluster_rank() { return ::emulator::cluster_rank(); }
__device__ __forceinline__ int32_t cluster_size() { return ::emulator::cluster_size(); }
__device__ __forceinline__ SharedAddress cluster_address(SharedAddress own, int32_t rank) {
  return ::emulator::cluster_address("mapa.shared::cluster", own, rank);
}
__device__ __forceinline__ float load_cluster_float(SharedAddress source) {
  float value;
  ::emulator::load_cluster_shared("ld.shared::cluster", source, &value, 4);
  return value;
}
__device__ __forceinline__ float4 load_cluster_float4(SharedAddress source) {
  float4 value;
  ::emulator::load_cluster_shared("ld.shared::cluster.v4", source, &value, 16);
  return value;
}

}  // namespace flashcore::kernels
