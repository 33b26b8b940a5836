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

}  // namespace flashcore::kernels
