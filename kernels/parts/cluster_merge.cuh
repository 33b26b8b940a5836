// SPDX-License-Identifier: Apache-2.0
//
// What the thread blocks of a cluster have of the same rows, each from a share of the keys, made one through their shared memory.
#pragma once

#include "parts/cluster.cuh"
#include "parts/mma_attention.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"

namespace flashcore::kernels {

// `warps` of a block have 16 rows each, in the layout of mma.sync's C fragments.
template <int32_t head_dim_v, int32_t warps, typename Variant, typename OutputRows>
struct ClusterMerge {
  static constexpr int32_t fragments = head_dim_v / 8, fragments_of_item = 4, columns_of_item = fragments_of_item * 8;
  static constexpr int32_t most_blocks = 8;  // of a cluster, which all of them are asked at once
  static constexpr int32_t rows_at = fragments * warps * 32 * 16;
  static constexpr int32_t bytes = rows_at + warps * 16 * 16;  // of shared memory

  SharedAddress base;  // in every block at the same place

  __device__ __forceinline__ SharedAddress fragment(int32_t n, int32_t warp, int32_t lane) const {
    return base + ((n * warps + warp) * 32 + lane) * 16;
  }
  // Of a row: its reference, NaN where the row has to be computed again, and its sum.
  __device__ __forceinline__ SharedAddress row(int32_t warp, int32_t row_of_warp) const {
    return base + rows_at + (warp * 16 + row_of_warp) * 16;
  }

  // O of the warp's rows, to their references and not divided by their sums. All blocks meet at a barrier of the cluster between this and
  // merge(), and at another one before a block leaves or uses the memory again.
  __device__ __forceinline__ void store(int32_t warp, const float (&output)[1][fragments][4],
                                        const float (&reference)[2], const float (&sum)[2], bool lost) const {
    const int32_t lane = thread_anew() % 32;
#pragma unroll
    for (int32_t n = 0; n < fragments; ++n) {
      const float(&c)[4] = output[0][n];
      store_shared_16(fragment(n, warp, lane), make_uint4(__float_as_uint(c[0]), __float_as_uint(c[1]),
                                                          __float_as_uint(c[2]), __float_as_uint(c[3])));
    }
#pragma unroll
    for (int32_t half = 0; half < 2; ++half)
      if (lane % 4 == 0)
        store_shared_16(
            row(warp, half * 8 + lane / 4),
            make_uint4(__float_as_uint(lost ? not_a_number : reference[half]), __float_as_uint(sum[half]), 0, 0));
  }

  // Sixteen rows and 32 columns at a time, dealt out to the warps of all blocks. compute_again(first row of the warp) is asked for sixteen
  // rows of which one is lost.
  template <typename ComputeAgain>
  __device__ __forceinline__ void merge(const AttentionFwdParams &params, const BlockWork &work, int32_t warp,
                                        float scale_log2, const ComputeAgain &compute_again) const {
    const int32_t lane = thread_anew() % 32, blocks = cluster_size();
    const auto rows = OutputRows::of(params, work.batch, work.head_q);
#pragma unroll 1
    for (int32_t item = cluster_rank() * warps + warp; item < warps * fragments / fragments_of_item;
         item += blocks * warps) {
      const int32_t of_warp = item % warps, first_fragment = item / warps * fragments_of_item;
      const int32_t first_query = work.first_query + of_warp * 16;
      float largest[2] = {-infinity, -infinity};
      bool lost = false;
#pragma unroll
      for (int32_t block = 0; block < most_blocks; ++block)
#pragma unroll
        for (int32_t half = 0; half < 2; ++half) {
          if (block >= blocks) break;
          const float reference = load_cluster_float(cluster_address(row(of_warp, half * 8 + lane / 4), block));
          largest[half] = fmaxf(largest[half], reference);
          lost = lost || reference != reference;
        }
      if (__any_sync(0xffffffffu, lost)) {
        if (first_fragment == 0) compute_again(first_query);
        continue;
      }
      float output[fragments_of_item][4] = {}, sum[2] = {};
#pragma unroll 4
      for (int32_t block = 0; block < blocks; ++block) {
        float weight[2];
#pragma unroll
        for (int32_t half = 0; half < 2; ++half) {
          const float4 state = load_cluster_float4(cluster_address(row(of_warp, half * 8 + lane / 4), block));
          weight[half] = exp2_approx((state.x - subtrahend(largest[half])) * scale_log2);
          sum[half] = fmaf(weight[half], state.y, sum[half]);
        }
#pragma unroll
        for (int32_t n = 0; n < fragments_of_item; ++n) {
          const float4 part = load_cluster_float4(cluster_address(fragment(first_fragment + n, of_warp, lane), block));
          output[n][0] = fmaf(part.x, weight[0], output[n][0]), output[n][1] = fmaf(part.y, weight[0], output[n][1]);
          output[n][2] = fmaf(part.z, weight[1], output[n][2]), output[n][3] = fmaf(part.w, weight[1], output[n][3]);
        }
      }
#pragma unroll
      for (int32_t half = 0; half < 2; ++half) {
        const auto of_row = [&] { return RowSum{largest[half], scale_log2, sum[half]}; };
        const RowEnd<Variant> end(params, work.head_q, of_row);
        const float inverse = end.inverse(sum[half]);
        const int32_t query = first_query + half * 8 + lane / 4;
        rows.template store_fragments<16, fragments_of_item>(
            query, first_fragment * 8, [&](int32_t n, int32_t c) { return output[n][half * 2 + c] * inverse; },
            lane % 4, query < params.seqlen_q, params.head_dim_v);
        if (first_fragment == 0 && lane % 4 == 0 && query < params.seqlen_q)
          end.write_lse(params, work.batch, work.head_q, query, of_row);
      }
    }
  }
};

}  // namespace flashcore::kernels
