// SPDX-License-Identifier: Apache-2.0
//
// Text in the fixed fields of public structs.
#pragma once

#include <cstddef>
#include <string_view>

#include "base/cut_text.hpp"

namespace flashcore {

// Copy text into a fixed field, cut to fit at the beginning of a character, always terminated.
template <size_t capacity>
void copy_text(char (&field)[capacity], std::string_view text) {
  static_assert(capacity > 3);
  const size_t length = cut_text(text, capacity - 1).copy(field, capacity - 1);
  field[length] = '\0';
}

}  // namespace flashcore
