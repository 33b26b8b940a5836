// SPDX-License-Identifier: Apache-2.0
//
// How wgmma is told of a matrix in shared memory. Plain C++.
#pragma once

#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

// A matrix in shared memory, as wgmma is told of it: panels of 64 columns, whose rows are 128 bytes permuted by 16 as copy_box leaves
// them. (PTX ISA, "Matrix descriptor": 16-byte units; 1024 bytes from eight rows to the next eight.) The half of the descriptor that holds
// the address is moved by an addition, so that a product's descriptors are one base and constants: each put together anew is five
// instructions before the product, and a small product is over sooner than they are.
struct SharedMatrix {
  uint32_t low;  // the address, and the distance of panels

  // Read along its rows (Q, K): a step of depth 16 lies in one panel, 32 bytes further on than the one before.
  static __device__ __forceinline__ SharedMatrix along_rows(SharedAddress at) { return {units(at) + (1u << 16)}; }
  // Read down its columns (V): `panel_bytes` from 64 columns to the next 64; a step is 16 rows.
  static __device__ __forceinline__ SharedMatrix down_columns(SharedAddress at, uint32_t panel_bytes) {
    return {units(at) + (panel_bytes >> 4 << 16)};
  }
  // Without the rank of a cluster's block, which an address has in its upper bits.
  static __device__ __forceinline__ uint32_t units(SharedAddress at) { return (at & 0x3ffff) >> 4; }
  __device__ __forceinline__ SharedMatrix moved(uint32_t bytes) const { return {low + (bytes >> 4)}; }
  __device__ __forceinline__ uint64_t descriptor() const { return uint64_t{1u << 30 | 1024 >> 4} << 32 | low; }
};

}  // namespace flashcore::kernels
