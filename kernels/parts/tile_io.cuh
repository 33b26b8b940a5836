// SPDX-License-Identifier: Apache-2.0
//
// Tiles of rows between global memory and swizzled shared memory. Rows past the end of the sequence are zeros in shared
// memory (whatever lies behind them in global memory is never read) and are never stored.
#pragma once

#include "attention_fwd/params.h"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/rows.cuh"
#include "parts/swizzle.cuh"

namespace flashcore::kernels {

// Eight neighbouring elements of any alignment, one by one.
__device__ __forceinline__ uint4 gather_8(const uint16_t *elements) {
  uint32_t words[4];
#pragma unroll
  for (int32_t i = 0; i < 4; ++i)
    words[i] = static_cast<uint32_t>(elements[2 * i]) | static_cast<uint32_t>(elements[2 * i + 1]) << 16;
  return make_uint4(words[0], words[1], words[2], words[3]);
}

// Which chunks of a tile a thread moves: a group of neighbouring chunks of a row falls to neighbouring threads, and each
// thread has the same place in every group of a row (`spans` of them) and in every `rows_per_pass`-th row. So all its
// addresses are one base and constants.
template <int32_t tile_rows, int32_t threads, typename Rows>
struct TileShare {
  static constexpr int32_t group = Rows::group_chunks, spans = Rows::columns / 8 / group;
  static constexpr int32_t rows_per_pass = threads / group, passes = tile_rows / rows_per_pass;
  static_assert(threads % group == 0 && tile_rows % rows_per_pass == 0, "every thread moves the same number of chunks");
  static constexpr __device__ __forceinline__ int32_t row(int32_t thread, int32_t pass) {
    return pass * rows_per_pass + thread / group;
  }
  static constexpr __device__ __forceinline__ int32_t chunk(int32_t thread, int32_t span) {
    return span * group + thread % group;
  }
};

// Eight elements to shared memory, or zeros where `valid` is false (nothing is read then). With 16-byte alignment the copy
// runs in the background (commit and wait are the caller's); otherwise it is done when the function returns.
template <int32_t alignment_bytes>
__device__ __forceinline__ void copy_chunk(SharedAddress destination, const uint16_t *source, bool valid) {
  if constexpr (alignment_bytes == 16)
    copy_async_16(destination, source, valid);
  else
    store_shared_16(destination, valid ? gather_8(source) : make_uint4(0, 0, 0, 0));
}

// Rows first_row .. first_row + tile_rows - 1 into the tile at `tile`; columns from `column_end` on are zeros.
template <int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows, typename HeadRows>
__device__ __forceinline__ void load_tile(SharedAddress tile, const HeadRows &rows, int32_t first_row, int32_t row_end,
                                          int32_t thread, int32_t column_end = Rows::columns) {
  using Share = TileShare<tile_rows, threads, Rows>;
#pragma unroll
  for (int32_t pass = 0; pass < Share::passes; ++pass)
#pragma unroll
    for (int32_t span = 0; span < Share::spans; ++span) {
      const int32_t row = Share::row(thread, pass), chunk = Share::chunk(thread, span);
      const bool valid = first_row + row < row_end && chunk * 8 < column_end;
      copy_chunk<alignment_bytes>(tile + Rows::offset(row, chunk), rows.address(first_row + row, chunk * 8, valid),
                                  valid);
    }
}

// Loads the tiles of a sequence from the last to the first. Only the first one loaded can reach past the end of the
// sequence; the others are copied without a question, from a pointer that walks down: address arithmetic and bounds were a
// fifth of all instructions of the steady loop.
// `tiles_apart`: 1, or how many groups of threads take turns with the tiles.
template <int32_t tile_rows, int32_t threads, int32_t alignment_bytes, typename Rows, typename HeadRows,
          int32_t tiles_apart = 1>
class DescendingLoader {
 public:
  __device__ __forceinline__ DescendingLoader(const HeadRows &rows, int32_t last_tile, int32_t row_end, int32_t thread)
      : descent_(rows), rows_left_(row_end - last_tile * tile_rows - Share::row(thread, 0)), thread_(thread) {
    descent_.start(rows, int64_t{last_tile} * tile_rows + Share::row(thread, 0), Share::chunk(thread, 0) * 8);
  }

  // Columns from `column_end` on become zeros.
  __device__ __forceinline__ void load_last(SharedAddress tile, int32_t column_end = Rows::columns) {
    const int32_t rows_left = computed_here(rows_left_);
    load(tile, column_end, computed_here(thread_),
         [&](int32_t pass) { return pass * Share::rows_per_pass < rows_left; });
  }
  __device__ __forceinline__ void load_next(SharedAddress tile, int32_t column_end = Rows::columns) {
    load(tile, column_end, thread_, [](int32_t) { return true; });
  }

 private:
  using Share = TileShare<tile_rows, threads, Rows>;
  template <typename RowValid>
  __device__ __forceinline__ void load(SharedAddress tile, int32_t column_end, int32_t thread, RowValid row_valid) {
#pragma unroll
    for (int32_t pass = 0; pass < Share::passes; ++pass)
#pragma unroll
      for (int32_t span = 0; span < Share::spans; ++span) {
        const bool valid = row_valid(pass) && Share::chunk(thread, span) * 8 < column_end;
        copy_chunk<alignment_bytes>(tile + Rows::offset(Share::row(thread, pass), Share::chunk(thread, span)),
                                    descent_.address(pass, span * Share::group * 8, valid), valid);
      }
    descent_.descend(tiles_apart * Share::passes);
  }

  typename HeadRows::template Descent<Share::rows_per_pass> descent_;
  int32_t rows_left_;
  int32_t thread_;
};

// Zero every infinity and NaN among the chunks that this thread itself loaded (so that no barrier is needed before), and
// say whether there were any.
template <int32_t tile_rows, int32_t threads, int32_t dtype, typename Rows>
__device__ __forceinline__ bool clear_nonfinite(SharedAddress tile, int32_t thread) {
  using Share = TileShare<tile_rows, threads, Rows>;
  bool any = false;
#pragma unroll
  for (int32_t pass = 0; pass < Share::passes; ++pass)
#pragma unroll
    for (int32_t span = 0; span < Share::spans; ++span) {
      const SharedAddress address = tile + Rows::offset(Share::row(thread, pass), Share::chunk(thread, span));
      uint4 value = load_shared_16(address);
      if (!clear_nonfinite_chunk<dtype>(value)) continue;
      any = true;
      store_shared_16(address, value);
    }
  return any;
}

// One row of a C fragment, rounded and packed, from registers to memory. words[n] of lane t holds columns 8n+2t and 8n+2t+1;
// the four lanes of a quad exchange words so that each has whole chunks, and a quad writes 64 bytes in a row. Needs neither
// shared memory nor a barrier (through shared memory it took as long).
template <int32_t alignment_bytes, int32_t count>
__device__ __forceinline__ void store_row(uint16_t *row, uint32_t (&words)[count], int32_t lane_in_quad, bool valid,
                                          int32_t column_end) {
  static_assert(count % 4 == 0);
  if constexpr (alignment_bytes == 16) {
    const bool odd = (lane_in_quad & 1) != 0, upper = (lane_in_quad & 2) != 0;
#pragma unroll
    for (int32_t n = 0; n < count; n += 4) {
      uint32_t(&w)[4] = reinterpret_cast<uint32_t(&)[4]>(words[n]);
      const auto exchange = [](uint32_t &low, uint32_t &high, bool have_high, int32_t distance) {
        const uint32_t other = __shfl_xor_sync(0xffffffffu, have_high ? low : high, distance);
        (have_high ? low : high) = other;
      };
      exchange(w[0], w[1], odd, 1);
      exchange(w[2], w[3], odd, 1);
      exchange(w[0], w[2], upper, 2);
      exchange(w[1], w[3], upper, 2);
      const int32_t column = (n + lane_in_quad) * 8;
      if (valid && column < column_end) *reinterpret_cast<uint4 *>(row + column) = make_uint4(w[0], w[1], w[2], w[3]);
    }
  } else {
#pragma unroll
    for (int32_t n = 0; n < count; ++n) {
      if (!valid || n * 8 >= column_end) continue;
      row[n * 8 + lane_in_quad * 2] = static_cast<uint16_t>(words[n]);
      row[n * 8 + lane_in_quad * 2 + 1] = static_cast<uint16_t>(words[n] >> 16);
    }
  }
}

}  // namespace flashcore::kernels
