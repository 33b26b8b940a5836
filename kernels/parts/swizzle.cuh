// SPDX-License-Identifier: Apache-2.0
//
// Where a 16-byte chunk of a tile row lies in shared memory. Rows are not padded; instead the low three bits of the chunk
// index are exclusive-ored with the row, so that the eight rows of one ldmatrix phase, and the eight chunks of one store
// phase, fall into different banks. Plain C++: the host tests count conflicts with the same function.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// The two ways to lay out the rows of a 16-bit tile, as the tile functions take them.
//
// Rows of whole 128-byte lines permute eight chunks by the row; rows that end in half a line (32 and 96 columns, where two
// neighbouring rows start in different halves) permute four chunks by every second row.
template <int32_t row_columns>
struct SwizzledRows {
  static_assert(row_columns % 32 == 0, "a row holds whole groups of permuted chunks");
  static constexpr int32_t columns = row_columns;
  static constexpr int32_t group_chunks = columns % 64 == 0 ? 8 : 4;  // the permutation stays within a group
  // Byte offset of chunk `chunk` of row `row`.
  static constexpr int32_t offset(int32_t row, int32_t chunk) {
    return row * columns * 2 + ((chunk ^ (row / (8 / group_chunks) % group_chunks)) * 16);
  }
  // From the address of chunk 0 or 1 of a row to the chunk `chunks` (even) further on, without knowing the row: one exclusive
  // or for the permuted bits, and a constant for the rest, which an instruction takes for free. Tiles must be aligned.
  static constexpr uint32_t advance(uint32_t address, int32_t chunks) {
    return (address ^ static_cast<uint32_t>(chunks % group_chunks * 16)) +
           static_cast<uint32_t>(chunks / group_chunks * group_chunks * 16);
  }
};
template <int32_t row_columns>
struct PaddedRows {  // 16 bytes of padding, for instructions that take a pitch
  static constexpr int32_t columns = row_columns, group_chunks = 8;
  static constexpr int32_t offset(int32_t row, int32_t chunk) { return row * (columns + 8) * 2 + chunk * 16; }
};

}  // namespace flashcore::kernels
