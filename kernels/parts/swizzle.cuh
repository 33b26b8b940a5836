// SPDX-License-Identifier: Apache-2.0
//
// Where a 16-byte chunk of a tile row lies in shared memory. Rows are not padded; instead the low three bits of the chunk
// index are exclusive-ored with the row, so that the eight rows of one ldmatrix phase, and the eight chunks of one store
// phase, fall into different banks. Plain C++: the host tests count conflicts with the same function.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// Byte offset of chunk `chunk` of row `row` in a tile of `columns` 16-bit columns (a multiple of 64).
template <int32_t columns>
constexpr int32_t swizzled_offset(int32_t row, int32_t chunk) {
  static_assert(columns % 64 == 0, "a row holds whole groups of eight chunks");
  return row * columns * 2 + ((chunk ^ (row & 7)) * 16);
}

// The two ways to lay out the rows of a 16-bit tile, as the tile functions take them.
template <int32_t row_columns>
struct SwizzledRows {
  static constexpr int32_t columns = row_columns;
  static constexpr int32_t offset(int32_t row, int32_t chunk) { return swizzled_offset<columns>(row, chunk); }
  // From the address of chunk 0 or 1 of a row to the chunk `chunks` (even) further on, without knowing the row: one exclusive
  // or for the low three bits, and a constant for the rest, which an instruction takes for free. Tiles must be aligned.
  static constexpr uint32_t advance(uint32_t address, int32_t chunks) {
    return (address ^ static_cast<uint32_t>(chunks % 8 * 16)) + static_cast<uint32_t>(chunks / 8 * 128);
  }
};
template <int32_t row_columns>
struct PaddedRows {  // 16 bytes of padding, for instructions that take a pitch
  static constexpr int32_t columns = row_columns;
  static constexpr int32_t offset(int32_t row, int32_t chunk) { return row * (columns + 8) * 2 + chunk * 16; }
};

}  // namespace flashcore::kernels
