// SPDX-License-Identifier: Apache-2.0
//
// What the stand-in driver writes into a tensor map, since the driver's own form is not known: the arguments of cuTensorMapEncodeTiled.
#pragma once

#include <cstdint>

namespace fake {

struct TensorMapImage {
  static constexpr uint16_t is_one = 0x7ab5;

  uint64_t address;
  uint64_t sizes[5];          // elements
  uint64_t strides_bytes[4];  // of all dimensions but the first
  uint32_t box[5], element_strides[5];
  uint8_t type, rank, interleave, swizzle, promotion, fill;  // the enumerators of cuda.h
  uint16_t mark;
};
static_assert(sizeof(TensorMapImage) == 128);

}  // namespace fake
