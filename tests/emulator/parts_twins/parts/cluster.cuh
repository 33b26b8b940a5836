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
  return *reinterpret_cast<const float *>(::emulator::cluster_shared_at("ld.shared::cluster", source, 4));
}
__device__ __forceinline__ float4 load_cluster_float4(SharedAddress source) {
  return *reinterpret_cast<const float4 *>(::emulator::cluster_shared_at("ld.shared::cluster.v4", source, 16));
}

}  // namespace flashcore::kernels
