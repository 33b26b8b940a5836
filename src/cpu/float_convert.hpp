// SPDX-License-Identifier: Apache-2.0
//
// Number conversions and exp2 without branches, so that a loop over them vectorises for any instruction set. Nothing
// here relies on gradual underflow of float32: a host that switched subnormals off (FTZ, DAZ) gets the same numbers.
#pragma once

#include <bit>
#include <cstdint>

#ifdef __FAST_MATH__
#error "these functions round by adding and subtracting; -ffast-math removes that"
#endif

// A helper must become part of the caller's own instruction set, so the compiler gets no choice.
#define FLASHCORE_CPU_INLINE inline __attribute__((always_inline))

namespace flashcore {

FLASHCORE_CPU_INLINE float float16_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t magnitude = static_cast<uint32_t>(bits & 0x7fffu)
                             << 13;  // exponent and fraction in their float32 places
  const uint32_t normal = magnitude + ((127u - 15u) << 23);
  const uint32_t infinite = magnitude + ((255u - 31u) << 23);  // infinity and NaN: the largest exponent in both types
  // A subnormal f * 2^-24 is the fraction of a number with exponent -14, less that number's leading one.
  const float subnormal = std::bit_cast<float>(magnitude + (113u << 23)) - std::bit_cast<float>(113u << 23);
  const uint32_t small = magnitude < (1u << 23) ? std::bit_cast<uint32_t>(subnormal) : normal;
  return std::bit_cast<float>((magnitude >= (31u << 23) ? infinite : small) | sign);
}

// Round to nearest, ties to even; overflow gives infinity; NaN stays a (quiet) NaN.
FLASHCORE_CPU_INLINE uint16_t float_to_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal result: drop 13 bits, half of the last kept bit added first (less one unless that bit is odd).
  const uint32_t normal = (magnitude - ((127u - 15u) << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal result: adding 0.5 leaves a float32 whose last bit is worth 2^-24, rounded by the addition itself.
  const float aligned = std::bit_cast<float>(magnitude) + 0.5f;
  const uint32_t subnormal = std::bit_cast<uint32_t>(aligned) - std::bit_cast<uint32_t>(0.5f);
  const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
  const uint32_t special = magnitude > (255u << 23) ? 0x7e00u : 0x7c00u;
  const uint32_t overflow_begin = 0x477ff000u;  // 65520, half way between the largest float16 and the next
  return static_cast<uint16_t>((magnitude >= overflow_begin ? special : finite) | sign);
}

FLASHCORE_CPU_INLINE float bfloat16_to_float(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

FLASHCORE_CPU_INLINE uint16_t float_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);  // a carry past the largest number gives infinity
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return static_cast<uint16_t>((nan ? bits | 0x400000u : rounded) >> 16);
}

// A probability in [0, 1] (or NaN) rounded to the type and back. Cheaper than the general conversions: no overflow, no
// sign.
FLASHCORE_CPU_INLINE float round_probability_to_float16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const float normal = std::bit_cast<float>((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
  const float subnormal = (value + 0.5f) - 0.5f;
  return value < 0x1p-14f ? subnormal : normal;
}
FLASHCORE_CPU_INLINE float round_probability_to_bfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fffu + ((bits >> 16) & 1u)) & ~0xffffu);
}

// `fused`: the caller's instruction set has a fused multiply-add; without one, fmaf would be a library call.
template <bool fused>
FLASHCORE_CPU_INLINE float multiply_add(float a, float b, float c) {
  if constexpr (fused)
    return __builtin_fmaf(a, b, c);
  else
    return a * b + c;
}

// 2^x for x <= 0 (and a little above), relative error about 1e-7; 0 below -126.5; NaN stays NaN.
// x = n + r with n whole and |r| <= 1/2; 2^r by a polynomial (minimax in relative error, 2e-9 before rounding).
template <bool fused>
FLASHCORE_CPU_INLINE float exp2_nonpositive(float x) {
  x = x < -127.0f ? -127.0f : x;
  const float rounder = 0x1.8p23f;  // its last bit is worth 1: the sum holds n in its low bits
  const float shifted = x + rounder;
  const float r = x - (shifted - rounder);
  float p = 0x1.41d334p-13f;
  p = multiply_add<fused>(p, r, 0x1.5f456ap-10f);
  p = multiply_add<fused>(p, r, 0x1.3b2dbcp-7f);
  p = multiply_add<fused>(p, r, 0x1.c6aed4p-5f);
  p = multiply_add<fused>(p, r, 0x1.ebfbdap-3f);
  p = multiply_add<fused>(p, r, 0x1.62e430p-1f);
  p = multiply_add<fused>(p, r, 1.0f);
  const uint32_t power_bits = (std::bit_cast<uint32_t>(shifted) + 127u) << 23;  // 2^n; 0 for n = -127
  return p * std::bit_cast<float>(power_bits);
}

// By its series where x is small, because the other form loses digits there; relative error below 1e-6; NaN stays NaN.
template <bool fused>
FLASHCORE_CPU_INLINE float tanh_of(float x) {
  const float size = x < 0.0f ? -x : x, square = x * x;
  const float power = exp2_nonpositive<fused>(size * -2.8853900817779268f);  // e^-2|x|
  const float far = (1.0f - power) / (1.0f + power);
  float series = multiply_add<fused>(-0.0539682540f, square, 0.133333333f);
  series = multiply_add<fused>(series, square, -0.333333333f);
  series = multiply_add<fused>(series, square, 1.0f);
  return size < 0.25f ? x * series : x < 0.0f ? -far : far;
}

}  // namespace flashcore
