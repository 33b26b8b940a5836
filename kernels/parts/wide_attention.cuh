// SPDX-License-Identifier: Apache-2.0
//
// Attention of wide heads, whose output does not fit into the registers of the warps that have its scores. A thread block has a tile of packed
// rows (all query heads of a key head) and walks through tiles of 64 keys. Four warps have the same rows: each computes the scores of a fourth
// of a tile's keys, and all columns of O are dealt out among them, a fourth of each piece of 64. Largest scores and probabilities are exchanged
// through shared memory. Queries stay there; keys and values come in pieces (wide_pieces.cuh).
//
//   pieces of K     S += Q.K^T
//   -               largest scores to shared memory; barrier; probabilities of own keys to shared memory; O rescaled
//   pieces of V     P of all keys from shared memory, once; O += P.V
//
// References are the exact largest scores. What is not finite in O, perhaps by a value that a row does not see, has the tile's rows
// computed once more without tensor cores (careful_row.cuh).
#pragma once

#include "attention_fwd/wide.h"
#include "parts/careful_row.cuh"
#include "parts/grid_split.cuh"
#include "parts/long_sum.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"
#include "parts/sequence.cuh"
#include "parts/variant.cuh"
#include "parts/wide_pieces.cuh"

namespace flashcore::kernels {

template <wide::Choices chosen, typename Variant, typename KeyRows, typename OutputRows>
struct WideAttention {
  static constexpr int32_t dtype = chosen.dtype, tile_q = chosen.tile_q, head_dim_v = chosen.head_dim_v,
                           threads = chosen.warps * 32, alignment_bytes = chosen.alignment_bytes,
                           column_groups = wide::column_groups;
  static constexpr int32_t row_tiles = tile_q * column_groups / chosen.warps / 16, warp_rows = row_tiles * 16;
  static constexpr int32_t value_pieces = head_dim_v / piece_columns, key_steps = piece_keys / 16,
                           depth_steps = piece_columns / 16;
  static constexpr wide::Layout layout = wide::layout_of(chosen);
  // An end that stays is one that moves far off: one module does for both.
  static constexpr Mask mask = mask_of(true, chosen.window);
  static_assert(piece_keys == 16 * column_groups && piece_columns == 16 * column_groups);

  using Params = wide::Params;
  using Work = decode::BlockRows;
  using Scores = float[row_tiles][2][4];  // of 16 keys
  using Probabilities = uint32_t[key_steps][row_tiles][4];
  using Output = float[value_pieces][row_tiles][2][4];  // 16 columns of each piece
  static constexpr int32_t row_of_output(int32_t i) { return i / 8 % row_tiles * 2 + i % 4 / 2; }
  using OutputSum = LongSum<64, Output, row_tiles * 2, row_of_output>;  // by tiles
  // Of the lane's two rows of each row tile; `sum` is its share of the warp's keys.
  struct RowState {
    float reference[row_tiles][2], sum[row_tiles][2];
  };

  static __device__ __forceinline__ int32_t warp() { return thread_anew() / 32; }
  static __device__ __forceinline__ int32_t lane() { return thread_anew() % 32; }
  static __device__ __forceinline__ int32_t first_row_of_warp() { return warp() / column_groups * warp_rows; }
  static __device__ __forceinline__ int32_t column_group() { return warp() % column_groups; }
  static __device__ __forceinline__ int32_t row_of_lane(int32_t i, int32_t half) {
    return first_row_of_warp() + i * 16 + half * 8 + lane() / 4;
  }

  static __device__ __forceinline__ Work work_anew(const Params &params) {
    if constexpr (chosen.rows == rows_dense) return wide::dense_rows<tile_q>(params, block_anew());
    return static_cast<const wide::SequenceParams &>(params).work;
  }
  // Of a ragged batch, before the sequence is known: a tile that its sequence may not have.
  static __device__ __forceinline__ Work first_look(const Params &given) {
    const wide::TilePlaces places = wide::tile_places<tile_q>(given);
    Work work = decode::block_rows<tile_q, 1, chosen.rows>(given, block_anew());
    if (!places.in_line) return work;
    const auto count = static_cast<uint32_t>(places.count);
    const auto place = static_cast<int32_t>(block_anew() % count);
    work.head_kv = static_cast<int32_t>(block_anew() / count);
    work.batch = sequence_at<tile_q>(given.ragged, given.batch, place, given.heads_per_kv);
    work.first_row = (place - first_place<tile_q>(given.ragged, work.batch, given.heads_per_kv)) * tile_q;
    return work;
  }
  // The parameters of the block's sequence, or the given ones; null where the block has nothing to do: its tile is behind the sequence's last
  // row, or its part behind the last key. The first part is everybody's, since rows may see no key at all.
  static __device__ __forceinline__ const Params *params_of_block(const Params &given, void *memory) {
    if constexpr (chosen.rows == rows_dense) return &given;
    Work work = first_look(given);
    const Sequence sequence = sequence_of<chosen.rows>(given, work.batch);
    work.row_count = sequence.queries * given.heads_per_kv;
    if (work.first_row < 0 || work.first_row >= work.row_count) return nullptr;
    if (block_y_anew() > 0 && sequence.keys <= block_y_anew() * given.split.keys_per_part) return nullptr;
    if (threadIdx.x == 0) static_cast<wide::SequenceParams *>(memory)->work = wide::longest_first<tile_q>(work);
    return &params_of_sequence<chosen.rows, threads>(given, memory, sequence, work.batch, work.head_kv);
  }
  // Row i of the tile. Rows past the last one count as the last, and are not stored.
  struct Row {
    int32_t head_q, query;
    bool there;
  };
  static __device__ __forceinline__ Row row(const Params &params, const Work &work, int32_t i) {
    const int32_t packed_row = work.first_row + i, held = min(packed_row, work.row_count - 1);
    return {work.head_kv * params.heads_per_kv + held % params.heads_per_kv, held / params.heads_per_kv,
            packed_row == held};
  }

  // The tiles of keys that the block works through: of its part of them, those that a row sees.
  using Tiles = KeyTiles<mask>;
  static __device__ __forceinline__ Tiles tiles_of(const Params &params, const Work &work) {
    const int32_t first_query = row(params, work, 0).query, last_query = row(params, work, tile_q - 1).query;
    Tiles tiles = visibility<mask>(params).tiles_of(first_query, last_query - first_query + 1, piece_keys);
    // Where begins move there is one part.
    if constexpr (mask.begin_moves) return tiles;
    const int32_t count = (params.split.keys_per_part - 1) / piece_keys + 1, first = block_y_anew() * count;
    if (tiles.end - first > count) tiles.end = first + count;
    tiles.moving_begin = first;
    return tiles;
  }

  // Sixteen bytes of Q for each step: a thread has the same rows and the same chunk of every piece.
  template <typename Chunk>
  static __device__ __forceinline__ void for_each_query_chunk(const Params &params, const Chunk &chunk_of) {
#pragma unroll 1
    for (int32_t i = thread_anew() / 8; i < tile_q; i += threads / 8)
#pragma unroll 1
      for (int32_t piece = 0; piece < pieces_of(params.head_dim); ++piece)
        chunk_of(i, piece * piece_columns + thread_anew() % 8 * 8,
                 static_cast<SharedAddress>(piece * tile_q * 128 + PieceRows::offset(i, thread_anew() % 8)));
  }
  static __device__ __forceinline__ void load_query(SharedAddress query, const Params &params, const Work &work) {
    for_each_query_chunk(params, [&](int32_t i, int32_t column, SharedAddress at) {
      const Row here = row(params, work, i);
      const bool valid = column < params.head_dim;
      copy_chunk<alignment_bytes>(
          query + at, StridedRows::of(params.query, work.batch, here.head_q).address(here.query, column, valid), valid);
    });
  }
  // A negative softmax scale turns the largest score into the smallest; the queries change sign instead. What the thread itself has copied.
  static __device__ __forceinline__ void negate_query(SharedAddress query, const Params &params) {
    for_each_query_chunk(params, [&](int32_t, int32_t, SharedAddress at) {
      uint4 value = load_shared_16(query + at);
      value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;
      store_shared_16(query + at, value);
    });
  }

  // scores = Q . K^T, of the warp's 16 keys.
  template <typename TilePieces>
  static __device__ __forceinline__ void multiply_query_key(Scores &scores, TilePieces &pieces, SharedAddress query,
                                                            int32_t key_pieces) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t j = 0; j < 2; ++j)
#pragma unroll
        for (int32_t c = 0; c < 4; ++c) scores[i][j][c] = 0.0f;
    SharedAddress query_lane = query + PieceRows::offset(first_row_of_warp() + lane() % 16, lane() / 16);
    const int32_t key_lane = PieceRows::offset(column_group() * 16 + lane() % 8 + lane() / 16 * 8, lane() / 8 % 2);
#pragma unroll 1
    for (int32_t piece = 0; piece < key_pieces; ++piece, query_lane += tile_q * 128) {
      const SharedAddress keys = pieces.next() + key_lane;
#pragma unroll
      for (int32_t step = 0; step < depth_steps; ++step) {
        uint32_t k[4];
        load_matrix_x4(k, PieceRows::advance(keys, step * 2));
#pragma unroll
        for (int32_t i = 0; i < row_tiles; ++i) {
          uint32_t q[4];
          load_matrix_x4(q, PieceRows::advance(query_lane, step * 2) + i * 16 * 128);
          mma_m16n8k16<dtype>(scores[i][0], q, k[0], k[1]);
          mma_m16n8k16<dtype>(scores[i][1], q, k[2], k[3]);
        }
      }
    }
  }

  // What the variant makes of the scores. first_key: of the warp's.
  static __device__ __forceinline__ void change_scores(Scores &scores, const Params &params, int32_t first_key) {
    const Work work = work_anew(params);
    const auto place_of = [&](int32_t i, int32_t half) {
      const Row here = row(params, work, row_of_lane(i, half));
      return ScorePlace{work.batch, here.head_q, here.query, first_key + lane() % 4 * 2};
    };
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const ScorePlace place = place_of(i, half);
#pragma unroll
        for (int32_t j = 0; j < 2; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c) {
            float &score = scores[i][j][half * 2 + c];
            score = varied_but_for_tensors<Variant>(
                score, {place.batch, place.head_q, place.query, place.key + j * 8 + c}, params);
          }
        if constexpr (has_bias<Variant>) add_bias(scores[i], half, params, place);
      }
    if constexpr (has_mask<Variant>) {
      ShownKeys<row_tiles, 2> shown;
      shown.load(params, place_of);
      shown.hide_others(scores);
    }
  }
  // By selection, never by arithmetic: a masked NaN is gone.
  static __device__ __forceinline__ void mask_scores(Scores &scores, const Params &params, int32_t first_key) {
    const Work work = work_anew(params);
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const int32_t query = row(params, work, row_of_lane(i, half)).query;
        // Counted from this lane's first key, so that keys are compared as constants.
        const auto run = visibility<mask>(params).run_within(query, first_key + lane() % 4 * 2, 16);
#pragma unroll
        for (int32_t j = 0; j < 2; ++j)
#pragma unroll
          for (int32_t c = 0; c < 2; ++c)
            if (!run.sees(j * 8 + c)) scores[i][j][half * 2 + c] = -infinity;
      }
  }
  static __device__ __forceinline__ float scale_log2(const Params &params) {
    return softmax_scale_log2<Variant>(params);
  }

  // A number of each row from each of the four warps that have it.
  static __device__ __forceinline__ void leave(float *states, const float (&numbers)[row_tiles][2]) {
    if (lane() % 4 != 0) return;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half)
        states[column_group() * tile_q + row_of_lane(i, half)] = numbers[i][half];
  }
  template <typename Combine>
  static __device__ __forceinline__ float of_row(const float *states, int32_t i, int32_t half, Combine combine) {
    const float *const of_first = states + row_of_lane(i, half);
    float all = of_first[0];
#pragma unroll
    for (int32_t group = 1; group < column_groups; ++group) all = combine(all, of_first[group * tile_q]);
    return all;
  }

  // References become the largest scores so far. A barrier of the block is in it.
  static __device__ __forceinline__ void raise_references(const Scores &scores, Output &output, RowState &state,
                                                          float *states, float scale_log2) {
    float largest[row_tiles][2];
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float left = fmaxf(scores[i][0][half * 2], scores[i][0][half * 2 + 1]),
                    right = fmaxf(scores[i][1][half * 2], scores[i][1][half * 2 + 1]);
        largest[i][half] = quad_max(fmaxf(left, right));
      }
    leave(states, largest);
    __syncthreads();
    bool grew = false;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float of_tile = of_row(states, i, half, [](float a, float b) { return fmaxf(a, b); });
        largest[i][half] = fmaxf(state.reference[i][half], of_tile);
        grew |= largest[i][half] > state.reference[i][half];
      }
    if (!__any_sync(0xffffffffu, grew)) return;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float weight = exp2_approx((state.reference[i][half] - subtrahend(largest[i][half])) * scale_log2);
        state.reference[i][half] = largest[i][half];
        state.sum[i][half] *= weight;
#pragma unroll
        for (int32_t v = 0; v < value_pieces; ++v)
#pragma unroll
          for (int32_t j = 0; j < 2; ++j) {
            output[v][i][j][half * 2] *= weight;
            output[v][i][j][half * 2 + 1] *= weight;
          }
      }
  }

  // Probabilities of the warp's keys, rounded, to shared memory: rows of 64 keys.
  static __device__ __forceinline__ void leave_probabilities(unsigned char *probabilities, const Scores &scores,
                                                             RowState &state, float scale_log2) {
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float reference = subtrahend(state.reference[i][half]);
#pragma unroll
        for (int32_t j = 0; j < 2; ++j) {
          const float left = exp2_approx((scores[i][j][half * 2] - reference) * scale_log2),
                      right = exp2_approx((scores[i][j][half * 2 + 1] - reference) * scale_log2);
          state.sum[i][half] += left + right;
          const int32_t at = PieceRows::offset(row_of_lane(i, half), column_group() * 2 + j) + lane() % 4 * 4;
          *reinterpret_cast<uint32_t *>(probabilities + at) = pack2<dtype>(left, right);
        }
      }
  }

  // output += P . V, the warp's columns. The barrier of the first piece of V lets all probabilities be read.
  template <typename TilePieces>
  static __device__ __forceinline__ void multiply_probability_value(Output &output, TilePieces &pieces,
                                                                    SharedAddress probabilities, int32_t columns) {
    Probabilities p;
    const int32_t value_lane = PieceRows::offset(lane() % 16, column_group() * 2 + lane() / 16);
#pragma unroll
    for (int32_t v = 0; v < value_pieces; ++v) {
      if (v * piece_columns >= columns) continue;  // for all threads alike
      const SharedAddress values = pieces.next() + value_lane;
      if (v == 0) {
        const SharedAddress lane_at = probabilities + PieceRows::offset(first_row_of_warp() + lane() % 16, lane() / 16);
#pragma unroll
        for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
          for (int32_t i = 0; i < row_tiles; ++i)
            load_matrix_x4(p[step][i], PieceRows::advance(lane_at, step * 2) + i * 16 * 128);
      }
#pragma unroll
      for (int32_t step = 0; step < key_steps; ++step) {
        uint32_t x[4];
        load_matrix_x4_transposed(x, values + step * 16 * 128);
#pragma unroll
        for (int32_t i = 0; i < row_tiles; ++i) {
          mma_m16n8k16<dtype>(output[v][i][0], p[step][i], x[0], x[1]);
          mma_m16n8k16<dtype>(output[v][i][1], p[step][i], x[2], x[3]);
        }
      }
    }
  }

  // ---- What becomes of rows ----

  // Is the row merged by the second launch? Sequences of a ragged batch may be shorter than a part.
  static __device__ __forceinline__ bool has_parts(const Params &params, int32_t query) {
    if constexpr (chosen.rows == rows_dense) return params.split.parts > 1;
    return visibility<mask>(params).keys_of(query).end > params.split.keys_per_part;
  }
  // store(column, i-th pair of neighbouring columns) for the lane's columns of one of its rows.
  template <typename Store>
  static __device__ __forceinline__ void for_each_pair(const Output &output, int32_t i, int32_t half, int32_t columns,
                                                       const Store &store) {
    const int32_t first = column_group() * 16 + lane() % 4 * 2;
#pragma unroll
    for (int32_t v = 0; v < value_pieces; ++v)
#pragma unroll
      for (int32_t j = 0; j < 2; ++j) {
        const int32_t column = v * piece_columns + j * 8 + first;
        if (column < columns) store(column, output[v][i][j][half * 2], output[v][i][j][half * 2 + 1]);
      }
  }
  // By the lane that says it for the row.
  static __device__ __forceinline__ bool speaks_for_row() { return column_group() == 0 && lane() % 4 == 0; }

  static __device__ __forceinline__ void store_part(const Params &params, const Work &work, const Output &output,
                                                    int32_t i, int32_t half, float reference, float sum) {
    const int32_t packed_row = work.first_row + row_of_lane(i, half);
    const auto place = WorkspaceRow::of<chosen.rows>(
        params, params.split, PackedRow::index<chosen.rows>(params, work.batch, work.head_kv, packed_row),
        block_y_anew());
    for_each_pair(output, i, half, params.head_dim_v, [&](int32_t column, float left, float right) {
      *reinterpret_cast<float2 *>(place.output + column) = make_float2(left, right);
    });
    if (speaks_for_row()) *place.state = make_float2(reference, sum);
  }
  static __device__ __forceinline__ void store_row(const Params &params, const Work &work, const Row &here,
                                                   const Output &output, int32_t i, int32_t half, float reference,
                                                   float sum) {
    const auto of_row = [&] { return RowSum{reference, scale_log2(params), sum}; };
    const RowEnd<Variant> end(params, here.head_q, of_row);
    const float inverse = end.inverse(sum);
    auto *const columns = OutputRows::of(params, work.batch, here.head_q).row(here.query);
    for_each_pair(output, i, half, params.head_dim_v, [&](int32_t column, float left, float right) {
      OutputRows::template store_2<alignment_bytes>(columns + column, left * inverse, right * inverse);
    });
    if (speaks_for_row()) end.write_lse(params, work.batch, here.head_q, here.query, of_row);
  }
  // By one warp, without tensor cores.
  static __device__ __forceinline__ void compute_again(const AttentionFwdParams &params, int32_t batch, int32_t head_kv,
                                                       int32_t head_q, int32_t query) {
    const BlockWork work = {batch, head_q, head_kv, query};
    CarefulRow<dtype, head_dim_v, mask, KeyRows, Variant, OutputRows>{params, work, query, lane()}.compute();
  }
  // Rows of one part: not by the others' blocks, which have nothing of them.
  static __device__ __forceinline__ bool is_own(const Params &params, const Row &here) {
    return here.there && !has_parts(params, here.query) && (chosen.rows == rows_dense || block_y_anew() == 0);
  }

  static __device__ __forceinline__ void write(const Params &params, const Output &output, RowState &state,
                                               float *states) {
    const Work work = work_anew(params);
    // The largest scores that lay there have been read by all.
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) state.sum[i][half] = quad_sum(state.sum[i][half]);
    leave(states, state.sum);
    const bool lost = __syncthreads_or(!(zero_if_finite(output) + zero_if_finite(state.sum) == 0.0f)) != 0;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const float sum = of_row(states, i, half, [](float a, float b) { return a + b; });
        const float reference = state.reference[i][half];
        const Row here = row(params, work, row_of_lane(i, half));
        if (here.there && has_parts(params, here.query))
          store_part(params, work, output, i, half, lost ? not_a_number : reference, sum);
        else if (!lost && is_own(params, here))
          store_row(params, work, here, output, i, half, reference, sum);
      }
    if (__builtin_expect(!lost, 1)) return;
#pragma unroll 1
    for (int32_t i = warp(); i < tile_q; i += chosen.warps)
      if (const Row here = row(params, work, i); is_own(params, here))
        compute_again(params, work.batch, work.head_kv, here.head_q, here.query);
  }

  static __device__ __forceinline__ void run(const Params &given, unsigned char *shared) {
    const Params *const of_block = params_of_block(given, shared + layout.sequence);
    if (of_block == nullptr) return;
    const Params &params = *of_block;
    const SharedAddress query = shared_address(shared);
    const Work work = work_anew(params);
    const Tiles tiles = tiles_of(params, work);
    const int32_t first_tile = tiles.moving_begin;
    load_query(query, params, work);
    // Q arrives with the first piece.
    using TilePieces = Pieces<threads, chosen.stages, alignment_bytes, KeyRows>;
    TilePieces pieces(params,
                      typename TilePieces::Source(params, work.batch, work.head_kv, first_tile, shared + layout.places),
                      query + layout.pieces, first_tile, tiles.end);
    if (params.negate_query != 0) {
      copy_async_wait<0>();
      negate_query(query, params);
    }

    float *const states = reinterpret_cast<float *>(shared + layout.states);
    Output output{};
    OutputSum output_sum;
    RowState state;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) state.reference[i][half] = -infinity, state.sum[i][half] = 0.0f;
#pragma unroll 1
    for (int32_t tile = first_tile; tile < tiles.end; ++tile) {
      Scores scores;
      multiply_query_key(scores, pieces, query, pieces_of(params.head_dim));
      const int32_t first_key = tile * piece_keys + column_group() * 16;
      if constexpr (Variant::changes_scores) change_scores(scores, params, first_key);
      if (tiles.needs_mask(tile)) mask_scores(scores, params, first_key);
      raise_references(scores, output, state, states, scale_log2(params));
      leave_probabilities(shared + layout.probabilities, scores, state, scale_log2(params));
      multiply_probability_value(output, pieces, query + layout.probabilities, params.head_dim_v);
      const int32_t step = tiles.end - 1 - tile;  // counted down to 0
      if (OutputSum::ends_stretch(step))
        output_sum.end_stretch(output, state.reference, step, tiles.end - 1 - first_tile, scale_log2(params));
    }
    let_next_launch_begin();
    write(params, output, state, states);
  }

  // The second launch.
  static __device__ __forceinline__ void merge_parts(const Params &params, float *shared) {
    GridMerge<OutputRows, head_dim_v, mask, Variant, chosen.rows, alignment_bytes>::run(
        params, params.split, shared, scale_log2(params),
        [](const AttentionFwdParams &of_sequence, const PackedRow &row) {
          compute_again(of_sequence, row.batch, row.head_kv, row.head_q, row.query);
        });
  }
};

}  // namespace flashcore::kernels
