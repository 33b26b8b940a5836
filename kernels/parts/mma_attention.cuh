// SPDX-License-Identifier: Apache-2.0
//
// One warp's share of attention with mma.sync: scores, softmax and probabilities in registers. What the kernels that use it
// differ in is how keys and values reach shared memory, and who merges what. FlashAttention-2 (arXiv 2307.08691) is the
// algorithm.
#pragma once

#include "contract/kernel_params.h"
#include "parts/block_work.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

struct MmaShape {
  int32_t dtype, head_dim, head_dim_v, tile_kv;
  int32_t row_tiles;  // mma tiles down: a warp has 16 * row_tiles query rows
  int32_t threads;    // of the group that loads and shares a key tile
  bool whole_block;   // the group is the block
  bool causal, q_in_registers;
};

template <MmaShape shape>
struct MmaAttention {
  static constexpr int32_t dtype = shape.dtype, head_dim = shape.head_dim, head_dim_v = shape.head_dim_v;
  static constexpr int32_t tile_kv = shape.tile_kv, threads = shape.threads;
  static constexpr int32_t row_tiles = shape.row_tiles, warp_rows = 16 * row_tiles;
  static constexpr bool causal = shape.causal, q_in_registers = shape.q_in_registers;
  static constexpr int32_t key_columns = tile_kv / 8;     // mma tiles across the scores
  static constexpr int32_t value_columns = head_dim_v / 8;  // mma tiles across the output
  static constexpr int32_t depth_steps = head_dim / 16;   // mma steps of Q.K^T
  static constexpr int32_t key_steps = tile_kv / 16;      // mma steps of P.V
  static_assert(tile_kv % 16 == 0 && head_dim % 32 == 0 && head_dim_v % 32 == 0);

  using Rows = SwizzledRows<head_dim>;  // of Q and K
  using ValueRows = SwizzledRows<head_dim_v>;
  using TileGroup = Group<threads, shape.whole_block>;
  using QueryFragments = uint32_t[q_in_registers ? depth_steps : 1][row_tiles][4];
  using Scores = float[row_tiles][key_columns][4];
  using Probabilities = uint32_t[key_steps][row_tiles][4];
  using Output = float[row_tiles][value_columns][4];

  // Per thread: two rows of every row tile. A probability is exp2(score * scale_log2 - reference); row_sum is this thread's
  // share of the columns.
  struct RowState {
    float reference[row_tiles][2];
    float row_sum[row_tiles][2];

    __device__ __forceinline__ RowState() {
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
        for (int32_t half = 0; half < 2; ++half) reference[i][half] = -infinity, row_sum[i][half] = 0.0f;
    }
  };

  static __device__ __forceinline__ void clear(Output &output) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c) output[i][n][c] = 0.0f;
  }

  // A lane's row of each tile for ldmatrix, at the first chunk; Rows::advance goes on from there.
  static __device__ __forceinline__ SharedAddress query_lane(SharedAddress tile, int32_t first_row, int32_t lane) {
    return tile + Rows::offset(first_row + lane % 16, lane / 16);
  }
  static __device__ __forceinline__ SharedAddress key_lane(SharedAddress tile, int32_t lane) {
    return tile + Rows::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  }
  static __device__ __forceinline__ SharedAddress value_lane(SharedAddress tile, int32_t lane) {
    return tile + ValueRows::offset(lane % 16, lane / 16);
  }

  static __device__ __forceinline__ void load_query_step(uint32_t (&fragments)[row_tiles][4], SharedAddress query_lane, int32_t step) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
      load_matrix_x4(fragments[i], Rows::advance(query_lane, step * 2) + i * 16 * head_dim * 2);
  }

  // scores = Q . K^T
  static __device__ __forceinline__ void multiply_query_key(Scores &scores, const QueryFragments &query, SharedAddress query_lane,
                                                     SharedAddress key_lane) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c) scores[i][j][c] = 0.0f;
#pragma unroll
    for (int32_t step = 0; step < depth_steps; ++step) {
      uint32_t fresh[row_tiles][4];
      if constexpr (!q_in_registers) load_query_step(fresh, query_lane, step);
#pragma unroll
      for (int32_t j = 0; j < key_columns; j += 2) {
        uint32_t key[4];
        load_matrix_x4(key, Rows::advance(key_lane, step * 2) + j * 8 * head_dim * 2);
#pragma unroll
        for (int32_t i = 0; i < row_tiles; ++i) {
          const auto multiply = [&](const uint32_t(&a)[4]) {
            mma_m16n8k16<dtype>(scores[i][j], a, key[0], key[1]);
            mma_m16n8k16<dtype>(scores[i][j + 1], a, key[2], key[3]);
          };
          if constexpr (q_in_registers) multiply(query[step][i]);
          else multiply(fresh[i]);
        }
      }
    }
  }

  // Keys that a query may not see get -infinity. By selection, never by arithmetic: a masked NaN is gone.
  static __device__ __forceinline__ void mask_scores(Scores &scores, const AttentionFwdParams &params, int32_t first_key,
                                                      int32_t first_row) {
    constexpr int64_t far = 1 << 29;  // above any tile, and room for the rows of a warp
    const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32, in_sequence = params.seqlen_kv - first_key;
    const int64_t first_visible = int64_t{first_row} + params.causal_offset + 1 - first_key;
    const int32_t of_first_row = static_cast<int32_t>(first_visible < -far ? -far : first_visible > far ? far : first_visible);
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        // Keys of this tile that the row sees: below 0 or above the tile it is none or all of them.
        const int32_t by_mask = of_first_row + i * 16 + half * 8 + lane / 4;
        // Less this lane's first column, so that columns are compared as constants.
        const int32_t visible = (causal && by_mask < in_sequence ? by_mask : in_sequence) - lane % 4 * 2;
#pragma unroll
        for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c)
            if (j * 8 + c >= visible) scores[i][j][half * 2 + c] = -infinity;
      }
  }

  // ---- Softmax. Two ways to choose a row's reference, which scores are subtracted from so that no exponential overflows:
  //
  // Exact (raise_references): before the exponentials, from the maximum of the tile's scores.
  // Optimistic (lower_large_rows): the reference of the tiles before is taken as it is, and looked after when the sums
  // are there, which costs one comparison a step instead of a maximum over all scores and two shuffles. A tile with
  // scores far above all before it overflows; its sum shows that, and the query tile is computed again the exact way.
  //
  // The reference lies `headroom_log2` above the maximum, so that a score may exceed all earlier ones by 2^20 = e^13.9 before
  // a float16 probability overflows. Probabilities below 2^-9 of the largest become subnormal: an error of 2^-20 of it.
  static constexpr float headroom_log2 = 5.0f;
  // Exact: how far above the reference a maximum may be until O and the sums are moved to it.
  static constexpr float lazy_limit_log2 = 8.0f;
  // Optimistic: a thread's row sums above which references are raised; and a sum above which one of its terms, added to
  // less than that, may not have fitted into 16 bits.
  static constexpr float large_sum = 1024.0f, overflow_sum = 32768.0f;

  // O and the sum of one row, to a reference that is higher by a factor of 1 / rescale.
  static __device__ __forceinline__ void rescale_row(Output &output, RowState &state, int32_t i, int32_t half, float rescale) {
    state.row_sum[i][half] *= rescale;
#pragma unroll
    for (int32_t n = 0; n < value_columns; ++n) {
      output[i][n][half * 2] *= rescale;
      output[i][n][half * 2 + 1] *= rescale;
    }
  }

  static __device__ __forceinline__ void raise_references(const Scores &scores, Output &output, RowState &state, float scale_log2) {
    float new_reference[row_tiles][2];
    bool grew = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        float tile_max = fmaxf(scores[i][0][half * 2], scores[i][0][half * 2 + 1]);
#pragma unroll
        for (int32_t j = 1; j < key_columns; ++j)
          tile_max = fmaxf(tile_max, fmaxf(scores[i][j][half * 2], scores[i][j][half * 2 + 1]));
        const float wanted = quad_max(tile_max) * scale_log2 + headroom_log2;
        grew |= wanted - state.reference[i][half] > lazy_limit_log2;
        new_reference[i][half] = fmaxf(state.reference[i][half], wanted);
      }
    if (!__any_sync(0xffffffffu, grew)) return;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        // A row that has seen no key yet keeps -infinity; subtracting it would give NaN.
        const float finite = new_reference[i][half] == -infinity ? 0.0f : new_reference[i][half];
        rescale_row(output, state, i, half, exp2_approx(state.reference[i][half] - finite));
        state.reference[i][half] = new_reference[i][half];
      }
  }

  // Scores become probabilities. `references_finite`: no row waits for its first key.
  template <bool references_finite>
  static __device__ __forceinline__ void exponentiate(Scores &scores, RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float reference = state.reference[i][half];
        const float subtrahend = !references_finite && reference == -infinity ? 0.0f : reference;
#pragma unroll
        for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c) {
            float &score = scores[i][j][half * 2 + c];
            score = exp2_approx(fmaf(score, scale_log2, -subtrahend));
            state.row_sum[i][half] += score;
          }
      }
  }

  // After a step with old references: raise those of rows with a large sum. Where a probability may have overflowed (or a
  // score is NaN), O is lost; the reference is NaN then, which the exact way never makes.
  static __device__ __forceinline__ void lower_large_sums(Output &output, RowState &state) {
    if (__all_sync(0xffffffffu, all_sums(state) <= large_sum)) return;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        float &own = state.row_sum[i][half];
        const float sum = quad_sum(own <= overflow_sum ? own : not_a_number);
        if (sum <= 1.0f) continue;
        rescale_row(output, state, i, half, reciprocal_approx(sum));
        state.reference[i][half] += log2_approx(sum);
      }
  }
  static __device__ __forceinline__ bool is_lost(const RowState &state) {
    bool lost = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i) lost |= state.reference[i][0] != state.reference[i][0] || state.reference[i][1] != state.reference[i][1];
    return lost;
  }
  static __device__ __forceinline__ float all_sums(const RowState &state) {
    float all = 0.0f;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i) all += state.row_sum[i][0] + state.row_sum[i][1];
    return all;
  }

  // P rounded, as A fragments: two neighbouring score tiles are one.
  static __device__ __forceinline__ void round_probabilities(Probabilities &p, const Scores &scores) {
#pragma unroll
    for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i) {
        const float(&left)[4] = scores[i][2 * step], (&right)[4] = scores[i][2 * step + 1];
        p[step][i][0] = pack2<dtype>(left[0], left[1]);
        p[step][i][1] = pack2<dtype>(left[2], left[3]);
        p[step][i][2] = pack2<dtype>(right[0], right[1]);
        p[step][i][3] = pack2<dtype>(right[2], right[3]);
      }
  }

  // output += P . V
  static __device__ __forceinline__ void multiply_probability_value(Output &output, const Probabilities &p, SharedAddress value_lane) {
#pragma unroll
    for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
      for (int32_t n = 0; n < value_columns; n += 2) {
        uint32_t v[4];
        load_matrix_x4_transposed(v, ValueRows::advance(value_lane, n) + step * 16 * head_dim_v * 2);
#pragma unroll
        for (int32_t i = 0; i < row_tiles; ++i) {
          mma_m16n8k16<dtype>(output[i][n], p[step][i], v[0], v[1]);
          mma_m16n8k16<dtype>(output[i][n + 1], p[step][i], v[2], v[3]);
        }
      }
  }

  // Infinite and NaN values of keys that only some queries see. To a tensor core 0 * NaN is NaN, for those that do not see
  // the key as well; so the tiles with masks are cleared of them (clear_nonfinite), and here, from memory, the queries that do
  // see them get them. Rare, so it may be slow; without tensor cores it needs no registers in the loop, nor a barrier.
  static __device__ __forceinline__ void add_nonfinite_values(Output &output, const AttentionFwdParams &params, const BlockWork &work,
                                                              int32_t first_key, int32_t key_end, int32_t first_row) {
    const int32_t lane = thread_anew() % 32, first_column = lane % 4 * 2;
    const HeadRows rows = head_rows(params.value, work.batch, work.head_kv);
    int64_t visible[row_tiles][2];  // keys 0 .. visible-1
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half)
        visible[i][half] = causal ? int64_t{first_row} + i * 16 + half * 8 + lane / 4 + params.causal_offset + 1 : params.seqlen_kv;
    const int32_t end = key_end < params.seqlen_kv ? key_end : params.seqlen_kv;
#pragma unroll 1
    for (int32_t key = first_key; key < end; ++key) {
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          const int32_t column = n * 8 + first_column + c;
          if (column >= params.head_dim_v) continue;
          const uint16_t bits = rows.first[key * rows.stride + column];
          if (nonfinite_halves<dtype>(bits) == 0) continue;
          const float value = to_float<dtype>(bits);
#pragma unroll
          for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
            for (int32_t half = 0; half < 2; ++half)
              if (key < visible[i][half]) output[i][n][half * 2 + c] += value;
        }
    }
  }

  // A negative softmax scale turns the largest score into the smallest; the queries of the tile change sign instead.
  template <int32_t tile_q, int32_t block_threads>
  static __device__ __forceinline__ void negate_tile(SharedAddress tile) {
    for (int32_t chunk = static_cast<int32_t>(threadIdx.x); chunk < tile_q * head_dim / 8; chunk += block_threads) {
      uint4 value = load_shared_16(tile + chunk * 16);
      value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;
      store_shared_16(tile + chunk * 16, value);
    }
  }
};

}  // namespace flashcore::kernels
