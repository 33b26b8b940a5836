// SPDX-License-Identifier: Apache-2.0
//
// The plain 16-bit conversions, which judge the fast ones, against values that the formats' definitions give by hand.
#define BOOST_TEST_MODULE test_float16
#include "common/float16.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

using namespace flashcore::tools;

namespace {

struct Known {
  Float16Type type;
  uint16_t bits;
  double value;
};
const Known known_values[] = {
    {Float16Type::float16, 0x0000, 0.0},          {Float16Type::float16, 0x3c00, 1.0},
    {Float16Type::float16, 0x3c01, 1.0009765625}, {Float16Type::float16, 0xc000, -2.0},
    {Float16Type::float16, 0x7bff, 65504.0},      {Float16Type::float16, 0x0400, 0x1p-14},
    {Float16Type::float16, 0x03ff, 0x3ffp-24},    {Float16Type::float16, 0x0001, 0x1p-24},
    {Float16Type::float16, 0x7c00, INFINITY},     {Float16Type::float16, 0xfc00, -INFINITY},
    {Float16Type::bfloat16, 0x3f80, 1.0},         {Float16Type::bfloat16, 0x3f81, 1.0078125},
    {Float16Type::bfloat16, 0xc000, -2.0},        {Float16Type::bfloat16, 0x7f7f, 0x1.fep127},
    {Float16Type::bfloat16, 0x0080, 0x1p-126},    {Float16Type::bfloat16, 0x0001, 0x1p-133},
    {Float16Type::bfloat16, 0x7f80, INFINITY},    {Float16Type::bfloat16, 0xff80, -INFINITY},
};

}  // namespace

BOOST_AUTO_TEST_CASE(known_bits) {
  for (const Known &known : known_values) {
    BOOST_TEST(to_double(known.type, known.bits) == known.value);
    BOOST_TEST(to_16bit(known.type, known.value) == known.bits);
  }
}

BOOST_AUTO_TEST_CASE(every_pattern_survives) {
  for (Float16Type type : {Float16Type::float16, Float16Type::bfloat16}) {
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
      const double value = to_double(type, static_cast<uint16_t>(bits));
      if (std::isnan(value))
        BOOST_REQUIRE(std::isnan(to_double(type, to_16bit(type, value))));
      else
        BOOST_REQUIRE_EQUAL(to_16bit(type, value), bits);
    }
  }
}

BOOST_AUTO_TEST_CASE(ties_go_to_even) {
  BOOST_TEST(double_to_float16(1 + 0x1p-11) == 0x3c00);
  BOOST_TEST(double_to_float16(1 + 3 * 0x1p-11) == 0x3c02);
  BOOST_TEST(double_to_float16(1 + 0x1p-11 + 0x1p-40) == 0x3c01);
  BOOST_TEST(double_to_float16(0x1p-25) == 0x0000);
  BOOST_TEST(double_to_float16(3 * 0x1p-25) == 0x0002);
  BOOST_TEST(double_to_float16(65519.999) == 0x7bff);
  BOOST_TEST(double_to_float16(65520.0) == 0x7c00);
  BOOST_TEST(double_to_float16(-1e300) == 0xfc00);
  BOOST_TEST(double_to_float16(-0.0) == 0x8000);
  BOOST_TEST(double_to_bfloat16(1 + 0x1p-8) == 0x3f80);
  BOOST_TEST(double_to_bfloat16(1 + 3 * 0x1p-8) == 0x3f82);
  BOOST_TEST(double_to_bfloat16(0x1.ffp127) == 0x7f80);
}
