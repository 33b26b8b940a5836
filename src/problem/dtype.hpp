// SPDX-License-Identifier: Apache-2.0
//
// Element types of the public interface: their names and sizes, and the proof that the kernels use the same numbers.
#pragma once

#include <cstdint>

#include "contract/problem_key.h"
#include "flashcore/flashcore.h"

namespace flashcore {

static_assert(int{kernels::dtype_float16} == int{FLASHCORE_DTYPE_FLOAT16});
static_assert(int{kernels::dtype_bfloat16} == int{FLASHCORE_DTYPE_BFLOAT16});
static_assert(int{kernels::causal_none} == int{FLASHCORE_CAUSAL_NONE});
static_assert(int{kernels::causal_top_left} == int{FLASHCORE_CAUSAL_TOP_LEFT});
static_assert(int{kernels::causal_bottom_right} == int{FLASHCORE_CAUSAL_BOTTOM_RIGHT});

inline constexpr int64_t element_bytes_16bit = 2;  // of query, key, value and output
inline constexpr int64_t element_bytes_lse = 4;

// "FLASHCORE_DTYPE_FLOAT16"; nullptr for a number that is no dtype.
constexpr const char *dtype_name(int32_t dtype) {
  switch (dtype) {
    case FLASHCORE_DTYPE_DEFAULT:
      return "FLASHCORE_DTYPE_DEFAULT";
    case FLASHCORE_DTYPE_FLOAT16:
      return "FLASHCORE_DTYPE_FLOAT16";
    case FLASHCORE_DTYPE_BFLOAT16:
      return "FLASHCORE_DTYPE_BFLOAT16";
    case FLASHCORE_DTYPE_FLOAT32:
      return "FLASHCORE_DTYPE_FLOAT32";
    case FLASHCORE_DTYPE_FLOAT8_E4M3:
      return "FLASHCORE_DTYPE_FLOAT8_E4M3";
    case FLASHCORE_DTYPE_FLOAT8_E5M2:
      return "FLASHCORE_DTYPE_FLOAT8_E5M2";
    case FLASHCORE_DTYPE_INT32:
      return "FLASHCORE_DTYPE_INT32";
    case FLASHCORE_DTYPE_INT64:
      return "FLASHCORE_DTYPE_INT64";
    default:
      return nullptr;
  }
}

}  // namespace flashcore
