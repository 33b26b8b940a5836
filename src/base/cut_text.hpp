// SPDX-License-Identifier: Apache-2.0
//
// Text that goes into a message or a record of limited length.
#pragma once

#include <cstddef>
#include <string_view>

namespace flashcore {

// At most `limit` bytes, and no part of a character: half of one is no UTF-8, which JSON and terminals refuse.
constexpr std::string_view cut_text(std::string_view text, size_t limit) {
  if (text.size() <= limit) return text;
  const auto continues = [text](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80; };
  size_t begin = limit;  // of the character that does not fit, which has four bytes at most
  while (begin > 0 && limit - begin < 3 && continues(begin)) --begin;
  return text.substr(0, continues(begin) ? limit : begin);
}

static_assert(cut_text("abc", 3) == "abc" && cut_text("abcd", 3) == "abc");
static_assert(cut_text("a\xc3\xa4", 2) == "a" && cut_text("a\xc3\xa4z", 3) == "a\xc3\xa4");
static_assert(cut_text("\xf0\x9f\x98\x80", 3).empty() && cut_text("\xe4\xb8\x96", 0).empty());
static_assert(cut_text("\x80\x80\x80\x80\x80\x80", 5).size() == 5);  // no UTF-8 at all: cut anywhere

}  // namespace flashcore
