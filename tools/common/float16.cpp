// SPDX-License-Identifier: Apache-2.0
//
// Conversions by the definition of the formats: sign, exponent and significand are taken apart and put together with
// frexp and ldexp, so that this file can be checked against the IEEE 754 tables by reading it.
#include "float16.hpp"

#include <cmath>
#include <limits>

namespace flashcore::tools {
namespace {

struct Format {
  int significand_bits;  // stored ones
  int minimum_exponent;  // of the smallest normal number
  uint16_t infinity() const { return static_cast<uint16_t>(exponent_field_max() << significand_bits); }
  uint16_t quiet_nan() const { return static_cast<uint16_t>(infinity() | (1u << (significand_bits - 1))); }
  uint32_t exponent_field_max() const { return (1u << (15 - significand_bits)) - 1; }
};
constexpr Format float16_format = {10, -14};
constexpr Format bfloat16_format = {7, -126};

double decode(const Format &format, uint16_t bits) {
  const double sign = (bits & 0x8000u) != 0 ? -1.0 : 1.0;
  const uint32_t exponent_field = (bits & 0x7fffu) >> format.significand_bits;
  const uint32_t fraction = bits & ((1u << format.significand_bits) - 1);
  if (exponent_field == format.exponent_field_max())
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  const int unit_exponent = format.minimum_exponent - format.significand_bits;  // of the last bit of a subnormal number
  if (exponent_field == 0) return sign * std::ldexp(fraction, unit_exponent);
  return sign *
         std::ldexp(fraction + (1u << format.significand_bits), unit_exponent + static_cast<int>(exponent_field) - 1);
}

uint16_t encode(const Format &format, double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000u : 0u;
  if (std::isnan(value)) return static_cast<uint16_t>(sign | format.quiet_nan());
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return static_cast<uint16_t>(sign | format.infinity());
  if (magnitude == 0) return sign;
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent -= 1;  // magnitude = m * 2^exponent with m in [1, 2)
  if (exponent < format.minimum_exponent) exponent = format.minimum_exponent;
  // The number in units of its last bit; nearbyint rounds ties to even in the default rounding mode. A carry into the
  // next exponent needs no special case: the fields of the format are adjacent.
  const double units = std::nearbyint(std::ldexp(magnitude, format.significand_bits - exponent));
  const auto biased = static_cast<uint64_t>(exponent - format.minimum_exponent) << format.significand_bits;
  const uint64_t bits = biased + static_cast<uint64_t>(units);
  if (bits >= format.infinity()) return static_cast<uint16_t>(sign | format.infinity());
  return static_cast<uint16_t>(sign | bits);
}

}  // namespace

double float16_to_double(uint16_t bits) { return decode(float16_format, bits); }
double bfloat16_to_double(uint16_t bits) { return decode(bfloat16_format, bits); }
uint16_t double_to_float16(double value) { return encode(float16_format, value); }
uint16_t double_to_bfloat16(double value) { return encode(bfloat16_format, value); }

}  // namespace flashcore::tools
