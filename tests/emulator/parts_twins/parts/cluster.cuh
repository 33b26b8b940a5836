// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/cluster.cuh. No kernel that runs in clusters is emulated so far: whoever comes here has gone wrong.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

__device__ __forceinline__ void cluster_barrier() { ::emulator::fault("barrier.cluster is not emulated"); }
__device__ __forceinline__ int32_t cluster_rank() { ::emulator::fault("%cluster_ctarank is not emulated"); }
__device__ __forceinline__ int32_t cluster_size() { ::emulator::fault("%cluster_nctarank is not emulated"); }
__device__ __forceinline__ SharedAddress cluster_address(SharedAddress own, int32_t rank) {
  ::emulator::fault("mapa.shared::cluster is not emulated");
}
__device__ __forceinline__ float load_cluster_float(SharedAddress source) {
  ::emulator::fault("ld.shared::cluster is not emulated");
}
__device__ __forceinline__ float4 load_cluster_float4(SharedAddress source) {
  ::emulator::fault("ld.shared::cluster is not emulated");
}

}  // namespace flashcore::kernels
