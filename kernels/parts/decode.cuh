// SPDX-License-Identifier: Apache-2.0
//
// Attention of few query rows with many keys, as when a model writes one token after the other: all query heads of a key head
// are rows of one small tile, so that each key is read once, and every warp of a block (and every block of a cluster) takes
// keys of its own; the partial outputs are merged in shared memory. Where that leaves much of a GPU idle, the blocks along the grid's y
// have a part of the keys each, and what they have is merged by a second launch.
//
// Keys and values go from memory straight into the registers of mma.sync, with no shared memory and no barrier on the way.
// That takes a product with the keys as rows, S^T = K.Q^T and O^T = V^T.P^T, and freedom in the order of what is summed over:
//   S^T  lane l = 4g + t reads eight neighbouring columns, 32c + 8t .. +7, of key g and of key g + 8: sixteen bytes each. They are
//        its A fragments of two steps of depth, if Q's columns are taken in the same order.
//   O^T  the lane reads eight neighbouring columns, 64c + 8g .. +7, of keys 2t, 2t+1, 2t+8, 2t+9. The columns 8g + 2j and 8g + 2j+1
//        are rows g and g + 8 of the j-th A tile, once the keys of a pair are interleaved (one instruction per register).
// So every load fetches whole sectors, and rows of O^T are columns of O in an order that only the last store has to know.
#pragma once

#include "attention_fwd/decode.h"
#include "attention_fwd/params.h"
#include "parts/cluster.cuh"
#include "parts/decode_loads.cuh"
#include "parts/grid_split.cuh"
#include "parts/long_sum.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/output_rows.cuh"
#include "parts/partial_rows.cuh"
#include "parts/row_end.cuh"
#include "parts/sequence.cuh"
#include "parts/tile_io.cuh"
#include "parts/variant.cuh"

namespace flashcore::kernels {

template <DecodeShape shape, typename Variant, typename KeyRows, typename OutputRows>
struct Decode {
  static constexpr int32_t dtype = shape.dtype, tile_q = shape.tile_q, row_tiles = tile_q / 8,
                           key_groups = shape.tile_kv / 16;
  static constexpr int32_t threads = shape.warps * 32, workers = shape.warps * shape.blocks;
  static constexpr int32_t key_chunks = (shape.head_dim + 31) / 32, value_chunks = (shape.head_dim_v + 63) / 64;
  // Are values under way while their keys are multiplied? Registers do not hold both of 256 columns.
  static constexpr bool values_early = shape.head_dim + shape.head_dim_v <= 256;

  using Params = decode::Params;
  using Work = decode::BlockRows;
  static __device__ __forceinline__ Work work(const Params &params, uint32_t block) {
    return decode::block_rows<tile_q, shape.blocks, shape.rows>(params, block);
  }
  // The first key of the grid's part that the block is in.
  static __device__ __forceinline__ int32_t first_of_part(const Params &params) {
    return block_y_anew() * params.split.keys_per_part;
  }

  // An end that stays is one that moves far off: one module does for both.
  static constexpr Mask mask = mask_of(true, shape.window);
  // Keys begin .. end - 1 of the part are seen by a row. Rows past the last one count as the last.
  static __device__ __forceinline__ auto keys_of(const Params &params, const Work &work, int32_t row) {
    const int32_t query = min(work.first_row + row, work.row_count - 1) / params.heads_per_kv;
    return visibility<mask>(params).keys_of(query);
  }
  static __device__ __forceinline__ int32_t end_seen(const Params &params, const Work &work, int32_t row) {
    const auto end = static_cast<int32_t>(keys_of(params, work, row).end);
    const int32_t first = first_of_part(params), most = params.split.keys_per_part;
    return end - first < most ? end : first + most;
  }
  // Where begins move there is one part.
  static __device__ __forceinline__ int32_t begin_seen(const Params &params, const Work &work, int32_t row) {
    return mask.begin_moves ? static_cast<int32_t>(keys_of(params, work, row).begin) : first_of_part(params);
  }

  using Loads = DecodeLoads<shape, KeyRows>;
  using Keys = typename Loads::Keys;
  using Values = typename Loads::Values;

  // [0] key g, row 2t; [1] key g, row 2t+1; [2] and [3] key g+8.
  using Scores = float[key_groups][row_tiles][4];
  // Probabilities of rows g: keys 2t 2t+1, and keys 2t+8 2t+9.
  using Probabilities = uint32_t[key_groups][row_tiles][2];
  // Of the tile for columns 64c + 8g + 2j (+1): [0] row 2t, [1] row 2t+1; [2] and [3] the next column.
  using Output = float[value_chunks][4][row_tiles][4];

  static constexpr int32_t row_of_output(int32_t i) { return i / 4 % row_tiles * 2 + i % 2; }
  using OutputSum = LongSum<256 / key_groups, Output, row_tiles * 2, row_of_output>;

  // Of rows 2t and 2t+1. The reference is the largest score so far, so that the largest probability is 1 to the last bit; `sum`
  // is this lane's share until the end. Scores are scaled when the reference is subtracted, so that they may be of any size.
  struct RowState {
    float reference[row_tiles][2], sum[row_tiles][2];
  };

  static __device__ __forceinline__ void multiply_key_query(Scores &scores, const Keys &keys, SharedAddress query,
                                                            int32_t lane) {
#pragma unroll
    for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
      for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
        for (int32_t x = 0; x < 4; ++x) scores[i][n][x] = 0.0f;
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
      for (int32_t c = 0; c < key_chunks; ++c) {
        const uint4 rows = load_shared_16(Loads::query_chunk(query, n, c, lane));
#pragma unroll
        for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
          for (int32_t w = 0; w < 4; w += 2) {
            const uint32_t a[4] = {Loads::word(keys.chunk[i][0][c], w), Loads::word(keys.chunk[i][1][c], w),
                                   Loads::word(keys.chunk[i][0][c], w + 1), Loads::word(keys.chunk[i][1][c], w + 1)};
            mma_m16n8k16<dtype>(scores[i][n], a, Loads::word(rows, w), Loads::word(rows, w + 1));
          }
      }
  }

  // Which keys of the step the rows 2t and 2t+1 see. keys_left: until the last key that the last row sees.
  struct Seen {
    KeyRun<mask, int32_t> keys[row_tiles][2];
    __device__ __forceinline__ Seen(const Params &params, int32_t keys_left, int32_t lane) {
      const Work here = work_anew(params);
      const int32_t first_key = end_seen(params, here, tile_q - 1) - keys_left;
#pragma unroll
      for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
        for (int32_t r = 0; r < 2; ++r) {
          const int32_t row = n * 8 + lane % 4 * 2 + r;
          keys[n][r] = {mask.begin_moves ? begin_seen(params, here, row) - first_key : 0,
                        end_seen(params, here, row) - first_key};
        }
    }
  };

  static __device__ __forceinline__ void mask_scores(Scores &scores, const Params &params, int32_t keys_left,
                                                     int32_t lane) {
    const Seen seen(params, keys_left, lane);
#pragma unroll
    for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
      for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
        for (int32_t x = 0; x < 4; ++x)
          if (!seen.keys[n][x % 2].sees(i * 16 + x / 2 * 8 + lane / 4)) scores[i][n][x] = -infinity;
  }

  static __device__ __forceinline__ ScorePlace place_of(const Params &params, const Work &work, int32_t row,
                                                        int32_t key) {
    const int32_t packed_row = work.first_row + row;
    return {work.batch, work.head_kv * params.heads_per_kv + packed_row % params.heads_per_kv,
            packed_row / params.heads_per_kv, key};
  }
  // What the variant makes of the scores.
  static __device__ __forceinline__ void change_scores(Scores &scores, const Params &params, int32_t keys_left,
                                                       int32_t lane) {
    const Work here = work_anew(params);
    const int32_t first_key = end_seen(params, here, tile_q - 1) - keys_left + lane / 4;
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) {
        const ScorePlace first = place_of(params, here, n * 8 + lane % 4 * 2 + r, first_key);
#pragma unroll
        for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
          for (int32_t h = 0; h < 2; ++h) {
            float &score = scores[i][n][h * 2 + r];
            score = varied_score<Variant>(score, {first.batch, first.head_q, first.query, first.key + i * 16 + h * 8},
                                          params);
          }
      }
  }
  static __device__ __forceinline__ float scale_log2(const Params &params) {
    return softmax_scale_log2<Variant>(params);
  }

  // Over the eight lanes that hold a row's keys.
  template <typename Combine>
  static __device__ __forceinline__ float over_keys(float x, Combine combine) {
#pragma unroll
    for (int32_t distance = 4; distance < 32; distance *= 2) x = combine(x, __shfl_xor_sync(0xffffffffu, x, distance));
    return x;
  }

  static __device__ __forceinline__ void raise_references(const Scores &scores, Output &output, RowState &state,
                                                          float scale_log2) {
    bool high = false;
#pragma unroll
    for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
      for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
        for (int32_t x = 0; x < 4; ++x) high |= scores[i][n][x] > state.reference[n][x % 2];
    if (!__any_sync(0xffffffffu, high)) return;
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) {
        float largest = state.reference[n][r];
#pragma unroll
        for (int32_t i = 0; i < key_groups; ++i) largest = fmaxf(largest, fmaxf(scores[i][n][r], scores[i][n][r + 2]));
        largest = over_keys(largest, [](float a, float b) { return fmaxf(a, b); });
        const float weight = exp2_approx((state.reference[n][r] - subtrahend(largest)) * scale_log2);
        state.reference[n][r] = largest;
        state.sum[n][r] *= weight;
#pragma unroll
        for (int32_t c = 0; c < value_chunks; ++c)
#pragma unroll
          for (int32_t j = 0; j < 4; ++j) {
            output[c][j][n][r] *= weight;
            output[c][j][n][r + 2] *= weight;
          }
      }
  }

  static __device__ __forceinline__ void exponentiate(Probabilities &probabilities, const Scores &scores,
                                                      RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n) {
      const float reference[2] = {subtrahend(state.reference[n][0]), subtrahend(state.reference[n][1])};
#pragma unroll
      for (int32_t i = 0; i < key_groups; ++i) {
        float p[4];
#pragma unroll
        for (int32_t x = 0; x < 4; ++x) {
          p[x] = exp2_approx((scores[i][n][x] - reference[x % 2]) * scale_log2);
          state.sum[n][x % 2] += p[x];
        }
        probabilities[i][n][0] = transpose_8x8(pack2<dtype>(p[0], p[1]));
        probabilities[i][n][1] = transpose_8x8(pack2<dtype>(p[2], p[3]));
      }
    }
  }

  static __device__ __forceinline__ void multiply_value_probability(Output &output, const Values &values,
                                                                    const Probabilities &probabilities) {
#pragma unroll
    for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
      for (int32_t c = 0; c < value_chunks; ++c)
#pragma unroll
        for (int32_t j = 0; j < 4; ++j) {
          const uint32_t w[4] = {Loads::word(values.chunk[i][0][c], j), Loads::word(values.chunk[i][1][c], j),
                                 Loads::word(values.chunk[i][2][c], j), Loads::word(values.chunk[i][3][c], j)};
          const uint32_t a[4] = {__byte_perm(w[0], w[1], 0x5410), __byte_perm(w[0], w[1], 0x7632),
                                 __byte_perm(w[2], w[3], 0x5410), __byte_perm(w[2], w[3], 0x7632)};
#pragma unroll
          for (int32_t n = 0; n < row_tiles; ++n)
            mma_m16n8k16<dtype>(output[c][j][n], a, probabilities[i][n][0], probabilities[i][n][1]);
        }
  }

  // The same product key by key, which leaves out what a row does not see: for steps where an infinity or a NaN, which 0 times
  // would make NaN, lies at a key that some rows see and others do not. Rare, and read from memory once more.
  static __device__ __forceinline__ void add_values_one_by_one(Output &output, const Params &params,
                                                               const Probabilities &probabilities, int32_t keys_left,
                                                               int32_t lane) {
    const Seen seen(params, keys_left, lane);
    const Work here = work_anew(params);
    const auto rows = KeyRows::values(params, here.batch, here.head_kv);
    const int32_t first_key = end_seen(params, here, tile_q - 1) - keys_left;
#pragma unroll 1
    for (int32_t k = 0; k < 16 * key_groups; ++k) {
      uint32_t held[row_tiles] = {};  // this lane's register that may hold the key's probabilities
#pragma unroll
      for (int32_t i = 0; i < key_groups; ++i)
#pragma unroll
        for (int32_t h = 0; h < 2; ++h)
#pragma unroll
          for (int32_t n = 0; n < row_tiles; ++n)
            if (k / 8 == i * 2 + h) held[n] = probabilities[i][n][h];
#pragma unroll
      for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
        for (int32_t r = 0; r < 2; ++r) {
          const uint32_t pair = __shfl_sync(0xffffffffu, held[n], (lane % 4 * 2 + r) * 4 + k % 8 / 2);
          const float p = to_float<dtype>(static_cast<uint16_t>(k % 2 == 0 ? pair : pair >> 16));
          if (!seen.keys[n][r].sees(k)) continue;
          if (!key_is_shown<Variant>(params, place_of(params, here, n * 8 + lane % 4 * 2 + r, first_key + k))) continue;
#pragma unroll
          for (int32_t c = 0; c < value_chunks; ++c) {
            const int32_t column = c * 64 + lane / 4 * 8;
            const uint4 chunk = Loads::load_chunk(rows.row(first_key + k) + column, column < params.head_dim_v);
#pragma unroll
            for (int32_t j = 0; j < 4; ++j) {
              output[c][j][n][r] =
                  fmaf(p, to_float<dtype>(static_cast<uint16_t>(Loads::word(chunk, j))), output[c][j][n][r]);
              output[c][j][n][r + 2] =
                  fmaf(p, to_float<dtype>(static_cast<uint16_t>(Loads::word(chunk, j) >> 16)), output[c][j][n][r + 2]);
            }
          }
        }
    }
  }

  // A partial result in shared memory: of a warp, or of a block.
  using Partial = PartialRows<tile_q, shape.head_dim_v>;
  using Merged = typename Partial::Merged;
  static constexpr int32_t query_at = (shape.warps + (shape.blocks > 1 ? 1 : 0)) * Partial::floats,
                           shared_floats = query_at + row_tiles * key_chunks * 128;

  static __device__ __forceinline__ void leave_partial(float *partial, const Output &output, RowState &state,
                                                       int32_t lane) {
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) {
        const int32_t row = n * 8 + lane % 4 * 2 + r;
        const float sum = over_keys(state.sum[n][r], [](float a, float b) { return a + b; });
        if (lane / 4 == 0) {
          partial[Partial::reference_at(row)] = state.reference[n][r];
          partial[Partial::sum_at(row)] = sum;
        }
#pragma unroll
        for (int32_t c = 0; c < value_chunks; ++c) {
          const int32_t column = c * 64 + lane / 4 * 8;
          if (column >= shape.head_dim_v) continue;
          float4 *const place = reinterpret_cast<float4 *>(partial + row * Partial::pitch + column);
          place[0] =
              make_float4(output[c][0][n][r], output[c][0][n][r + 2], output[c][1][n][r], output[c][1][n][r + 2]);
          place[1] =
              make_float4(output[c][2][n][r], output[c][2][n][r + 2], output[c][3][n][r], output[c][3][n][r + 2]);
        }
      }
  }

  static __device__ __forceinline__ void store_part(const Params &params, const Work &work, int32_t packed_row,
                                                    int32_t column, const Merged &merged) {
    const auto place = WorkspaceRow::of<shape.rows>(
        params, params.split, PackedRow::index<shape.rows>(params, work.batch, work.head_kv, packed_row),
        block_y_anew());
    if (column < params.head_dim_v) *reinterpret_cast<float4 *>(place.output + column) = merged.output;
    if (column == 0) *place.state = make_float2(merged.reference, merged.sum);
  }
  // Is the row merged by the second launch? Sequences of a ragged batch may be shorter than a part.
  static __device__ __forceinline__ bool has_parts(const Params &params, int32_t query) {
    if constexpr (shape.rows == rows_dense) return params.split.parts > 1;
    return visibility<mask>(params).keys_of(query).end > params.split.keys_per_part;
  }
  static __device__ __forceinline__ void store(const Params &params, const Work &work, int32_t row, int32_t column,
                                               const Merged &merged) {
    const int32_t packed_row = work.first_row + row, query = packed_row / params.heads_per_kv;
    if (packed_row >= work.row_count) return;
    if (has_parts(params, query)) return store_part(params, work, packed_row, column, merged);
    if (shape.rows != rows_dense && block_y_anew() > 0) return;  // the first part has all of the row's keys
    const int32_t head = work.head_kv * params.heads_per_kv + packed_row % params.heads_per_kv;
    const auto of_row = [&] { return RowSum{merged.reference, scale_log2(params), merged.sum}; };
    const RowEnd<Variant> end(params, head, of_row);
    const float inverse = end.inverse(merged.sum);
    const auto rows = OutputRows::of(params, work.batch, head);
    if (column < params.head_dim_v)
      rows.store_4(query, column, merged.output.x * inverse, merged.output.y * inverse, merged.output.z * inverse,
                   merged.output.w * inverse);
    if (column == 0) end.write_lse(params, work.batch, head, query, of_row);
  }

  // A block whose tile is behind the sequence's last row, or whose part is behind its last key: all of a cluster have nothing then. The first
  // part is everybody's, since rows may see no key at all.
  static __device__ __forceinline__ bool has_nothing(const Params &given, const Work &work, const Sequence &sequence) {
    return work.first_row >= sequence.queries * given.heads_per_kv ||
           (block_y_anew() > 0 && sequence.keys <= first_of_part(given));
  }
  static __device__ __forceinline__ Work work_anew(const Params &params) { return work(params, block_anew()); }

  static __device__ __forceinline__ void run(const Params &given, float *shared) {
    const Work first_look = work(given, blockIdx.x);
    const Sequence sequence = sequence_of<shape.rows>(given, first_look.batch);
    if (shape.rows != rows_dense && has_nothing(given, first_look, sequence)) return;
    const Params &params = params_of_sequence<shape.rows, threads>(given, shared + shared_floats, sequence,
                                                                   first_look.batch, first_look.head_kv);
    const SharedAddress query = shared_address(shared + query_at);
    // Steps are dealt out to the warps of all blocks in turn, so that at any time they read from one stretch of memory.
    constexpr int32_t stride = workers * shape.tile_kv;
    // The first key of this warp: the block's are those from the first that its first row sees on.
    const auto of_warp = [&](const Work &work) {
      return begin_seen(params, work, 0) + (work.rank * shape.warps + thread_anew() / 32) * shape.tile_kv;
    };
    typename Loads::KeyCursor key_cursor;
    typename Loads::ValueCursor value_cursor;
    int32_t first_key, keys_left,
        masked_left;  // of the step; until the last key that a row sees; until the first that one does not see
    [[maybe_unused]] int32_t whole_left;  // what keys_left is where every row's keys have begun
    {
      const int32_t thread = static_cast<int32_t>(threadIdx.x), lane = thread % 32;
      const Work here = work(params, blockIdx.x);
      first_key = of_warp(here);
      keys_left = end_seen(params, here, tile_q - 1) - first_key;
      masked_left = end_seen(params, here, 0) - first_key;
      if constexpr (mask.begin_moves)
        whole_left = end_seen(params, here, tile_q - 1) - begin_seen(params, here, tile_q - 1);
      key_cursor.start(params, here.batch, here.head_kv, first_key, Keys::first_key(lane), Keys::first_column(lane));
      value_cursor.start(params, here.batch, here.head_kv, first_key, Values::first_key(lane),
                         Values::first_column(lane));
      Loads::load_query(query, params, here, thread);
    }
    Keys keys;
    Values values;
    keys.load(key_cursor, params, keys_left);
    if constexpr (values_early) {
      values.load(value_cursor, params, keys_left);
      key_cursor.look_up(params, stride);
      key_cursor.ascend(params, stride);
    }
    Output output{};
    OutputSum output_sum;
    RowState state;
#pragma unroll
    for (int32_t n = 0; n < row_tiles; ++n)
#pragma unroll
      for (int32_t r = 0; r < 2; ++r) state.reference[n][r] = -infinity, state.sum[n][r] = 0.0f;
    __syncthreads();

#pragma unroll 1
    while (keys_left > 0) {
      Scores scores;
      multiply_key_query(scores, keys, query, thread_anew() % 32);
      if constexpr (values_early)
        keys.load(key_cursor, params, keys_left - stride);
      else
        values.load(value_cursor, params, keys_left);
      key_cursor.look_up(params, stride), value_cursor.look_up(params, stride);
      if constexpr (Variant::changes_scores) change_scores(scores, params, keys_left, thread_anew() % 32);
      bool masked = masked_left < shape.tile_kv;
      if constexpr (mask.begin_moves) masked |= keys_left > whole_left;
      if (masked) mask_scores(scores, params, keys_left, thread_anew() % 32);
      raise_references(scores, output, state, scale_log2(params));
      Probabilities probabilities;
      exponentiate(probabilities, scores, state, scale_log2(params));
      if ((masked || hides_keys<Variant>)&&__any_sync(0xffffffffu, values.has_nonfinite()))
        add_values_one_by_one(output, params, probabilities, keys_left, thread_anew() % 32);
      else
        multiply_value_probability(output, values, probabilities);
      const int32_t step = (keys_left - 1) / stride;  // counted down to 0
      if (OutputSum::ends_stretch(step)) {
        const Work here = work_anew(params);
        const int32_t first_step = (end_seen(params, here, tile_q - 1) - of_warp(here) - 1) / stride;
        output_sum.end_stretch(output, state.reference, step, first_step, scale_log2(params));
      }
      keys_left -= stride;
      masked_left -= stride;
      key_cursor.ascend(params, stride), value_cursor.ascend(params, stride);
      if constexpr (values_early)
        values.load(value_cursor, params, keys_left);
      else
        keys.load(key_cursor, params, keys_left);
    }

    let_next_launch_begin();
    const int32_t thread = thread_anew();
    leave_partial(shared + thread / 32 * Partial::floats, output, state, thread % 32);
    __syncthreads();
    const Work here = work_anew(params);
    constexpr int32_t quads = shape.head_dim_v / 4;  // of columns in a row
    const auto float_of_warp = [&](int32_t i, int32_t at) { return shared[i * Partial::floats + at]; };
    const auto columns_of_warp = [&](int32_t i, int32_t at) {
      return *reinterpret_cast<const float4 *>(shared + i * Partial::floats + at);
    };
    if constexpr (shape.blocks == 1) {
      for (int32_t i = thread; i < tile_q * quads; i += threads) {
        const int32_t row = i / quads, column = i % quads * 4;
        store(params, here, row, column,
              Partial::template merge<shape.warps>(row, column, scale_log2(params), float_of_warp, columns_of_warp));
      }
    } else {
      float *const of_block = shared + shape.warps * Partial::floats;
      for (int32_t i = thread; i < tile_q * quads; i += threads) {
        const int32_t row = i / quads, column = i % quads * 4;
        const Merged merged =
            Partial::template merge<shape.warps>(row, column, scale_log2(params), float_of_warp, columns_of_warp);
        *reinterpret_cast<float4 *>(of_block + row * Partial::pitch + column) = merged.output;
        if (column == 0)
          of_block[Partial::reference_at(row)] = merged.reference, of_block[Partial::sum_at(row)] = merged.sum;
      }
      cluster_barrier();
      const SharedAddress base = shared_address(of_block);
      const auto float_of_block = [&](int32_t i, int32_t at) {
        return load_cluster_float(cluster_address(base + at * 4, i));
      };
      const auto columns_of_block = [&](int32_t i, int32_t at) {
        return load_cluster_float4(cluster_address(base + at * 4, i));
      };
      for (int32_t i = here.rank * threads + thread; i < tile_q * quads; i += shape.blocks * threads) {
        const int32_t row = i / quads, column = i % quads * 4;
        store(params, here, row, column,
              Partial::template merge<shape.blocks>(row, column, scale_log2(params), float_of_block, columns_of_block));
      }
      cluster_barrier();  // no block leaves while others read its shared memory
    }
  }

  // The second launch.
  static __device__ __forceinline__ void merge_parts(const Params &params, float *shared) {
    GridMerge<OutputRows, shape.head_dim_v, mask, Variant, shape.rows>::run(
        params, params.split, shared, scale_log2(params), [](const AttentionFwdParams &, const PackedRow &) {});
  }
};

}  // namespace flashcore::kernels
