// SPDX-License-Identifier: Apache-2.0
//
// Turns not_built_fields.inc into a bit mask over the struct, for the check that every call makes, and into a table of
// names and reasons, for the error. Fields that this build serves are the business of validate_attention.cpp.
#include "problem/not_built_fields.hpp"

#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

enum class FieldKind { int32, int64, address, float32 };

template <typename T>
constexpr FieldKind kind_of() {
  if constexpr (std::is_same_v<T, int32_t>) return FieldKind::int32;
  if constexpr (std::is_same_v<T, int64_t>) return FieldKind::int64;
  if constexpr (std::is_same_v<T, uint64_t>) return FieldKind::address;
  if constexpr (std::is_same_v<T, float>) return FieldKind::float32;
}

struct RefusedField {
  const char *name;
  size_t offset;
  FieldKind kind;
  const char *reason;  // nullptr: the field is reserved

  constexpr size_t size() const { return kind == FieldKind::int32 || kind == FieldKind::float32 ? 4 : 8; }
};

struct RefusedFlag {
  const char *name;
  uint32_t bit;
  const char *reason;
};

#define FIELD_ROW(field, reason)              \
  RefusedField{#field, offsetof(Args, field), \
               kind_of<std::remove_reference_t<decltype((std::declval<Args &>().field))>>(), reason},
#define NOT_BUILT_FIELD(field, reason) FIELD_ROW(field, reason)
#define RESERVED_FIELD(field) FIELD_ROW(field, nullptr)
#define NOT_BUILT_TENSOR(field, reason) \
  FIELD_ROW(field.data, reason)         \
  FIELD_ROW(field.dtype, reason)        \
  FIELD_ROW(field.reserved, nullptr)    \
  FIELD_ROW(field.stride[0], reason)    \
  FIELD_ROW(field.stride[1], reason)    \
  FIELD_ROW(field.stride[2], reason)    \
  FIELD_ROW(field.stride[3], reason)
#define NOT_BUILT_FLAG(flag, reason)
constexpr RefusedField refused_fields[] = {
#include "problem/not_built_fields.inc"
};
#undef NOT_BUILT_FIELD
#undef RESERVED_FIELD
#undef NOT_BUILT_TENSOR
#undef NOT_BUILT_FLAG
#define NOT_BUILT_FIELD(field, reason)
#define RESERVED_FIELD(field)
#define NOT_BUILT_TENSOR(field, reason)
#define NOT_BUILT_FLAG(flag, reason) RefusedFlag{#flag, flag, reason},
constexpr std::initializer_list<RefusedFlag> refused_flags = {
#include "problem/not_built_fields.inc"
};
#undef NOT_BUILT_FIELD
#undef RESERVED_FIELD
#undef NOT_BUILT_TENSOR
#undef NOT_BUILT_FLAG
#undef FIELD_ROW

constexpr uint32_t known_flags = FLASHCORE_FLAG_SOFTMAX_SCALE | FLASHCORE_FLAG_WINDOW_LEFT |
                                 FLASHCORE_FLAG_WINDOW_RIGHT | FLASHCORE_FLAG_BATCH_INVARIANT |
                                 FLASHCORE_FLAG_ROTARY_INTERLEAVED | FLASHCORE_FLAG_POSITIONS;

constexpr uint32_t refused_flag_bits() {
  uint32_t bits = ~known_flags;
  for (const RefusedFlag &flag : refused_flags) bits |= flag.bit;
  return bits;
}

static_assert(sizeof(Args) % sizeof(uint64_t) == 0, "the mask works on whole words");
using Mask = std::array<uint64_t, sizeof(Args) / sizeof(uint64_t)>;

constexpr Mask refused_mask() {
  std::array<uint8_t, sizeof(Args)> bytes{};
  for (const RefusedField &field : refused_fields) {
    for (size_t byte = 0; byte < field.size(); ++byte) bytes[field.offset + byte] = 0xff;
  }
  const auto flags = std::bit_cast<std::array<uint8_t, sizeof(uint32_t)>>(refused_flag_bits());
  for (size_t byte = 0; byte < flags.size(); ++byte) bytes[offsetof(Args, flags) + byte] = flags[byte];
  return std::bit_cast<Mask>(bytes);
}
constexpr Mask mask = refused_mask();

// Unrolled at compile time: words that are served cost nothing, words that are refused whole need no mask.
template <size_t word>
uint64_t refused_bits_of_word(const char *bytes) {
  if constexpr (mask[word] == 0) return 0;
  uint64_t given;
  std::memcpy(&given, bytes + word * sizeof(given), sizeof(given));
  return given & mask[word];
}

template <size_t... word>
uint64_t refused_bits(const char *bytes, std::index_sequence<word...>) {
  return (refused_bits_of_word<word>(bytes) | ...);
}

template <typename T>
T read_as(const Args &args, const RefusedField &field) {
  T value;
  std::memcpy(&value, reinterpret_cast<const char *>(&args) + field.offset, sizeof(T));
  return value;
}

// Bits and not values: -0.0f in a float field is something that was set, too.
bool is_set(const Args &args, const RefusedField &field) {
  return field.size() == 4 ? read_as<uint32_t>(args, field) != 0 : read_as<uint64_t>(args, field) != 0;
}

std::string value_text(const Args &args, const RefusedField &field) {
  switch (field.kind) {
    case FieldKind::int32:
      return std::to_string(read_as<int32_t>(args, field));
    case FieldKind::int64:
      return std::to_string(read_as<int64_t>(args, field));
    case FieldKind::address:
      return hex_text(read_as<uint64_t>(args, field));
    case FieldKind::float32:
      return float_text(read_as<float>(args, field));
  }
  return {};
}

Error field_row_error(const Args &args, const RefusedField &field) {
  const std::string value = value_text(args, field);
  if (field.reason == nullptr) return invalid_field(field.name, value, "0, the field is reserved");
  return unsupported_field(field.name, value, std::string("0, ") + field.reason);
}

}  // namespace

bool has_refused_field(const flashcore_attention_args &args) {
  return refused_bits(reinterpret_cast<const char *>(&args), std::make_index_sequence<mask.size()>()) != 0;
}

Error refused_field_error(const flashcore_attention_args &args) {
  if ((args.flags & ~known_flags) != 0) {
    return unsupported_field("flags", hex_text(args.flags), "the bits of FLASHCORE_FLAG_*, " + hex_text(known_flags));
  }
  for (const RefusedField &field : refused_fields) {
    if (is_set(args, field)) return field_row_error(args, field);
  }
  for (const RefusedFlag &flag : refused_flags) {
    if ((args.flags & flag.bit) != 0) {
      return unsupported_field("flags", hex_text(args.flags), std::string("no ") + flag.name + ", " + flag.reason);
    }
  }
  return Error{FLASHCORE_INTERNAL, "a field was refused, but no row of not_built_fields.inc says why"};
}

}  // namespace flashcore
