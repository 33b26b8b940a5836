// SPDX-License-Identifier: Apache-2.0
//
// The two 16-bit floating-point types as bit patterns, one value at a time, written for reading rather than speed. The
// library's CPU backend has its own, vectorised conversions; the tests hold the two against each other.
#pragma once

#include <cstdint>

namespace flashcore::tools {

enum class Float16Type { float16, bfloat16 };

double float16_to_double(uint16_t bits);
double bfloat16_to_double(uint16_t bits);

// Round to nearest, ties to even; overflow gives infinity, NaN stays NaN.
uint16_t double_to_float16(double value);
uint16_t double_to_bfloat16(double value);

inline double to_double(Float16Type type, uint16_t bits) {
  return type == Float16Type::float16 ? float16_to_double(bits) : bfloat16_to_double(bits);
}
inline uint16_t to_16bit(Float16Type type, double value) {
  return type == Float16Type::float16 ? double_to_float16(value) : double_to_bfloat16(value);
}

// Half the distance between 1 and the next larger number: the relative error of one rounding.
inline double unit_roundoff(Float16Type type) { return type == Float16Type::float16 ? 0x1p-11 : 0x1p-8; }

}  // namespace flashcore::tools
