// SPDX-License-Identifier: Apache-2.0
//
// The CPU backend's branch-free conversions against the plain ones of tools/common: every 16-bit pattern, and float32
// patterns around every rounding decision and all over the range. exp2 against the C library's in float64.
#define BOOST_TEST_MODULE test_float_convert
#include "cpu/float_convert.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "common/float16.hpp"

using namespace flashcore;

namespace {

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }

// Counts are compared once at the end: a BOOST_TEST per pattern would take longer than the work.
struct Mismatch {
  int64_t count = 0;
  uint32_t first_pattern = 0;
  void note(bool same, uint32_t pattern) {
    if (same) return;
    if (count++ == 0) first_pattern = pattern;
  }
  void check() const {
    BOOST_TEST(count == 0, count << " patterns differ, the first is 0x" << std::hex << first_pattern);
  }
};

bool same_number(float value, double expected) {
  if (std::isnan(expected)) return std::isnan(value);
  return bits_of(value) ==
         bits_of(static_cast<float>(expected));  // 16-bit values are exact as float; also tells -0 from 0
}

bool same_16bit(tools::Float16Type type, float value, uint16_t bits) {
  const uint16_t expected = tools::to_16bit(type, value);
  if (std::isnan(value)) return std::isnan(tools::to_double(type, bits));
  return bits == expected;
}

// Patterns where a conversion could go wrong: each 16-bit value, the midpoint to the next, and the neighbours of both.
template <typename Check>
void for_each_edge(tools::Float16Type type, Check check) {
  for (uint32_t n = 0; n < 0x10000; n++) {
    const double value = tools::to_double(type, static_cast<uint16_t>(n));
    const double next = tools::to_double(type, static_cast<uint16_t>(n + 1));
    if (!std::isfinite(value)) continue;
    for (double center : {value, (value + next) / 2}) {
      const uint32_t pattern = bits_of(static_cast<float>(center));
      for (uint32_t neighbour : {pattern - 1, pattern, pattern + 1}) check(neighbour);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_float16_becomes_its_value) {
  Mismatch mismatch;
  for (uint32_t n = 0; n < 0x10000; n++) {
    const auto bits = static_cast<uint16_t>(n);
    mismatch.note(same_number(float16_to_float(bits), tools::float16_to_double(bits)), n);
  }
  mismatch.check();
}

BOOST_AUTO_TEST_CASE(every_bfloat16_becomes_its_value) {
  Mismatch mismatch;
  for (uint32_t n = 0; n < 0x10000; n++) {
    const auto bits = static_cast<uint16_t>(n);
    mismatch.note(same_number(bfloat16_to_float(bits), tools::bfloat16_to_double(bits)), n);
  }
  mismatch.check();
}

BOOST_AUTO_TEST_CASE(float_rounds_to_nearest_even) {
  Mismatch half, brain;
  const auto check_both = [&](uint32_t pattern) {
    const float value = std::bit_cast<float>(pattern);
    half.note(same_16bit(tools::Float16Type::float16, value, float_to_float16(value)), pattern);
    brain.note(same_16bit(tools::Float16Type::bfloat16, value, float_to_bfloat16(value)), pattern);
  };
  for_each_edge(tools::Float16Type::float16, check_both);
  for_each_edge(tools::Float16Type::bfloat16, check_both);
  std::mt19937 generator(7);
  for (int n = 0; n < 1000000; n++) check_both(static_cast<uint32_t>(generator()));
  half.check();
  brain.check();
}

BOOST_AUTO_TEST_CASE(named_values) {
  const float infinity = std::numeric_limits<float>::infinity();
  BOOST_TEST(float_to_float16(65519.99f) == 0x7bff);
  BOOST_TEST(float_to_float16(65520.0f) == 0x7c00);
  BOOST_TEST(float_to_float16(-infinity) == 0xfc00);
  BOOST_TEST(float_to_float16(0x1p-25f) == 0x0000);         // a tie with 0, which is even
  BOOST_TEST(float_to_float16(0x1.000002p-25f) == 0x0001);  // just above it
  BOOST_TEST(float_to_float16(-0.0f) == 0x8000);
  BOOST_TEST(float_to_bfloat16(std::numeric_limits<float>::max()) == 0x7f80);
  BOOST_TEST(float_to_bfloat16(std::bit_cast<float>(0x7f800001u)) == 0x7fc0);  // a NaN whose upper half says infinity
}

BOOST_AUTO_TEST_CASE(probabilities_round_as_the_conversions_do) {
  Mismatch half, brain;
  const auto check_both = [&](uint32_t pattern) {
    const float value = std::bit_cast<float>(pattern);
    if (std::signbit(value) || !(value <= 1) || (value != 0 && value < std::numeric_limits<float>::min())) return;
    const auto expected = [&](tools::Float16Type type) { return tools::to_double(type, tools::to_16bit(type, value)); };
    half.note(same_number(round_probability_to_float16(value), expected(tools::Float16Type::float16)), pattern);
    brain.note(same_number(round_probability_to_bfloat16(value), expected(tools::Float16Type::bfloat16)), pattern);
  };
  for_each_edge(tools::Float16Type::float16, check_both);
  for_each_edge(tools::Float16Type::bfloat16, check_both);
  half.check();
  brain.check();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (float value : {nan, -nan}) {
    BOOST_TEST(std::isnan(round_probability_to_float16(value)));
    BOOST_TEST(std::isnan(round_probability_to_bfloat16(value)));
  }
}

BOOST_AUTO_TEST_CASE(exp2_is_accurate) {
  double worst_plain = 0, worst_fused = 0;
  const auto relative_error = [](float got, double expected) { return std::fabs(got - expected) / expected; };
  std::mt19937 generator(11);
  std::uniform_real_distribution<float> wide(-125.0f, 0.0f), narrow(-2.0f, 0.0f);
  for (int n = 0; n < 500000; n++) {
    for (float x : {wide(generator), narrow(generator)}) {
      const double expected = std::exp2(static_cast<double>(x));
      worst_plain = std::max(worst_plain, relative_error(exp2_nonpositive<false>(x), expected));
      worst_fused = std::max(worst_fused, relative_error(exp2_nonpositive<true>(x), expected));
    }
  }
  BOOST_TEST_MESSAGE("exp2: worst relative error " << worst_plain << ", with fused multiply-add " << worst_fused);
  BOOST_TEST(worst_plain <= 1.5e-7);
  BOOST_TEST(worst_fused <= 1.0e-7);
}

BOOST_AUTO_TEST_CASE(exp2_at_the_ends) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const bool fused : {false, true}) {
    const auto exp2 = [fused](float x) { return fused ? exp2_nonpositive<true>(x) : exp2_nonpositive<false>(x); };
    BOOST_TEST(exp2(0.0f) == 1.0f);
    BOOST_TEST(exp2(-0.0f) == 1.0f);
    for (int n = 1; n <= 126; n++) BOOST_TEST(exp2(static_cast<float>(-n)) == std::ldexp(1.0f, -n));
    BOOST_TEST(exp2(-127.0f) == 0.0f);
    BOOST_TEST(exp2(-1e30f) == 0.0f);
    BOOST_TEST(exp2(-infinity) == 0.0f);
    BOOST_TEST(std::isnan(exp2(std::numeric_limits<float>::quiet_NaN())));
  }
}
