// SPDX-License-Identifier: Apache-2.0
//
// Keys and values on their way into shared memory, for kernels whose rows are too wide for a tile of them to lie there whole: in pieces of 64
// keys by 64 columns, first those of a tile's keys, then those of its values, tile after tile from the first to the last. Pieces take turns with
// a few slots, and are copied while the ones before them are multiplied.
#pragma once

#include "attention_fwd/params.h"
#include "attention_fwd/wide.h"
#include "parts/mma_sm80.cuh"
#include "parts/paged_rows.cuh"
#include "parts/rows.cuh"
#include "parts/swizzle.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

using wide::piece_bytes, wide::piece_columns, wide::piece_keys, wide::pieces_of;
using PieceRows = SwizzledRows<piece_columns>;

// Where a thread copies from: a chunk of a row, and of every `rows_apart`-th row of the piece. By strides, or in pages, whose entries in the table
// are looked up once for all pieces of a tile. memory: of a paged kernel's places (wide.h).
template <typename KeyRows, int32_t rows_apart>
class PieceSource;
template <int32_t rows_apart>
class PieceSource<StridedRows, rows_apart> {
 public:
  static constexpr bool looks_up = false;

  __device__ __forceinline__ PieceSource(const AttentionFwdParams &params, int32_t batch, int32_t head_kv,
                                         int32_t first_tile, void *)
      : keys_(first_of(StridedRows::keys(params, batch, head_kv), first_tile)),
        values_(first_of(StridedRows::values(params, batch, head_kv), first_tile)) {}
  // The first piece of the next tile's keys, or of its values.
  __device__ __forceinline__ void begin(const AttentionFwdParams &params, bool of_values) {
    source_ = of_values ? values_ : keys_;
    (of_values ? values_ : keys_) += piece_keys * stride(params, of_values);
  }
  // Where the row is not there, the address is not read.
  __device__ __forceinline__ const uint16_t *address(const AttentionFwdParams &params, bool of_values, int32_t,
                                                     int32_t pass) const {
    return source_ + pass * (rows_apart * stride(params, of_values));
  }
  __device__ __forceinline__ void advance() { source_ += piece_columns; }

 private:
  static __device__ __forceinline__ const uint16_t *first_of(const StridedRows &rows, int32_t tile) {
    return rows.row(tile * piece_keys + thread_anew() / 8) + thread_anew() % 8 * 8;
  }
  static __device__ __forceinline__ int64_t stride(const AttentionFwdParams &params, bool of_values) {
    return of_values ? params.value.stride_row : params.key.stride_row;
  }

  const uint16_t *keys_, *values_;  // of the next tile
  const uint16_t *source_;
};
template <int32_t rows_apart>
class PieceSource<PagedRows, rows_apart> {
 public:
  static constexpr bool looks_up = true;

  __device__ __forceinline__ PieceSource(const AttentionFwdParams &, int32_t, int32_t, int32_t, void *memory)
      : entries_(static_cast<int32_t *>(memory)) {}
  // Of a tile, and later, a barrier before its first piece, written down for all threads: what is waited for at once comes back behind all
  // copies that are under way.
  __device__ __forceinline__ void look_up(const AttentionFwdParams &params, int32_t tile) {
    const int32_t thread = thread_anew(), row = min(tile * piece_keys + thread % piece_keys, params.seqlen_kv - 1);
    if (thread < 2 * piece_keys)
      found_ = thread < piece_keys ? PagedTensor<false>::entry(params, row) : PagedTensor<true>::entry(params, row);
  }
  __device__ __forceinline__ void write_down(int32_t tile) const {
    if (thread_anew() < 2 * piece_keys) entries_[tile % 2 * 2 * piece_keys + thread_anew()] = found_;
  }
  __device__ __forceinline__ void begin(const AttentionFwdParams &, bool) { column_ = thread_anew() % 8 * 8; }
  __device__ __forceinline__ const uint16_t *address(const AttentionFwdParams &params, bool of_values, int32_t tile,
                                                     int32_t pass) const {
    const int32_t in_tile = pass * rows_apart + thread_anew() / 8;
    const int32_t entry = entries_[(tile % 2 * 2 + (of_values ? 1 : 0)) * piece_keys + in_tile];
    const RaggedRows &rows = params.ragged;
    const int32_t row = rows.first_key_row + tile * piece_keys + in_tile,
                  in_page = row - page_of(rows, row) * rows.page_size;
    // The block's head is in the address (set_sequence() of sequence.cuh).
    const TensorView &view = of_values ? params.value : params.key;
    return reinterpret_cast<const uint16_t *>(view.data) + held_page(entry, rows.kv_batches) * view.stride_batch +
           in_page * view.stride_row + column_;
  }
  __device__ __forceinline__ void advance() { column_ += piece_columns; }

 private:
  int32_t *entries_;  // of two tiles: those of keys, and those of values behind them
  int32_t column_, found_;
};

// By all threads of a block, which take every piece together.
template <int32_t threads, int32_t slots, int32_t alignment_bytes, typename KeyRows>
class Pieces {
 public:
  static constexpr int32_t rows_apart = threads / 8;
  using Source = PieceSource<KeyRows, rows_apart>;

  // Of the tiles first_tile .. tile_end - 1. slot: of `slots` pieces in shared memory. Every thread of the block is there.
  __device__ __forceinline__ Pieces(const AttentionFwdParams &params, const Source &source, SharedAddress slot,
                                    int32_t first_tile, int32_t tile_end)
      : params_(params), source_(source), slots_(slot), tile_(first_tile), tile_end_(tile_end) {
    if constexpr (Source::looks_up)
      if (tile_ < tile_end_) source_.look_up(params_, tile_), source_.write_down(tile_);
#pragma unroll 1
    for (int32_t i = 0; i < slots - 1; ++i) {
      if constexpr (Source::looks_up) __syncthreads();
      copy();
    }
  }
  // The next piece, which has arrived. All threads are done with the one before.
  __device__ __forceinline__ SharedAddress next() {
    copy_async_wait<slots - 2>();
    __syncthreads();
    copy();
    const SharedAddress piece = slots_ + read_;
    read_ = read_ == (slots - 1) * piece_bytes ? 0 : read_ + piece_bytes;
    return piece;
  }

 private:
  // One piece begins to be copied, if there is one more. Each time a group of copies is closed, empty or not, so that waits can count.
  __device__ __forceinline__ void copy() {
    if (tile_ < tile_end_) {
      const int32_t keys = pieces_of(params_.head_dim), thread = thread_anew();
      const bool of_values = piece_ >= keys;
      if (piece_ == 0 || piece_ == keys) source_.begin(params_, of_values);
      const int32_t column = (of_values ? piece_ - keys : piece_) * piece_columns + thread % 8 * 8,
                    columns = of_values ? params_.head_dim_v : params_.head_dim;
      const int32_t rows_left = column < columns ? params_.seqlen_kv - tile_ * piece_keys - thread / 8 : 0;
      const SharedAddress place = slots_ + write_ + PieceRows::offset(thread / 8, thread % 8);
#pragma unroll
      for (int32_t pass = 0; pass < piece_keys / rows_apart; ++pass)
        copy_chunk<alignment_bytes>(place + pass * rows_apart * piece_columns * 2,
                                    source_.address(params_, of_values, tile_, pass), pass * rows_apart < rows_left);
      source_.advance();
      if constexpr (Source::looks_up) {
        if (piece_ == 0 && tile_ + 1 < tile_end_) source_.look_up(params_, tile_ + 1);
        // A barrier lies between this and the first copy of that tile.
        if (piece_ == keys && tile_ + 1 < tile_end_) source_.write_down(tile_ + 1);
      }
      write_ = write_ == (slots - 1) * piece_bytes ? 0 : write_ + piece_bytes;
      if (++piece_ == keys + pieces_of(params_.head_dim_v)) piece_ = 0, ++tile_;
    }
    copy_async_commit();
  }

  const AttentionFwdParams &params_;
  Source source_;
  SharedAddress slots_;
  int32_t tile_, tile_end_, piece_ = 0;  // that is copied next
  uint32_t write_ = 0, read_ = 0;        // slots, in bytes
};

}  // namespace flashcore::kernels
