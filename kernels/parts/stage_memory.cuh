// SPDX-License-Identifier: Apache-2.0
//
// What warpgroups that copy and warpgroups that multiply share: stages of tiles with their barriers, turns at the tensor cores, and what is
// done to a tile before it is multiplied. Tiles lie in panels of 64 columns, whose rows are 128 bytes (shared_matrix.cuh).
#pragma once

#include "parts/ptx_sm80.cuh"
#include "parts/ptx_sm90.cuh"

namespace flashcore::kernels {

// Shared memory. A full barrier ends a phase when a tile has arrived, an empty one when all multipliers are done with
// it.
template <uint32_t query_stages, uint32_t stages, int32_t multipliers, int32_t query_bytes, int32_t key_bytes,
          int32_t value_bytes>
struct StageMemory {
  SharedAddress base;

  // Queries are counted through the call as steps are.
  __device__ __forceinline__ SharedAddress query(uint32_t count) const {
    return base + count % query_stages * query_bytes;
  }
  __device__ __forceinline__ SharedAddress key(uint32_t step) const {
    return base + query_stages * query_bytes + step % stages * key_bytes;
  }
  __device__ __forceinline__ SharedAddress value(uint32_t step) const {
    return base + query_stages * query_bytes + stages * key_bytes + step % stages * value_bytes;
  }
  __device__ __forceinline__ SharedBarrier barrier(uint32_t index) const {
    return {base + query_stages * query_bytes + stages * (key_bytes + value_bytes) + index * 8};
  }
  __device__ __forceinline__ SharedBarrier key_full(uint32_t step) const { return barrier(step % stages); }
  __device__ __forceinline__ SharedBarrier key_empty(uint32_t step) const { return barrier(stages + step % stages); }
  __device__ __forceinline__ SharedBarrier value_full(uint32_t step) const {
    return barrier(2 * stages + step % stages);
  }
  __device__ __forceinline__ SharedBarrier value_empty(uint32_t step) const {
    return barrier(3 * stages + step % stages);
  }
  __device__ __forceinline__ SharedBarrier query_full(uint32_t count) const {
    return barrier(4 * stages + count % query_stages);
  }
  __device__ __forceinline__ SharedBarrier query_empty(uint32_t count) const {
    return barrier(4 * stages + query_stages + count % query_stages);
  }
  __device__ __forceinline__ void init_barriers() const {
    for (uint32_t stage = 0; stage < query_stages; ++stage)
      query_full(stage).init(1), query_empty(stage).init(multipliers);
    for (uint32_t stage = 0; stage < stages; ++stage) {
      key_full(stage).init(1), key_empty(stage).init(multipliers);
      value_full(stage).init(1), value_empty(stage).init(multipliers);
    }
    fence_barrier_init();
  }

  // Steps are counted through the whole call; a stage's phases are those of the steps that use it.
  static __device__ __forceinline__ uint32_t parity(uint32_t step) { return step / stages & 1; }
  static __device__ __forceinline__ uint32_t query_parity(uint32_t count) { return count / query_stages & 1; }
};

// Turns of the multipliers: each issues its products when the one before has issued its own. Barriers 1 .. multipliers.
template <bool takes_turns, int32_t multipliers>
struct Turns {
  int32_t warpgroup;
  __device__ __forceinline__ void begin() const {
    if (takes_turns && warpgroup == 0) barrier_arrive(1, 256);
  }
  __device__ __forceinline__ void wait() const {
    if (takes_turns) barrier_wait(1 + warpgroup, 256);
  }
  __device__ __forceinline__ void pass() const {
    if (takes_turns) barrier_arrive(warpgroup + 1 == multipliers ? 1 : warpgroup + 2, 256);
  }
  __device__ __forceinline__ void end() const {
    if (takes_turns && warpgroup == 0) barrier_wait(1, 256);
  }
};

constexpr int32_t panels_of(int32_t columns) { return (columns + 63) / 64; }

// A negative softmax scale turns the largest score into the smallest; the warpgroup's queries change sign instead.
template <int32_t tile_q, int32_t columns>
__device__ __forceinline__ void negate_query(SharedAddress query) {
#pragma unroll 1
  for (int32_t chunk = thread_anew() % 128; chunk < panels_of(columns) * 64 * 8; chunk += 128) {
    const SharedAddress at = query + chunk / 512 * tile_q * 128 + chunk % 512 * 16;
    uint4 value = load_shared_16(at);
    value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;
    store_shared_16(at, value);
  }
  fence_shared_for_async();
}

// Behind a sequence's rows lie those of another one, or whatever a cache holds there. Rows from `end` on of a tile of `rows` become zeros, by
// `threads` threads, so that no infinity and no NaN among them meets a probability of 0, or spoils a warp's other rows.
template <int32_t threads, int32_t rows, int32_t columns>
__device__ __forceinline__ void clear_rows(SharedAddress tile, int32_t first, int32_t end, int32_t thread) {
  const int32_t chunks = (end - first) * 8;
#pragma unroll 1
  for (int32_t i = thread; i < panels_of(columns) * chunks; i += threads)
    store_shared_16(tile + i / chunks * rows * 128 + first * 128 + i % chunks * 16, make_uint4(0, 0, 0, 0));
  fence_shared_for_async();
}

}  // namespace flashcore::kernels
