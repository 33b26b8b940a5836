// SPDX-License-Identifier: Apache-2.0
//
// Rows of keys and values in pages, for kernels that were compiled for them: the parameters are those of one sequence (sequence.cuh). A row
// takes a look into the page table, so that each is looked up once for all threads that read it, a step ahead.
#pragma once

#include "attention_fwd/params.h"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

// What of the parameters is about keys, or about values.
template <bool of_values>
struct PagedTensor {
  static __device__ __forceinline__ const TensorView &view(const AttentionFwdParams &params) {
    return of_values ? params.value : params.key;
  }
  // Of page 0 and the block's head, which is in the address (set_sequence() of sequence.cuh).
  static __device__ __forceinline__ const uint16_t *first(const AttentionFwdParams &params) {
    return reinterpret_cast<const uint16_t *>(view(params).data);
  }
  // The page of a row, as the table says it.
  static __device__ __forceinline__ int32_t entry(const AttentionFwdParams &params, int32_t row) {
    const RaggedRows &ragged = params.ragged;
    const auto *const table =
        reinterpret_cast<const int32_t *>(of_values ? ragged.page_table_value : ragged.page_table);
    return load_global_4(table + page_of(ragged, ragged.first_key_row + row));
  }
  // Of a row, behind the first of page 0. An entry that is no page counts as the last.
  static __device__ __forceinline__ int64_t offset(const AttentionFwdParams &params, int32_t row, int32_t entry) {
    const RaggedRows &ragged = params.ragged;
    const int32_t place = ragged.first_key_row + row, in_page = place - page_of(ragged, place) * ragged.page_size;
    return held_page(entry, ragged.kv_batches) * view(params).stride_batch + in_page * view(params).stride_row;
  }
  static __device__ __forceinline__ int64_t offset(const AttentionFwdParams &params, int32_t row) {
    return offset(params, row, entry(params, row));
  }
};

struct PagedRows {
  // Row by row, for who needs few of them.
  template <bool of_values>
  struct Head {
    const AttentionFwdParams &params;

    __device__ __forceinline__ const uint16_t *row(int32_t row) const {
      return PagedTensor<of_values>::first(params) + PagedTensor<of_values>::offset(params, row);
    }
  };
  static __device__ __forceinline__ Head<false> keys(const AttentionFwdParams &params, int32_t, int32_t) {
    return {params};
  }
  static __device__ __forceinline__ Head<true> values(const AttentionFwdParams &params, int32_t, int32_t) {
    return {params};
  }

  // One column of the rows behind a row, upwards, by the 32 lanes of a warp together: each looks up one row of a step. What is found is waited
  // for a while later, before other loads are under way that would be waited for as well. (Two steps ahead: 3 to 5 % slower.)
  template <bool of_values>
  class Ascent {
   public:
    using Tensor = PagedTensor<of_values>;

    __device__ __forceinline__ void start(const AttentionFwdParams &params, int32_t, int32_t, int32_t step_row, int32_t,
                                          int32_t) {
      row_ = step_row;
      look_up(params, 0), ascend(params, 0);
    }
    struct Step {
      uint64_t own_place;
      int32_t lane_row, column;

      // row: counted from the lane's own. All lanes ask together.
      __device__ __forceinline__ const uint16_t *row(int32_t row) const {
        const auto low = static_cast<uint32_t>(own_place), high = static_cast<uint32_t>(own_place >> 32);
        return reinterpret_cast<const uint16_t *>(static_cast<uint64_t>(__shfl_sync(0xffffffffu, high, lane_row + row))
                                                      << 32 |
                                                  __shfl_sync(0xffffffffu, low, lane_row + row)) +
               column;
      }
    };
    __device__ __forceinline__ Step step(const AttentionFwdParams &, int32_t lane_row, int32_t column) const {
      return {own_place_, lane_row, column};
    }
    __device__ __forceinline__ void look_up(const AttentionFwdParams &params, int32_t rows) {
      const int32_t row = row_ + rows + thread_anew() % 32;
      entry_ = row < params.seqlen_kv ? Tensor::entry(params, row) : 0;
    }
    __device__ __forceinline__ void ascend(const AttentionFwdParams &params, int32_t rows) {
      row_ += rows;
      own_place_ =
          reinterpret_cast<uint64_t>(Tensor::first(params) + Tensor::offset(params, row_ + thread_anew() % 32, entry_));
    }

   private:
    uint64_t own_place_;  // of the lane's own row
    int32_t row_, entry_;
  };
};

// As DescendingLoader (tile_io.cuh), for rows in pages, by all threads of a block. While a tile's rows are copied those of the next one are
// looked up, one by each thread; the barrier that is between any two loads lets all threads read what was found.
template <bool of_values, int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows>
class DescendingPagedLoader {
 public:
  // memory: for the places of the rows of two tiles, 8 bytes each, which no other thread reads before the next barrier.
  __device__ __forceinline__ DescendingPagedLoader(const AttentionFwdParams &params, int32_t last_tile, void *memory)
      : params_(params), offsets_(static_cast<int64_t *>(memory)), tile_(last_tile) {}

  __device__ __forceinline__ void load_last(SharedAddress tile, int32_t column_end = Rows::columns) {
    load(tile, column_end, [&](int32_t row) {
      const int32_t of_sequence = tile_ * tile_rows + row;
      const bool there = of_sequence < params_.seqlen_kv;
      return Place{there ? Tensor::offset(params_, of_sequence) : 0, there};
    });
  }
  __device__ __forceinline__ void load_next(SharedAddress tile, int32_t column_end = Rows::columns) {
    load(tile, column_end, [&](int32_t row) { return Place{offsets_[tile_ % 2 * tile_rows + row], true}; });
  }

 private:
  using Tensor = PagedTensor<of_values>;
  using Share = TileShare<tile_rows, threads, Rows>;
  struct Place {
    int64_t offset;
    bool there;
  };
  template <typename PlaceOf>
  __device__ __forceinline__ void load(SharedAddress tile, int32_t column_end, PlaceOf place_of) {
    const int32_t thread = thread_anew();
    const uint16_t *const first = Tensor::first(params_);
#pragma unroll
    for (int32_t pass = 0; pass < Share::passes; ++pass) {
      const int32_t row = Share::row(thread, pass);
      const Place place = place_of(row);
#pragma unroll
      for (int32_t span = 0; span < Share::spans; ++span) {
        const int32_t chunk = Share::chunk(thread, span);
        const bool valid = place.there && chunk * 8 < column_end;
        copy_chunk<alignment_bytes>(tile + Rows::offset(row, chunk), first + place.offset + (valid ? chunk * 8 : 0),
                                    valid);
      }
    }
    if (--tile_ < 0) return;
#pragma unroll
    for (int32_t row = thread; row < tile_rows; row += threads)
      offsets_[tile_ % 2 * tile_rows + row] = Tensor::offset(params_, tile_ * tile_rows + row);
  }

  const AttentionFwdParams &params_;
  int64_t *offsets_;
  int32_t tile_;
};

}  // namespace flashcore::kernels
