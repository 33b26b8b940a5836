// SPDX-License-Identifier: Apache-2.0
//
// How the decode kernels' keys and values go from memory straight into registers, and queries into shared memory, in the order of decode.cuh.
#pragma once

#include "attention_fwd/decode.h"
#include "parts/numeric.cuh"
#include "parts/ptx_sm80.cuh"
#include "parts/rows.cuh"

namespace flashcore::kernels {

struct DecodeShape {
  int32_t dtype, head_dim, head_dim_v;
  int32_t tile_q;   // packed query rows of a block: 8 or 16
  int32_t tile_kv;  // keys of a step of a warp: 16 or 32
  int32_t warps;
  int32_t blocks;  // of a cluster
  int32_t window;  // Window
  int32_t rows;    // RowAccess
};

template <DecodeShape shape, typename KeyRows>
struct DecodeLoads {
  static constexpr int32_t dtype = shape.dtype, key_groups = shape.tile_kv / 16;
  static constexpr int32_t key_chunks = (shape.head_dim + 31) / 32, value_chunks = (shape.head_dim_v + 63) / 64;

  static __device__ __forceinline__ uint4 load_chunk(const uint16_t *source, bool valid) {
    uint4 chunk = make_uint4(0, 0, 0, 0);
    if (valid) load_global_16(chunk, source);
    return chunk;
  }
  static __device__ __forceinline__ uint32_t word(const uint4 &chunk, int32_t i) {
    return i == 0 ? chunk.x : i == 1 ? chunk.y : i == 2 ? chunk.z : chunk.w;
  }

  // Q as B fragments in shared memory: sixteen bytes for each lane, row tile and chunk. In registers it would be a sixth of
  // all that there are.
  static __device__ __forceinline__ SharedAddress query_chunk(SharedAddress query, int32_t row_tile, int32_t chunk,
                                                              int32_t lane) {
    return query + (row_tile * key_chunks + chunk) * 512 + lane * 16;
  }
  static __device__ __forceinline__ void load_query(SharedAddress query, const decode::Params &params,
                                                    const decode::BlockRows &work, int32_t thread) {
    const uint32_t sign = params.negate_query != 0 ? 0x80008000u : 0;
#pragma unroll
    for (int32_t i = thread; i < shape.tile_q / 8 * key_chunks * 32; i += shape.warps * 32) {
      const int32_t lane = i % 32, row = work.first_row + i / 32 / key_chunks * 8 + lane / 4,
                    column = i / 32 % key_chunks * 32 + lane % 4 * 8;
      const auto rows =
          StridedRows::of(params.query, work.batch, work.head_kv * params.heads_per_kv + row % params.heads_per_kv);
      const uint4 chunk =
          load_chunk(rows.row(row / params.heads_per_kv) + column, row < work.row_count && column < params.head_dim);
      store_shared_16(query + i * 16, make_uint4(chunk.x ^ sign, chunk.y ^ sign, chunk.z ^ sign, chunk.w ^ sign));
    }
  }

  // Where a lane reads in the rows of a head, step by step, from its first key and column in the step. What can be had from its number
  // is worked out at each step: registers are what limits how much is under way.
  using KeyCursor = typename KeyRows::template Ascent<false>;
  using ValueCursor = typename KeyRows::template Ascent<true>;
  // The keys of a step, as this lane holds them: key 16 i + 8 h + g.
  struct Keys {
    uint4 chunk[key_groups][2][key_chunks];
    static __device__ __forceinline__ int32_t first_key(int32_t lane) { return lane / 4; }
    static __device__ __forceinline__ int32_t first_column(int32_t lane) { return lane % 4 * 8; }
    __device__ __forceinline__ void load(const KeyCursor &cursor, const AttentionFwdParams &params, int32_t keys_left) {
      const int32_t lane = thread_anew() % 32, left = keys_left - first_key(lane),
                    columns = params.head_dim - first_column(lane);
      const auto step = cursor.step(params, first_key(lane), first_column(lane));
#pragma unroll
      for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
        for (int32_t h = 0; h < 2; ++h) {
          const int32_t key = i * 16 + h * 8;
          const uint16_t *const row = step.row(key);
#pragma unroll
          for (int32_t c = 0; c < key_chunks; ++c)
            chunk[i][h][c] = load_chunk(row + c * 32, key < left && c * 32 < columns);
        }
    }
  };

  // Their values: key 16 i + 8 (k / 2) + 2t + k % 2.
  struct Values {
    uint4 chunk[key_groups][4][value_chunks];
    static __device__ __forceinline__ int32_t first_key(int32_t lane) { return lane % 4 * 2; }
    static __device__ __forceinline__ int32_t first_column(int32_t lane) { return lane / 4 * 8; }
    __device__ __forceinline__ void load(const ValueCursor &cursor, const AttentionFwdParams &params,
                                         int32_t keys_left) {
      const int32_t lane = thread_anew() % 32, left = keys_left - first_key(lane),
                    columns = params.head_dim_v - first_column(lane);
      const auto step = cursor.step(params, first_key(lane), first_column(lane));
#pragma unroll
      for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
        for (int32_t k = 0; k < 4; ++k) {
          const int32_t key = i * 16 + k / 2 * 8 + k % 2;
          const uint16_t *const row = step.row(key);
#pragma unroll
          for (int32_t c = 0; c < value_chunks; ++c)
            chunk[i][k][c] = load_chunk(row + c * 64, key < left && c * 64 < columns);
        }
    }
    __device__ __forceinline__ bool has_nonfinite() const {
      bool any = false;
#pragma unroll
      for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
        for (int32_t k = 0; k < 4; ++k)
#pragma unroll
          for (int32_t c = 0; c < value_chunks; ++c) {
            uint4 copy = chunk[i][k][c];
            any |= clear_nonfinite_chunk<dtype>(copy);
          }
      return any;
    }
  };
};

}  // namespace flashcore::kernels
