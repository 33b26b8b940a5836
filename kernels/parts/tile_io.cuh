// SPDX-License-Identifier: Apache-2.0
//
// Tiles of rows between global memory and swizzled shared memory. Rows past the end of the sequence are zeros in shared
// memory (whatever lies behind them in global memory is never read) and are never stored.
#pragma once

#include "contract/kernel_params.h"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/swizzle.cuh"

namespace flashcore::kernels {

// The rows of one (batch, head) of a tensor of 16-bit elements.
struct HeadRows {
  uint16_t *first;
  int64_t stride;  // elements between rows
};

__device__ __forceinline__ HeadRows head_rows(const TensorView &tensor, int32_t batch, int32_t head) {
  return {reinterpret_cast<uint16_t *>(tensor.data) + batch * tensor.stride_batch + head * tensor.stride_head, tensor.stride_row};
}

// Eight neighbouring elements of any alignment, one by one.
__device__ __forceinline__ uint4 gather_8(const uint16_t *elements) {
  uint32_t words[4];
#pragma unroll
  for (int32_t i = 0; i < 4; ++i)
    words[i] = static_cast<uint32_t>(elements[2 * i]) | static_cast<uint32_t>(elements[2 * i + 1]) << 16;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Rows first_row .. first_row + tile_rows - 1 into the tile at `tile`. With 16-byte alignment the copy runs in the
// background (commit and wait are the caller's); otherwise it is done when the function returns.
template <int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows>
__device__ __forceinline__ void load_tile(SharedAddress tile, const HeadRows &rows, int32_t first_row, int32_t row_end, int32_t thread) {
  constexpr int32_t chunks = Rows::columns / 8, rows_per_pass = threads / chunks;
  static_assert(threads % chunks == 0 && tile_rows % rows_per_pass == 0, "every thread moves the same number of chunks");
  const int32_t chunk = thread % chunks, row_in_pass = thread / chunks;
#pragma unroll
  for (int32_t pass = 0; pass < tile_rows / rows_per_pass; ++pass) {
    const int32_t row = pass * rows_per_pass + row_in_pass;
    const bool valid = first_row + row < row_end;
    // An invalid row points at the tensor's own first row: never read, but a legal address.
    const uint16_t *source = rows.first + (valid ? (first_row + row) * rows.stride : 0) + chunk * 8;
    const SharedAddress destination = tile + Rows::offset(row, chunk);
    if constexpr (alignment_bytes == 16)
      copy_async_16(destination, source, valid);
    else
      store_shared_16(destination, valid ? gather_8(source) : make_uint4(0, 0, 0, 0));
  }
}

// Loads the tiles of a sequence from the last to the first. Only the first one loaded can reach past the end of the
// sequence; the others are copied without a question, from a pointer that walks down: address arithmetic and bounds were a
// fifth of all instructions of the steady loop.
// `tiles_apart`: 1, or how many groups of threads take turns with the tiles.
template <int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows, int32_t tiles_apart = 1>
class DescendingLoader {
 public:
  __device__ __forceinline__ DescendingLoader(const HeadRows &rows, int32_t last_tile, int32_t row_end, int32_t thread)
      : pass_stride_(rows.stride * rows_per_pass), rows_left_(row_end - last_tile * tile_rows - thread / chunks),
        thread_(thread) {
    source_ = rows.first + (int64_t{last_tile} * tile_rows + thread / chunks) * rows.stride + thread % chunks * 8;
  }

  __device__ __forceinline__ void load_last(SharedAddress tile) {
#pragma unroll
    for (int32_t pass = 0; pass < passes; ++pass) load_chunk(tile, pass, pass * rows_per_pass < rows_left_);
    step_down();
  }
  __device__ __forceinline__ void load_next(SharedAddress tile) {
#pragma unroll
    for (int32_t pass = 0; pass < passes; ++pass) load_chunk(tile, pass, true);
    step_down();
  }

 private:
  static constexpr int32_t chunks = Rows::columns / 8, rows_per_pass = threads / chunks, passes = tile_rows / rows_per_pass;
  static_assert(threads % chunks == 0 && tile_rows % rows_per_pass == 0, "every thread moves the same number of chunks");
  __device__ __forceinline__ void load_chunk(SharedAddress tile, int32_t pass, bool valid) {
    const SharedAddress destination = tile + Rows::offset(pass * rows_per_pass + thread_ / chunks, thread_ % chunks);
    const uint16_t *source = source_ + pass * pass_stride_;
    if constexpr (alignment_bytes == 16)
      copy_async_16(destination, source, valid);
    else
      store_shared_16(destination, valid ? gather_8(source) : make_uint4(0, 0, 0, 0));
  }
  __device__ __forceinline__ void step_down() { source_ -= tiles_apart * passes * pass_stride_; }

  const uint16_t *source_;
  const int64_t pass_stride_;
  const int32_t rows_left_;
  const int32_t thread_;
};

// Zero every infinity and NaN among the chunks that this thread itself loaded (so that no barrier is needed before), and
// say whether there were any.
template <int32_t tile_rows, int32_t threads, int32_t dtype, typename Rows>
__device__ __forceinline__ bool clear_nonfinite(SharedAddress tile, int32_t thread) {
  constexpr int32_t chunks = Rows::columns / 8, rows_per_pass = threads / chunks;
  const int32_t chunk = thread % chunks, row_in_pass = thread / chunks;
  bool any = false;
#pragma unroll
  for (int32_t pass = 0; pass < tile_rows / rows_per_pass; ++pass) {
    const SharedAddress address = tile + Rows::offset(pass * rows_per_pass + row_in_pass, chunk);
    uint4 value = load_shared_16(address);
    if (!clear_nonfinite_chunk<dtype>(value)) continue;
    any = true;
    store_shared_16(address, value);
  }
  return any;
}

// Overwrite the tile with 1 where memory holds a value of the kind (0: +infinity, 1: -infinity, 2: NaN), else 0.
template <int32_t tile_rows, int32_t threads, int32_t dtype, typename Rows>
__device__ __forceinline__ void mark_tile(SharedAddress tile, const HeadRows &rows, int32_t first_row, int32_t row_end, int32_t thread,
                                          int32_t kind) {
  constexpr int32_t chunks = Rows::columns / 8;
  constexpr uint32_t sign2 = 0x80008000u;
#pragma unroll 1
  for (int32_t i = thread; i < tile_rows * chunks; i += threads) {
    const int32_t row = i / chunks, chunk = i % chunks;
    uint4 value = make_uint4(0, 0, 0, 0);
    if (first_row + row < row_end) value = gather_8(rows.first + (first_row + row) * rows.stride + chunk * 8);
    uint32_t words[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
    for (uint32_t &word : words) {
      const uint32_t infinite = __vcmpeq2(word & ~sign2, exponent_mask2<dtype>);
      const uint32_t negative = __vcmpeq2(word & sign2, sign2);
      const uint32_t here = kind == 2 ? nonfinite_halves<dtype>(word) & ~infinite : infinite & (kind == 1 ? negative : ~negative);
      word = here & one2<dtype>;
    }
    store_shared_16(tile + Rows::offset(row, chunk), make_uint4(words[0], words[1], words[2], words[3]));
  }
}

// The reverse, for a part of a tile that `threads` threads (numbered by `thread`) have to themselves.
template <int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows>
__device__ __forceinline__ void store_tile(SharedAddress tile, const HeadRows &rows, int32_t thread, int32_t first_tile_row,
                                           int32_t first_row, int32_t row_end) {
  constexpr int32_t chunks = Rows::columns / 8, rows_per_pass = threads / chunks;
  static_assert(threads % chunks == 0 && tile_rows % rows_per_pass == 0, "every thread moves the same number of chunks");
  const int32_t chunk = thread % chunks, row_in_pass = thread / chunks;
#pragma unroll
  for (int32_t pass = 0; pass < tile_rows / rows_per_pass; ++pass) {
    const int32_t row = pass * rows_per_pass + row_in_pass;
    if (first_row + row >= row_end) continue;
    const uint4 value = load_shared_16(tile + Rows::offset(first_tile_row + row, chunk));
    uint16_t *destination = rows.first + (first_row + row) * rows.stride + chunk * 8;
    if constexpr (alignment_bytes == 16) {
      *reinterpret_cast<uint4 *>(destination) = value;
    } else {
      const uint32_t words[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
      for (int32_t i = 0; i < 8; ++i) destination[i] = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
    }
  }
}

}  // namespace flashcore::kernels
