// SPDX-License-Identifier: Apache-2.0
//
// The element types of tensors: their numbers, and how many bytes an element takes.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// Numbers of the public header's dtype enumeration; static_asserts in src/problem hold them together.
enum Dtype : int32_t {
  dtype_float16 = 1,
  dtype_bfloat16 = 2,
  dtype_float32 = 3,
  dtype_float8_e4m3 = 4,
  dtype_float8_e5m2 = 5,
  dtype_int32 = 6,
  dtype_int64 = 7,
};

// 0 for a number that is no type.
constexpr int32_t element_bytes(int32_t dtype) {
  switch (dtype) {
    case dtype_float8_e4m3:
    case dtype_float8_e5m2:
      return 1;
    case dtype_float16:
    case dtype_bfloat16:
      return 2;
    case dtype_float32:
    case dtype_int32:
      return 4;
    case dtype_int64:
      return 8;
    default:
      return 0;
  }
}

}  // namespace flashcore::kernels
