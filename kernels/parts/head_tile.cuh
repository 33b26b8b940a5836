// SPDX-License-Identifier: Apache-2.0
//
// A tile whose rows are queries of one head: where what a warp has of 16 of them goes. O is in the layout of mma.sync's C fragments.
#pragma once

#include "parts/careful_row.cuh"
#include "parts/row_end.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

template <typename Attention, Mask mask, typename KeyRows, typename Variant, typename OutputRows>
struct HeadTile {
  static constexpr int32_t dtype = Attention::dtype, head_dim_v = Attention::head_dim_v;

  // Sixteen rows without tensor cores.
  static __device__ __forceinline__ void compute_again(const AttentionFwdParams &params, const BlockWork &work,
                                                       int32_t first_query) {
#pragma unroll 1
    for (int32_t query = first_query; query < first_query + 16 && query < params.seqlen_q; ++query)
      CarefulRow<dtype, head_dim_v, mask, KeyRows, Variant, OutputRows>{params, work, query, thread_anew() % 32}
          .compute();
  }

  // O / row sum to memory, and the logarithm of the row sum.
  static __device__ __forceinline__ void write(const AttentionFwdParams &params, const BlockWork &work,
                                               int32_t first_row, const typename Attention::Output &output,
                                               const typename Attention::RowState &state) {
    const int32_t lane = thread_anew() % 32, first_of_warp = first_row + thread_anew() % 128 / 32 * 16;
    const bool lost = __any_sync(0xffffffffu, Attention::is_lost(output, state));
    const auto rows = OutputRows::of(params, work.batch, work.head_q);
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[0][half]);
      const auto of_row = [&] { return RowSum{state.reference[0][half], Attention::scale_log2(params), sum}; };
      const RowEnd<Variant> end(params, work.head_q, of_row);
      const float inverse = end.inverse(sum);
      const int32_t query = first_of_warp + half * 8 + lane / 4;
      rows.template store_fragments<16, head_dim_v / 8>(
          query, 0, [&](int32_t n, int32_t c) { return output[0][n][half * 2 + c] * inverse; }, lane % 4,
          query < params.seqlen_q, params.head_dim_v);
      if (lane % 4 == 0 && query < params.seqlen_q) end.write_lse(params, work.batch, work.head_q, query, of_row);
    }
    if (__builtin_expect(!lost, 1)) return;
    __syncwarp();  // other lanes write the rows anew
    compute_again(params, work, first_of_warp);
  }

  // Queries that see no key.
  static __device__ __forceinline__ void write_zeros(const AttentionFwdParams &params, const BlockWork &work,
                                                     int32_t first_row) {
    const int32_t lane = thread_anew() % 32, first_of_warp = first_row + thread_anew() % 128 / 32 * 16;
    const auto rows = OutputRows::of(params, work.batch, work.head_q);
    const auto no_key_seen = [] { return RowSum{-infinity, 1.0f, 0.0f}; };
#pragma unroll 1
    for (int32_t query = first_of_warp + lane / 4; query < first_of_warp + 16; query += 8) {
      rows.template store_fragments<16, head_dim_v / 8>(
          query, 0, [](int32_t, int32_t) { return 0.0f; }, lane % 4, query < params.seqlen_q, params.head_dim_v);
      if (lane % 4 == 0 && query < params.seqlen_q)
        RowEnd<Variant>(params, work.head_q, no_key_seen)
            .write_lse(params, work.batch, work.head_q, query, no_key_seen);
    }
  }
};

}  // namespace flashcore::kernels
