// SPDX-License-Identifier: Apache-2.0
//
// The tiles of a ragged batch that a thread block which stays works through. While one is multiplied a warp of the block looks up the sequence
// of the next one and writes its parameters down (sequence.cuh), so that nobody waits for lengths and places to arrive from memory.
#pragma once

#include "parts/ptx_sm90.cuh"
#include "parts/sequence.cuh"

namespace flashcore::kernels {

// Params: what the kernel takes, with `attention`, `sequence`, `work` and `units`. A round's parameters are there when its full barrier ends a
// phase, and may be overwritten when all of `readers` arrived at its empty one.
template <typename Params, int32_t tile_q, Mask mask, int32_t rows, int32_t readers>
struct RaggedRounds {
  Params *own;  // those of even rounds and of odd ones; behind them the barriers

  // First queries of rounds that have no tile.
  static constexpr int32_t end_of_keys = -1, end_of_all = -2;
  static constexpr int32_t bytes = 2 * static_cast<int32_t>(sizeof(Params)) + 4 * 8;

  __device__ __forceinline__ const Params &of(int32_t round) const { return own[round & 1]; }
  __device__ __forceinline__ void wait(int32_t round) const { full(round).wait(parity(round)); }
  __device__ __forceinline__ void release(int32_t round) const { empty(round).arrive(); }
  // When all lanes have read what they need.
  __device__ __forceinline__ void release_by_warp(int32_t round) const {
    __syncwarp();
    if (thread_anew() % 32 == 0) release(round);
  }

  // By all threads of the block, which meet at a barrier before anyone asks for a round.
  template <int32_t threads>
  __device__ __forceinline__ void begin(const Params &given) const {
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < 2 * sizeof(Params) / 4; i += threads)
      reinterpret_cast<uint32_t *>(own)[i] = reinterpret_cast<const uint32_t *>(&given)[i % (sizeof(Params) / 4)];
    if (threadIdx.x != 0) return;
    for (int32_t round = 0; round < 2; ++round) full(round).init(1), empty(round).init(readers);
  }

  // By one warp, for as long as there are tiles. Places that no tile has are passed over; tiles that see no key come last, behind a round of
  // their own, so that those with keys follow one another without a gap.
  __device__ __forceinline__ void look_up(const Params &given) const {
    int32_t round = 0;
    bool left_out = false;
#pragma unroll 1
    for (bool with_keys : {true, false}) {
      // Units are dealt out in turn, every other time backwards: where tiles are of rising lengths, sums of them are as long as each other.
      uint32_t dealt = 0, turn = 0;
      BlockWork work;
#pragma unroll 1
      do {
        Sequence sequence{};
        work = {0, 0, 0, end_of_all};
#pragma unroll 1
        for (bool found = false; dealt < static_cast<uint32_t>(given.units) && !found; dealt += gridDim.x, ++turn) {
          const uint32_t unit = dealt + (turn % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x);
          if (unit >= static_cast<uint32_t>(given.units)) continue;
          BlockWork tile = work_of_block<tile_q, mask, rows>(given.attention, unit);
          const Sequence of_tile = sequence_of<rows>(given.attention, tile.batch);
          if (!has_tile<tile_q, mask>(of_tile, tile)) continue;
          const auto seen = given.attention.ragged.mask.visibility(of_tile.queries, of_tile.keys);
          found = seen.tiles_of(tile.first_query, tile_q, 1).any() == with_keys;
          left_out = left_out || !found;
          if (found) work = tile, sequence = of_tile;
        }
        if (work.first_query < 0) work.first_query = with_keys && left_out ? end_of_keys : end_of_all;
        empty(round).wait(parity(round) ^ 1);
        __syncwarp();  // a lane that came late would find the phase after this one
        if (threadIdx.x % 32 == 0) {
          Params &mine = own[round & 1];
          if (work.first_query >= 0) set_sequence(mine.attention, given.attention, sequence, work.batch, work.head_kv);
          mine.sequence = sequence, mine.work = work;
          full(round).arrive();
        }
        __syncwarp();
        ++round;
      } while (work.first_query >= 0);
      if (work.first_query == end_of_all) return;
    }
  }

 private:
  static __device__ __forceinline__ uint32_t parity(int32_t round) { return static_cast<uint32_t>(round) >> 1 & 1; }
  __device__ __forceinline__ SharedBarrier barrier(int32_t index) const {
    return {shared_address(own + 2) + static_cast<SharedAddress>(index * 8)};
  }
  __device__ __forceinline__ SharedBarrier full(int32_t round) const { return barrier(round & 1); }
  __device__ __forceinline__ SharedBarrier empty(int32_t round) const { return barrier(2 + (round & 1)); }
};

// The parameters of a round's sequence; `params` are those of the batch, or of a ragged one the first of two.
template <bool ragged, typename Params>
__device__ __forceinline__ const Params &of_round(const Params &params, int32_t round) {
  return ragged ? (&params)[round & 1] : params;
}
// As parts/rounds.cuh has them.
template <typename Params>
struct LookedUpRounds {
  using Work = BlockWork;
  const Params &params;
  int32_t count = 0x7fffffff;  // known at the end alone
  __device__ __forceinline__ BlockWork work(const AttentionFwdParams &, int32_t round) const {
    return of_round<true>(params, round).work;
  }
};

}  // namespace flashcore::kernels
