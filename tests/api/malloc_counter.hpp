// SPDX-License-Identifier: Apache-2.0
//
// How often this thread has asked the C library for memory, through malloc or operator new. A program that links
// malloc_counter.cpp counts; -1 under a sanitizer, whose own malloc must stay in place.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdint>

int64_t malloc_count();

inline boost::test_tools::assertion_result no_sanitizer(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(malloc_count() >= 0);
  result.message() << "a sanitizer allocates and makes system calls of its own";
  return result;
}
