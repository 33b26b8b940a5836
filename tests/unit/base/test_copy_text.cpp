// SPDX-License-Identifier: Apache-2.0
//
// Text in fields of fixed size: cut to fit, between characters where it is UTF-8, and always with an end.
#include <boost/test/unit_test.hpp>
#include <cstring>

#include "base/copy_text.hpp"

using namespace flashcore;

namespace {

std::string cut(std::string_view text) {
  char field[8];
  std::memset(field, 'x', sizeof(field));
  copy_text(field, text);
  return field;
}

}  // namespace

BOOST_AUTO_TEST_CASE(text_that_fits_stays_as_it_is) {
  BOOST_TEST(cut("") == "");
  BOOST_TEST(cut("1234567") == "1234567");
  BOOST_TEST(cut("12345\xc3\xa4") == "12345\xc3\xa4");
}

BOOST_AUTO_TEST_CASE(text_that_does_not_fit_is_cut_between_characters) {
  BOOST_TEST(cut("12345678") == "1234567");
  BOOST_TEST(cut("123456\xc3\xa4") == "123456");
  BOOST_TEST(cut("1234\xf0\x9f\x98\x80") == "1234");
  BOOST_TEST(cut("12345\xe2\x82\xac") == "12345");
  BOOST_TEST(cut("1234\xe2\x82\xac"
                 "5") == "1234\xe2\x82\xac");
}

BOOST_AUTO_TEST_CASE(bytes_that_are_no_characters_are_cut_anywhere) {
  const std::string bytes(20, '\x80');
  BOOST_TEST(cut(bytes) == bytes.substr(0, 7));
}
