// SPDX-License-Identifier: Apache-2.0
//
// Tensor maps: what Hopper's copy engine is told of a tensor, 128 bytes that only the driver can write. A kernel that takes them has
// room for each in its parameters and says which they are; whoever launches it has them encoded, anew where a tensor has moved.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

struct alignas(64) TensorMap {
  uint64_t words[16];
};

// The map of one operand, whose dimensions are column, row, head and batch entry: boxes of 64 columns, which are 128 bytes of 16-bit
// elements, permuted by 16 bytes as wgmma reads them. What lies outside of the tensor arrives as zeros.
struct TensorMapRule {
  int32_t operand;      // AttentionOperand
  int32_t byte_offset;  // in the parameters
  int32_t box_rows;     // no more than 256
  // The query heads of a key head are packed: dimensions are column, head, row and batch entry, and a box has the heads that share a key head,
  // of as many rows as make box_rows or fewer.
  bool packed = false;
  // Batch entries are pages, and a box lies in one of them: it has rows_of_box() rows.
  bool in_pages = false;
};
// Rows of a box, where tiles of so many rows are brought box by box from pages of so many: the most that no page ends in.
constexpr int32_t rows_of_box(int32_t page_size, int32_t tile_rows) {
  while (page_size != 0) {
    const int32_t rest = tile_rows % page_size;
    tile_rows = page_size, page_size = rest;
  }
  return tile_rows;
}
inline constexpr int32_t most_tensor_maps = 4, tensor_map_columns = 64;

}  // namespace flashcore::kernels
