// SPDX-License-Identifier: Apache-2.0
//
// What brings tiles of K, or of V, from the last to the first: of dense rows, or of those that lie in pages.
#pragma once

#include "parts/paged_rows.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

template <int32_t rows_found, int32_t tile_kv, int32_t threads, int32_t alignment_bytes>
struct KeyLoaders {
  // pages: memory for where the rows of two tiles lie in their pages; of dense rows nothing is written there.
  template <bool of_values, typename TileRows>
  static __device__ __forceinline__ auto from(const AttentionFwdParams &params, const BlockWork &work, int32_t tile,
                                              int32_t thread, [[maybe_unused]] unsigned char *pages) {
    if constexpr (rows_found == rows_paged) {
      return DescendingPagedLoader<of_values, tile_kv, threads, alignment_bytes, TileRows>(params, tile, pages);
    } else {
      const StridedRows rows = of_values ? StridedRows::values(params, work.batch, work.head_kv)
                                         : StridedRows::keys(params, work.batch, work.head_kv);
      return DescendingLoader<tile_kv, threads, alignment_bytes, TileRows, StridedRows>(rows, tile, params.seqlen_kv,
                                                                                        thread);
    }
  }
};

}  // namespace flashcore::kernels
