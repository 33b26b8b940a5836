// SPDX-License-Identifier: Apache-2.0
//
// One warp's share of attention with mma.sync: scores, softmax and probabilities in registers. What the kernels that use it
// differ in is how keys and values reach shared memory, and who merges what. FlashAttention-2 (arXiv 2307.08691) is the
// algorithm.
#pragma once

#include "attention_fwd/params.h"
#include "parts/block_work.cuh"
#include "parts/long_sum.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"
#include "parts/variant.cuh"

namespace flashcore::kernels {

struct MmaShape {
  int32_t dtype, head_dim, head_dim_v, tile_kv;
  int32_t row_tiles;  // mma tiles down: a warp has 16 * row_tiles query rows
  int32_t threads;    // of the group that loads and shares a key tile
  bool whole_block;   // the group is the block
  Mask mask;
  bool q_in_registers;
};

template <MmaShape shape, typename Variant, typename KeyRows>
struct MmaAttention {
  static constexpr int32_t dtype = shape.dtype, head_dim = shape.head_dim, head_dim_v = shape.head_dim_v;
  static constexpr int32_t tile_kv = shape.tile_kv, threads = shape.threads;
  static constexpr int32_t row_tiles = shape.row_tiles, warp_rows = 16 * row_tiles;
  static constexpr bool q_in_registers = shape.q_in_registers;
  static constexpr int32_t key_columns = tile_kv / 8;       // mma tiles across the scores
  static constexpr int32_t value_columns = head_dim_v / 8;  // mma tiles across the output
  static constexpr int32_t depth_steps = head_dim / 16;     // mma steps of Q.K^T
  static constexpr int32_t key_steps = tile_kv / 16;        // mma steps of P.V
  static_assert(tile_kv % 16 == 0 && head_dim % 32 == 0 && head_dim_v % 32 == 0);

  using Rows = SwizzledRows<head_dim>;  // of Q and K
  using ValueRows = SwizzledRows<head_dim_v>;
  using TileGroup = Group<threads, shape.whole_block>;
  using QueryFragments = uint32_t[q_in_registers ? depth_steps : 1][row_tiles][4];
  using Scores = float[row_tiles][key_columns][4];
  using Probabilities = uint32_t[key_steps][row_tiles][4];
  using Output = float[row_tiles][value_columns][4];
  static constexpr int32_t row_of_output(int32_t i) { return i / 4 / value_columns * 2 + i % 4 / 2; }
  using OutputSum = LongSum<64, Output, row_tiles * 2, row_of_output>;  // by tiles

  // Per thread: two rows of every row tile; row_sum is this thread's share of the columns. What the reference is, see Softmax.
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

  static __device__ __forceinline__ void load_query_step(uint32_t (&fragments)[row_tiles][4], SharedAddress query_lane,
                                                         int32_t step) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
      load_matrix_x4(fragments[i], Rows::advance(query_lane, step * 2) + i * 16 * head_dim * 2);
  }

  // scores = Q . K^T
  static __device__ __forceinline__ void multiply_query_key(Scores &scores, const QueryFragments &query,
                                                            SharedAddress query_lane, SharedAddress key_lane) {
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
          if constexpr (q_in_registers)
            multiply(query[step][i]);
          else
            multiply(fresh[i]);
        }
      }
    }
  }

  // What the variant makes of the scores. first_key: of the tile; first_row: of the warp.
  static __device__ __forceinline__ void change_scores(Scores &scores, const AttentionFwdParams &params,
                                                       const BlockWork &work, int32_t first_key, int32_t first_row) {
    const int32_t lane = thread_anew() % 32, query = first_row + lane / 4, key = first_key + lane % 4 * 2;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c)
          scores[i][j][c] = varied_but_for_tensors<Variant>(
              scores[i][j][c], {work.batch, work.head_q, query + i * 16 + c / 2 * 8, key + j * 8 + c % 2}, params);
    if constexpr (has_bias<Variant>)
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
        for (int32_t half = 0; half < 2; ++half)
          add_bias(scores[i], half, params, {work.batch, work.head_q, query + i * 16 + half * 8, key});
  }
  using ShownByMask = ShownKeys<row_tiles, key_columns>;
  static __device__ __forceinline__ ShownByMask shown_by_mask(const AttentionFwdParams &params, const BlockWork &work,
                                                              int32_t first_key, int32_t first_row) {
    const int32_t lane = thread_anew() % 32;
    ShownByMask shown;
    shown.load(params, [&](int32_t i, int32_t half) {
      return ScorePlace{work.batch, work.head_q, first_row + i * 16 + half * 8 + lane / 4, first_key + lane % 4 * 2};
    });
    return shown;
  }
  static __device__ __forceinline__ float scale_log2(const AttentionFwdParams &params) {
    return softmax_scale_log2<Variant>(params);
  }

  // Keys that a query may not see get -infinity. By selection, never by arithmetic: a masked NaN is gone.
  static __device__ __forceinline__ void mask_scores(Scores &scores, const AttentionFwdParams &params,
                                                     int32_t first_key, int32_t first_row) {
    const int32_t lane = thread_anew() % 32;
    const auto runs = visibility<shape.mask>(params).runs_near(first_row, first_key);
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        // Counted from this lane's first column, so that columns are compared as constants.
        const auto run = runs.of(i * 16 + half * 8 + lane / 4, lane % 4 * 2);
#pragma unroll
        for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c)
            if (!run.sees(j * 8 + c)) scores[i][j][half * 2 + c] = -infinity;
      }
  }

  // ---- Softmax. A row's reference is what is subtracted from its scores, so that no exponential overflows. Two ways:
  //
  // Exact steps (raise_references, exponentiate): the reference is the largest score so far, not scaled. The largest
  // probability is then 1 to the last bit, whatever the size of the scores, and all else that has to be right for every
  // input is so: rows without a key, scores of -infinity.
  //
  // Optimistic steps (settle_references once, then exponentiate_optimistically): the reference, scaled now, stays where the
  // exact steps left it: no maximum, no shuffle, no branch between the product and the exponentials. What a larger score does
  // shows in the tile's own sum, which is compared with the sum of the tiles before (watch_large_probabilities): a key that
  // outweighs them is looked at, its rounding error is taken back, and the reference follows it. Keys that only add up
  // raise nothing: a float16 probability keeps its 11 bits down to 2^-14 of the reference. Where a probability outgrows 16
  // bits all the same, or the scores are so large that the reference is rounded by more than a probability is, the row is
  // lost, and its query tile is computed again in exact steps.

  // O and the sum of one row, to a reference that is higher by a factor of 1 / rescale.
  static __device__ __forceinline__ void rescale_row(Output &output, RowState &state, int32_t i, int32_t half,
                                                     float rescale) {
    state.row_sum[i][half] *= rescale;
#pragma unroll
    for (int32_t n = 0; n < value_columns; ++n) {
      output[i][n][half * 2] *= rescale;
      output[i][n][half * 2 + 1] *= rescale;
    }
  }

  static __device__ __forceinline__ void raise_references(const Scores &scores, Output &output, RowState &state,
                                                          float scale_log2) {
    float new_reference[row_tiles][2];
    bool grew = false, any_before = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        float tile_max = fmaxf(scores[i][0][half * 2], scores[i][0][half * 2 + 1]);
#pragma unroll
        for (int32_t j = 1; j < key_columns; ++j)
          tile_max = fmaxf(tile_max, fmaxf(scores[i][j][half * 2], scores[i][j][half * 2 + 1]));
        new_reference[i][half] = fmaxf(state.reference[i][half], quad_max(tile_max));
        grew |= new_reference[i][half] > state.reference[i][half];
        any_before |= state.reference[i][half] != -infinity;
      }
    if (!__any_sync(0xffffffffu, grew)) return;
    if (__any_sync(0xffffffffu, any_before)) {  // else there is nothing to move yet
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
        for (int32_t half = 0; half < 2; ++half)
          rescale_row(output, state, i, half,
                      exp2_approx((state.reference[i][half] - subtrahend(new_reference[i][half])) * scale_log2));
    }
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) state.reference[i][half] = new_reference[i][half];
  }

  // Scores become probabilities. The reference is subtracted before the scale is multiplied, one instruction more than a fused
  // product, so that scores may be of any size. (Fused but for tiles that are computed again: the branch costs more.)
  static __device__ __forceinline__ void exponentiate(Scores &scores, RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float reference = subtrahend(state.reference[i][half]);
#pragma unroll
        for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c) {
            float &score = scores[i][j][half * 2 + c];
            score = exp2_approx((score - reference) * scale_log2);
            state.row_sum[i][half] += score;
          }
      }
  }

  // From here on a state holds `sum_factor` times the sums, with which watch_large_probabilities saves an instruction.
  static constexpr float sum_factor = 0.35f;
  static __device__ __forceinline__ void settle_references(RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        state.reference[i][half] *= scale_log2;
        state.row_sum[i][half] *= sum_factor;
      }
  }

  // Scores become probabilities by the settled reference; this thread's sums of the tile. A row that waits for its first key
  // has a reference of -infinity and becomes infinite or NaN here, so that it is lost.
  using TileSums = float[row_tiles][2];
  static __device__ __forceinline__ void exponentiate_optimistically(Scores &scores, TileSums &tile_sums,
                                                                     const RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        tile_sums[i][half] = 0.0f;
#pragma unroll
        for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c) {
            float &score = scores[i][j][half * 2 + c];
            score = exp2_approx(fmaf(score, scale_log2, -state.reference[i][half]));
            tile_sums[i][half] += score;
          }
      }
  }

  // A probability from this share of the row's sum so far on is put right. Its error counts by its share, and with exact maxima the largest
  // key has none, so that what is left must be no more than the second largest one's. More in the first tiles, where random scores
  // reach it and many keys are still to come; the first ones of all are left to exact steps.
  static constexpr float dominant_share = 0.07f, dominant_share_of_first_tile = 0.35f;
  static constexpr int32_t exact_tiles = 2;
  // Probabilities from which on the reference follows, and from which on the row is lost.
  static constexpr float high_probability = 256.0f, highest_probability = 65504.0f;

  // After P.V of an optimistic step; adds the tile's sums to the rows'. `value_tile` still holds V. A thread has a fourth of a row,
  // so that a key of a twelfth shows by a third of what the thread has summed before; so do the first four tiles or so of any row, and
  // random scores later on do not. tiles_before() says how many tiles the rows have seen before this one.
  template <typename TilesBefore>
  static __device__ __forceinline__ void watch_large_probabilities(Output &output, RowState &state,
                                                                   const TileSums &tile_sums, const Probabilities &p,
                                                                   SharedAddress value_tile, TilesBefore tiles_before) {
    bool suspicious = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        suspicious |= tile_sums[i][half] > state.row_sum[i][half];
        state.row_sum[i][half] = fmaf(tile_sums[i][half], sum_factor, state.row_sum[i][half]);
      }
    if (!__any_sync(0xffffffffu, suspicious)) return;
    // Most often there is nothing but a short row, so the first look is short: what the thread has of the tile for the one probability.
    const float share_now = fmaf(dominant_share_of_first_tile / sum_factor,
                                 reciprocal_approx(static_cast<float>(tiles_before())), dominant_share / sum_factor);
    float enough[row_tiles][2];
    bool any_large = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        enough[i][half] = fminf(quad_sum(state.row_sum[i][half]) * share_now, high_probability);
        any_large |= tile_sums[i][half] >= enough[i][half];
      }
    if (__builtin_expect(!__any_sync(0xffffffffu, any_large), 1)) return;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half)
        if (__any_sync(0xffffffffu, tile_sums[i][half] >= enough[i][half]))
          follow_large_probability(output, state, i, half, enough[i][half], tile_sums[i][half], p, value_tile);
  }

  // function(half, key, probability) for this thread's probabilities of a row tile; key less the lane's first. By a product with
  // ones: as operands of other instructions they would have to be copied in every step.
  template <typename Function>
  static __device__ __forceinline__ void for_each_probability(const Probabilities &p, int32_t i, Function function) {
    constexpr uint32_t one = dtype == dtype_float16 ? 0x3c00 : 0x3f80;
    const int32_t lane = thread_anew() % 32;
    const uint32_t identity = (lane % 4 * 2 == lane / 4 ? one : 0) | (lane % 4 * 2 + 1 == lane / 4 ? one << 16 : 0);
#pragma unroll
    for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
      for (int32_t part = 0; part < 2; ++part) {
        float c[4] = {};
        mma_m16n8k16<dtype>(c, p[step][i], part == 0 ? identity : 0, part == 0 ? 0 : identity);
#pragma unroll
        for (int32_t n = 0; n < 4; ++n) function(n / 2, step * 16 + part * 8 + n % 2, c[n]);
      }
  }

  // One row of each quad: is there a probability of at least `enough`? What rounding took from a thread's probabilities of the tile is,
  // but for little, what it took from the large one: so that goes to the large one's value.
  static __device__ __forceinline__ void follow_large_probability(Output &output, RowState &state, int32_t i,
                                                                  int32_t half, float enough, float tile_sum,
                                                                  const Probabilities &p, SharedAddress value_tile) {
    const int32_t lane = thread_anew() % 32;
    float largest = 0.0f;
    for_each_probability(p, i, [&](int32_t of_half, int32_t, float probability) {
      if (of_half == half) largest = fmaxf(largest, probability);
    });
    if (!__any_sync(0xffffffffu, largest >= enough)) return;
    float rounded_sum = 0.0f;
    int32_t key = 0;  // of the largest, in the tile
    for_each_probability(p, i, [&](int32_t of_half, int32_t of_key, float probability) {
      if (of_half != half) return;
      rounded_sum += probability;
      if (probability == largest) key = of_key;
    });
    key += lane % 4 * 2;
    const float row_largest = quad_max(largest);
    const bool held = row_largest <= highest_probability;
    if (!held) state.row_sum[i][half] = not_a_number;
    const float lost_by_rounding = largest >= enough && held ? tile_sum - rounded_sum : 0.0f;
#pragma unroll 1
    for (int32_t owner = 0; owner < 4; ++owner) {
      const float missing = __shfl_sync(0xffffffffu, lost_by_rounding, lane / 4 * 4 + owner);
      const int32_t row = __shfl_sync(0xffffffffu, key, lane / 4 * 4 + owner);
      if (!__any_sync(0xffffffffu, missing != 0.0f)) continue;
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n) {
        const uint32_t pair = load_shared_4(value_tile + ValueRows::offset(row, n) + lane % 4 * 4);
        const uint32_t finite = pair & ~nonfinite_halves<dtype>(pair);  // infinity times a negative error would be NaN
        output[i][n][half * 2] = fmaf(missing, to_float<dtype>(static_cast<uint16_t>(finite)), output[i][n][half * 2]);
        output[i][n][half * 2 + 1] =
            fmaf(missing, to_float<dtype>(static_cast<uint16_t>(finite >> 16)), output[i][n][half * 2 + 1]);
      }
    }
    if (row_largest >= high_probability && held) {
      const uint32_t exponent =
          __float_as_uint(row_largest) >> 23;  // by whole powers of two, so that nothing is rounded
      state.reference[i][half] += static_cast<float>(static_cast<int32_t>(exponent) - 127);
      rescale_row(output, state, i, half, __uint_as_float((254 - exponent) << 23));
    }
  }

  // Above the largest reference, float32 holds it to fewer bits than a probability has.
  static constexpr float largest_reference = 4096.0f;
  // May optimistic steps follow, as far as the rows of a warp go? Where keys are hidden anywhere, or biases are large, they may wait for it.
  static __device__ __forceinline__ bool has_fit_references(const RowState &state, float scale_log2) {
    float largest = 0.0f;
#pragma unroll
    for (int32_t i = 0; i < row_tiles * 2; ++i) largest = fmaxf(largest, fabsf(state.reference[i / 2][i % 2]));
    return !__any_sync(0xffffffffu, !(largest * scale_log2 <= largest_reference));
  }
  // Does O or a sum hold what is not finite, perhaps of a hidden key?
  static __device__ __forceinline__ bool is_spoilt(const Output &output, const RowState &state) {
    return !(zero_if_finite(output) + zero_if_finite(state.row_sum) == 0.0f);
  }

  // After the last step: is a row to be computed again? An infinite probability has left no finite number in the row's first column. A row that
  // never had a reference has seen no key, or else its sum is not finite.
  static __device__ __forceinline__ bool is_lost(const Output &output, const RowState &state) {
    bool lost = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float reference = state.reference[i][half];
        lost |= !(state.row_sum[i][half] < infinity) || !(fabsf(output[i][0][half * 2]) < infinity) ||
                !(fabsf(reference) <= largest_reference || reference == -infinity);
      }
    return lost;
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
  static __device__ __forceinline__ void multiply_probability_value(Output &output, const Probabilities &p,
                                                                    SharedAddress value_lane) {
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
  static __device__ __forceinline__ void add_nonfinite_values(Output &output, const AttentionFwdParams &params,
                                                              const BlockWork &work, int32_t first_key, int32_t key_end,
                                                              int32_t first_row) {
    const int32_t lane = thread_anew() % 32, first_column = lane % 4 * 2;
    const auto rows = KeyRows::values(params, work.batch, work.head_kv);
    KeyRun<shape.mask, int64_t> run[row_tiles][2];
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half)
        run[i][half] = visibility<shape.mask>(params).band_of(int64_t{first_row} + i * 16 + half * 8 + lane / 4);
    const int32_t end = key_end < params.seqlen_kv ? key_end : params.seqlen_kv;
#pragma unroll 1
    for (int32_t key = first_key; key < end; ++key) {
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          const int32_t column = n * 8 + first_column + c;
          if (column >= params.head_dim_v) continue;
          const uint16_t bits = rows.row(key)[column];
          if (nonfinite_halves<dtype>(bits) == 0) continue;
          const float value = to_float<dtype>(bits);
#pragma unroll
          for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
            for (int32_t half = 0; half < 2; ++half) {
              if constexpr (hides_keys<Variant>)
                if (!key_is_shown<Variant>(params,
                                           {work.batch, work.head_q, first_row + i * 16 + half * 8 + lane / 4, key}))
                  continue;
              if (run[i][half].sees(key)) output[i][n][half * 2 + c] += value;
            }
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
