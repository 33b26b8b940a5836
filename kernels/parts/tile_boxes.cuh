// SPDX-License-Identifier: Apache-2.0
//
// Tiles of rows that the copy engine brings, in panels of 64 columns as wgmma reads them.
#pragma once

#include "parts/paged_rows.cuh"
#include "parts/ptx_sm90.cuh"
#include "parts/stage_memory.cuh"

namespace flashcore::kernels {

inline constexpr int32_t panel_bytes_of_row = tensor_map_columns * 2;

// By one thread.
template <int32_t tile_rows, int32_t columns>
__device__ __forceinline__ void copy_tile(SharedAddress destination, const TensorMap &map, SharedBarrier full,
                                          int32_t row, int32_t head, int32_t batch) {
  full.arrive_expecting(static_cast<uint32_t>(tile_rows * panels_of(columns) * panel_bytes_of_row));
#pragma unroll
  for (int32_t panel = 0; panel < panels_of(columns); ++panel)
    copy_box(destination + panel * tile_rows * panel_bytes_of_row, map, full, panel * tensor_map_columns, row, head,
             batch);
}

// What a lane knows of a tile of keys before it is copied.
struct PageEntries {
  int32_t key, value;
};

// A sequence's keys in one piece.
template <int32_t tile_rows>
struct WholeBoxes {
  static constexpr int32_t threads = 1;  // that ask for copies

  int32_t first_row, batch;

  // Of the parameters that a kernel has for a sequence, or for all of a batch.
  template <bool ragged, typename Params>
  static __device__ __forceinline__ WholeBoxes of(const Params &params, const BlockWork &work) {
    if constexpr (ragged) return {params.sequence.first_key_row, params.sequence.key_batch};
    return {0, work.batch};
  }
  __device__ __forceinline__ PageEntries look_up(int32_t) const { return {}; }
  template <int32_t columns>
  __device__ __forceinline__ void copy(SharedAddress destination, const TensorMap &map, SharedBarrier full,
                                       int32_t tile, int32_t head, int32_t) const {
    copy_tile<tile_rows, columns>(destination, map, full, first_row + tile * tile_rows, head, batch);
  }
};

// Keys in pages, by a warp: a tile is boxes of so many rows that each lies in one page (rows_of_box), and each lane looks up one of them, a tile
// ahead. Rows of a tile behind the sequence's last box stay as they were.
template <int32_t tile_rows>
struct PageBoxes {
  static constexpr int32_t threads = 32;

  const AttentionFwdParams &params;  // of the sequence, which begins with its first page
  int32_t box_rows;

  template <bool ragged, typename Params>
  static __device__ __forceinline__ PageBoxes of(const Params &params, const BlockWork &) {
    return {params.attention, params.box_rows};
  }
  __device__ __forceinline__ PageEntries look_up(int32_t tile) const {
    const int32_t in_tile = thread_anew() % 32 * box_rows, row = tile * tile_rows + in_tile;
    if (tile < 0 || in_tile >= tile_rows || row >= params.seqlen_kv) return {};
    return {PagedTensor<false>::entry(params, row), PagedTensor<true>::entry(params, row)};
  }
  template <int32_t columns>
  __device__ __forceinline__ void copy(SharedAddress destination, const TensorMap &map, SharedBarrier full,
                                       int32_t tile, int32_t head, int32_t entry) const {
    const int32_t first = tile * tile_rows, left = params.seqlen_kv - first,
                  boxes = ((left < tile_rows ? left : tile_rows) + box_rows - 1) / box_rows;
    const bool asks = thread_anew() % 32 == 0;
    if (asks) full.arrive_expecting(static_cast<uint32_t>(boxes * box_rows * panels_of(columns) * panel_bytes_of_row));
#pragma unroll 1
    for (int32_t box = 0; box < boxes; ++box) {
      const int32_t row = first + box * box_rows, of_box = __shfl_sync(0xffffffffu, entry, box);
      const int32_t in_page = row - page_of(params.ragged, row) * params.ragged.page_size;
      const auto page = static_cast<int32_t>(held_page(of_box, params.ragged.kv_batches));
      if (asks)
#pragma unroll
        for (int32_t panel = 0; panel < panels_of(columns); ++panel)
          copy_box(destination + (panel * tile_rows + box * box_rows) * panel_bytes_of_row, map, full,
                   panel * tensor_map_columns, in_page, head, page);
    }
    __syncwarp();
  }
};

}  // namespace flashcore::kernels
