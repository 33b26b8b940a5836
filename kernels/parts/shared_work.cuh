// SPDX-License-Identifier: Apache-2.0
//
// What the block computes, kept in shared memory: only the first and the masked steps and the end ask for it, and the steady
// loop has no registers to spare.
#pragma once

#include "parts/block_work.cuh"
#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

template <Mask mask>
struct SharedWork {
  using Tiles = KeyTiles<mask>;

  SharedAddress at;  // of shared_work_bytes

  __device__ __forceinline__ void put(const BlockWork &work, const Tiles &tiles) const {
    store_shared_16(at, make_uint4(work.batch, work.head_q, work.head_kv, work.first_query));
    store_shared_16(at + 16, make_uint4(tiles.end, tiles.whole_end, mask.begin_moves ? tiles.moving_begin : 0,
                                        mask.begin_moves ? tiles.moving_whole_begin : 0));
    store_shared_16(at + 32, make_uint4(0, 0, 0, 0));
  }
  // Whether a masked tile held an infinite or NaN value, which was taken for 0.
  __device__ __forceinline__ void note_nonfinite() const { or_shared_4(at + 32, 1); }
  __device__ __forceinline__ bool nonfinite() const { return load_shared_4(at + 32) != 0; }
  // Whether optimistic steps lost a row, so that all is computed once more in exact ones.
  __device__ __forceinline__ void note_again() const { or_shared_4(at + 36, 1); }
  __device__ __forceinline__ bool again() const { return load_shared_4(at + 36) != 0; }
  __device__ __forceinline__ BlockWork work() const {
    const uint4 words = load_shared_16(at);
    return {static_cast<int32_t>(words.x), static_cast<int32_t>(words.y), static_cast<int32_t>(words.z),
            static_cast<int32_t>(words.w)};
  }
  __device__ __forceinline__ Tiles tiles() const {
    const uint4 words = load_shared_16(at + 16);
    return {static_cast<int32_t>(words.x), static_cast<int32_t>(words.y),
            mask.begin_moves ? static_cast<int32_t>(words.z) : 0, mask.begin_moves ? static_cast<int32_t>(words.w) : 0};
  }
};

}  // namespace flashcore::kernels
