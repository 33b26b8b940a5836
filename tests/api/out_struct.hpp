// SPDX-License-Identifier: Apache-2.0
//
// The promise about structs that the library fills: of whatever lies in them only struct_size is read, and on success every
// other byte is written; on failure none is.
#pragma once

#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "flashcore/flashcore.h"

// A struct of `size` bytes by its struct_size, in memory that is full of `poison` and longer than that.
template <typename Struct>
struct PoisonedStruct {
  static constexpr size_t guard_bytes = 64;
  std::vector<unsigned char> bytes;

  PoisonedStruct(size_t size, unsigned char poison) : bytes(std::max(size, sizeof(Struct)) + guard_bytes, poison) {
    get()->struct_size = static_cast<uint32_t>(size);
  }
  Struct *get() { return reinterpret_cast<Struct *>(bytes.data()); }
};

// `call` fills a Struct and gives the same content every time. A byte that keeps its poison shows in the comparison of two.
template <typename Struct, typename Call>
void check_every_byte_is_written(Call call) {
  for (const size_t size : {sizeof(Struct), sizeof(Struct) + 40}) {
    PoisonedStruct<Struct> first(size, 0x5a), second(size, 0xa5);
    BOOST_REQUIRE(call(first.get()) == FLASHCORE_OK);
    BOOST_REQUIRE(call(second.get()) == FLASHCORE_OK);
    BOOST_TEST(first.get()->struct_size == size);
    for (size_t i = 0; i < size; ++i) BOOST_TEST(first.bytes[i] == second.bytes[i], "byte " << i << " is not written");
    for (size_t i = sizeof(Struct); i < size; ++i)
      BOOST_TEST(first.bytes[i] == 0, "byte " << i << ", which nobody knows, is not 0");
    for (size_t i = size; i < first.bytes.size(); ++i)
      BOOST_TEST(first.bytes[i] == 0x5a, "byte " << i << ", past the end, is written");
  }
  for (const uint32_t size : {uint32_t{0}, uint32_t{sizeof(Struct)} - 1, uint32_t{65537}, uint32_t{0x5a5a5a5a}}) {
    PoisonedStruct<Struct> wrong(sizeof(Struct), 0x5a);
    wrong.get()->struct_size = size;
    const std::vector<unsigned char> before = wrong.bytes;
    BOOST_TEST(call(wrong.get()) == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(wrong.bytes == before);
  }
}
