// SPDX-License-Identifier: Apache-2.0
//
// Words for errors. What is allowed is the business of the checks that call this.
#include "problem/field_error.hpp"

#include <cinttypes>
#include <cstdio>

#include "flashcore/flashcore.h"

namespace flashcore {
namespace {

const char *dtype_name(int32_t dtype) {
  switch (dtype) {
    case FLASHCORE_DTYPE_DEFAULT:
      return "FLASHCORE_DTYPE_DEFAULT";
    case FLASHCORE_DTYPE_FLOAT16:
      return "FLASHCORE_DTYPE_FLOAT16";
    case FLASHCORE_DTYPE_BFLOAT16:
      return "FLASHCORE_DTYPE_BFLOAT16";
    case FLASHCORE_DTYPE_FLOAT32:
      return "FLASHCORE_DTYPE_FLOAT32";
    case FLASHCORE_DTYPE_FLOAT8_E4M3:
      return "FLASHCORE_DTYPE_FLOAT8_E4M3";
    case FLASHCORE_DTYPE_FLOAT8_E5M2:
      return "FLASHCORE_DTYPE_FLOAT8_E5M2";
    case FLASHCORE_DTYPE_INT32:
      return "FLASHCORE_DTYPE_INT32";
    case FLASHCORE_DTYPE_INT64:
      return "FLASHCORE_DTYPE_INT64";
    default:
      return nullptr;
  }
}

}  // namespace

Error field_error(flashcore_status status, std::string field, std::string_view value, std::string_view allowed) {
  Error error;
  error.status = status;
  error.message = field;
  error.message.append(" is ").append(value).append("; allowed: ").append(allowed);
  error.field = std::move(field);
  return error;
}

std::string hex_text(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%" PRIx64, value);
  return text;
}

std::string float_text(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", static_cast<double>(value));
  return text;
}

std::string dtype_text(int32_t dtype) {
  const char *name = dtype_name(dtype);
  return name == nullptr ? std::to_string(dtype) : std::string(name) + " (" + std::to_string(dtype) + ")";
}

Error value_without_flag(const char *field, std::string_view value, const char *flag) {
  return invalid_field(field, value,
                       std::string("0 without ") + flag + ", which is not set: the value would be ignored");
}

}  // namespace flashcore
