// SPDX-License-Identifier: Apache-2.0
//
// The growth rule of public structs, in one place: struct_size comes first; smaller than version 1 is refused. Input larger
// than known is accepted when the unknown tail is zero, and what a caller's older struct lacks reads as zero; output larger
// than known gets a tail of zeros, and an older caller what it has room for.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "base/error.hpp"

namespace flashcore {

// No struct of any version comes near this; a larger size is an unset field, and believing it would read wild memory.
inline constexpr uint32_t largest_struct_bytes = 65536;

inline Status check_struct_size(uint32_t size, const char *name, uint32_t version1_size) {
  if (size >= version1_size && size <= largest_struct_bytes) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT,
               std::string(name) + ".struct_size is " + std::to_string(size) +
                   "; allowed: " + std::to_string(version1_size) + " to " + std::to_string(largest_struct_bytes) +
                   ". Set it to sizeof the struct.",
               "struct_size"};
}

// Of a public struct, which may lie at any address.
inline uint32_t struct_size_of(const void *given) {
  uint32_t size;
  std::memcpy(&size, given, sizeof(size));
  return size;
}

// Copy a caller's input struct into `copy`. `name` is the argument's name for the error.
template <typename Struct>
Status copy_sized_struct(const Struct *given, const char *name, uint32_t version1_size, Struct &copy) {
  const uint32_t size = struct_size_of(given);
  FLASHCORE_TRY(check_struct_size(size, name, version1_size));
  const auto *bytes = reinterpret_cast<const unsigned char *>(given);
  for (uint32_t i = sizeof(Struct); i < size; ++i)
    if (bytes[i] != 0)
      return Error{FLASHCORE_UNSUPPORTED,
                   std::string(name) + " sets byte " + std::to_string(i) + ", past the " +
                       std::to_string(sizeof(Struct)) +
                       " bytes that this version knows. A newer libflashcore is needed.",
                   "struct_size"};
  if (size < sizeof(Struct)) {
    copy = Struct{};
    std::memcpy(&copy, bytes, size);
  } else {
    std::memcpy(&copy, bytes, sizeof(Struct));
  }
  copy.struct_size = sizeof(Struct);
  return success();
}

// The same, as a value.
template <typename Struct>
Result<Struct> read_sized_struct(const Struct *given, const char *name, uint32_t version1_size) {
  Struct copy;
  FLASHCORE_TRY(copy_sized_struct(given, name, version1_size, copy));
  return copy;
}

// All the bytes that the caller has, but those of struct_size, which is `size`.
template <typename Struct>
void fill_sized_struct(Struct *target, uint32_t size, const Struct &content) {
  constexpr size_t first = sizeof(content.struct_size);
  auto *bytes = reinterpret_cast<unsigned char *>(target);
  std::memcpy(bytes + first, reinterpret_cast<const unsigned char *>(&content) + first,
              (size < sizeof(Struct) ? size : sizeof(Struct)) - first);
  if (size > sizeof(Struct)) std::memset(bytes + sizeof(Struct), 0, size - sizeof(Struct));
}

// Fill a caller's output struct.
template <typename Struct>
Status write_sized_struct(Struct *target, const Struct &content, const char *name, uint32_t version1_size) {
  const uint32_t size = struct_size_of(target);
  FLASHCORE_TRY(check_struct_size(size, name, version1_size));
  fill_sized_struct(target, size, content);
  return success();
}

}  // namespace flashcore
