// SPDX-License-Identifier: Apache-2.0
//
// A tile whose rows are those of all query heads that share a key head, query by query, the heads of a query side by side: where the rows of
// a warp come from and go to. Scores and O are in the layout of mma.sync's C fragments, 16 rows a warp. Rows that no query is left for are
// computed with zeros for a query, and not stored.
#pragma once

#include "parts/careful_row.cuh"
#include "parts/grid_split.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/ptx_sm90.cuh"
#include "parts/rounds.cuh"
#include "parts/row_end.cuh"
#include "parts/tile_boxes.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

template <typename Attention, int32_t tile_q, Mask mask, typename KeyRows, typename Variant, typename OutputRows>
struct PackedTile {
  static constexpr int32_t dtype = Attention::dtype, head_dim_v = Attention::head_dim_v, tile_kv = Attention::tile_kv;
  static constexpr int32_t key_fragments = tile_kv / 8, value_fragments = head_dim_v / 8;

  struct Row {
    int32_t head_q, query;
    bool there;
  };
  static __device__ __forceinline__ int32_t rows_used(const AttentionFwdParams &params) {
    return tile_q / params.heads_per_kv * params.heads_per_kv;
  }
  static __device__ __forceinline__ Row row(const AttentionFwdParams &params, const BlockWork &work, int32_t row) {
    const int32_t query = work.first_query + row / params.heads_per_kv;
    return {work.head_q + row % params.heads_per_kv, query, row < rows_used(params) && query < params.seqlen_q};
  }
  // The lane's two rows of the warp's, which begin at first_row.
  static __device__ __forceinline__ int32_t row_of_lane(int32_t first_row, int32_t half) {
    return first_row + half * 8 + thread_anew() % 32 / 4;
  }

  // Rows of Q's tile that no copy fills, where the heads do not divide it: by all threads, before the first copy.
  template <int32_t threads, int32_t panels>
  static __device__ __forceinline__ void clear_unused_rows(const AttentionFwdParams &params, SharedAddress query) {
    const int32_t used = rows_used(params), chunks = (tile_q - used) * 8;
#pragma unroll 1
    for (int32_t i = thread_anew(); i < panels * chunks; i += threads)
      store_shared_16(query + i / chunks * tile_q * 128 + used * 128 + i % chunks * 16, make_uint4(0, 0, 0, 0));
    fence_shared_for_async();
  }

  // A box of the heads that share a key head; the rows behind it, if there are, stay as they are. By one thread.
  template <int32_t head_dim>
  static __device__ __forceinline__ void copy_query(const AttentionFwdParams &params, const TensorMap &map,
                                                    SharedAddress query, SharedBarrier full, const BlockWork &work) {
    full.arrive_expecting(static_cast<uint32_t>(rows_used(params) * panels_of(head_dim) * panel_bytes_of_row));
#pragma unroll
    for (int32_t panel = 0; panel < panels_of(head_dim); ++panel)
      copy_box(query + panel * tile_q * panel_bytes_of_row, map, full, panel * tensor_map_columns, work.head_q,
               work.first_query, work.batch);
  }

  template <typename Scores>
  static __device__ __forceinline__ void mask_scores(Scores &scores, const AttentionFwdParams &params,
                                                     const BlockWork &work, int32_t first_key, int32_t first_row) {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int32_t query = row(params, work, row_of_lane(first_row, half)).query;
      // Counted from this lane's first column, so that columns are compared as constants.
      const auto run = visibility<mask>(params).run_within(query, first_key + thread_anew() % 4 * 2, tile_kv);
#pragma unroll
      for (int32_t j = 0; j < key_fragments; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c)
          if (!run.sees(j * 8 + c)) scores[0][j][half * 2 + c] = -infinity;
    }
  }

  template <typename Scores>
  static __device__ __forceinline__ void change_scores(Scores &scores, const AttentionFwdParams &params,
                                                       const BlockWork &work, int32_t first_key, int32_t first_row) {
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const Row here = row(params, work, row_of_lane(first_row, half));
#pragma unroll
      for (int32_t j = 0; j < key_fragments; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          float &score = scores[0][j][half * 2 + c];
          const int32_t key = first_key + thread_anew() % 4 * 2 + j * 8 + c;
          score = varied_but_for_tensors<Variant>(score, {work.batch, here.head_q, here.query, key}, params);
        }
      if constexpr (has_bias<Variant>)
        add_bias(scores[0], half, params, {work.batch, here.head_q, here.query, first_key + thread_anew() % 4 * 2});
    }
  }
  static __device__ __forceinline__ ShownKeys<1, key_fragments> shown_by_mask(const AttentionFwdParams &params,
                                                                              const BlockWork &work, int32_t first_key,
                                                                              int32_t first_row) {
    ShownKeys<1, key_fragments> shown;
    shown.load(params, [&](int32_t, int32_t half) {
      const Row here = row(params, work, row_of_lane(first_row, half));
      return ScorePlace{work.batch, here.head_q, here.query, first_key + thread_anew() % 4 * 2};
    });
    return shown;
  }

  // By one warp, without tensor cores.
  static __device__ __forceinline__ void compute_row_again(const AttentionFwdParams &params, const PackedRow &row) {
    const BlockWork work = {row.batch, row.head_q, row.head_kv, row.query};
    CarefulRow<dtype, head_dim_v, mask, KeyRows, Variant, OutputRows>{params, work, row.query, thread_anew() % 32}
        .compute();
  }

  // O, which is not divided by its sums, of the warp's rows: to memory, or to the workspace where others have other keys of theirs.
  template <typename PartWork, typename Output, typename RowState>
  static __device__ __forceinline__ void write(const AttentionFwdParams &params, const GridSplit &split,
                                               const PartWork &work, int32_t first_row, const Output &output,
                                               const RowState &state) {
    const bool lost = __any_sync(0xffffffffu, Attention::is_lost(output, state));
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[0][half]), reference = state.reference[0][half];
      if (split.parts > 1)
        write_part(params, split, work, row_of_lane(first_row, half), output, half, lost ? not_a_number : reference,
                   sum);
      else
        write_row(params, work, row_of_lane(first_row, half), output, half, reference, sum);
    }
    if (__builtin_expect(!lost || split.parts > 1, 1)) return;
    __syncwarp();  // other lanes write the rows anew
#pragma unroll 1
    for (int32_t i = first_row; i < first_row + 16; ++i)
      if (const Row here = row(params, work, i); here.there)
        compute_row_again(params, {work.batch, here.head_q, work.head_kv, here.query});
  }

  // Of queries that see no key.
  static __device__ __forceinline__ void write_zeros(const AttentionFwdParams &params, const BlockWork &work,
                                                     int32_t first_row) {
    constexpr float nothing[1][value_fragments][4] = {};
#pragma unroll 1
    for (int32_t half = 0; half < 2; ++half)
      write_row(params, work, row_of_lane(first_row, half), nothing, 0, -infinity, 0.0f);
  }

 private:
  template <typename Output>
  static __device__ __forceinline__ void write_row(const AttentionFwdParams &params, const BlockWork &work,
                                                   int32_t row_of_tile, const Output &output, int32_t half,
                                                   float reference, float sum) {
    const Row here = row(params, work, row_of_tile);
    const auto of_row = [&] { return RowSum{reference, softmax_scale_log2<Variant>(params), sum}; };
    const RowEnd<Variant> end(params, here.head_q, of_row);
    const float inverse = end.inverse(sum);
    const int32_t lane = thread_anew() % 4;
    OutputRows::of(params, work.batch, here.head_q)
        .template store_fragments<16, value_fragments>(
            here.query, 0, [&](int32_t n, int32_t c) { return output[0][n][half * 2 + c] * inverse; }, lane, here.there,
            params.head_dim_v);
    if (lane == 0 && here.there) end.write_lse(params, work.batch, here.head_q, here.query, of_row);
  }

  template <typename Output>
  static __device__ __forceinline__ void write_part(const AttentionFwdParams &params, const GridSplit &split,
                                                    const PackedWork &work, int32_t row_of_tile, const Output &output,
                                                    int32_t half, float reference, float sum) {
    if (!row(params, work, row_of_tile).there) return;
    const int64_t row_of_head = int64_t{work.first_query} * params.heads_per_kv + row_of_tile;
    const auto place = WorkspaceRow::of<rows_dense>(
        params, split, PackedRow::index<rows_dense>(params, work.batch, work.head_kv, row_of_head), work.part);
    const int32_t lane = thread_anew() % 4;
#pragma unroll
    for (int32_t n = 0; n < value_fragments; ++n)
      if (n * 8 < params.head_dim_v)
        *reinterpret_cast<float2 *>(place.output + n * 8 + lane * 2) =
            make_float2(output[0][n][half * 2], output[0][n][half * 2 + 1]);
    if (lane == 0) *place.state = make_float2(reference, sum);
  }
};

}  // namespace flashcore::kernels
