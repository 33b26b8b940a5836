// SPDX-License-Identifier: Apache-2.0
//
// The one shape of this room's errors: "<field> is <value>; allowed: <what>". Used on failure only, so it may allocate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace flashcore {

Error field_error(flashcore_status status, std::string field, std::string_view value, std::string_view allowed);
inline Error invalid_field(std::string field, std::string_view value, std::string_view allowed) {
  return field_error(FLASHCORE_INVALID_ARGUMENT, std::move(field), value, allowed);
}
inline Error unsupported_field(std::string field, std::string_view value, std::string_view allowed) {
  return field_error(FLASHCORE_UNSUPPORTED, std::move(field), value, allowed);
}

// Values as an error shows them.
std::string hex_text(uint64_t value);   // "0x7f00"
std::string float_text(float value);    // enough digits to tell any two floats apart
std::string dtype_text(int32_t dtype);  // "FLASHCORE_DTYPE_FLOAT16 (1)", or the number where it names no type

// A value that its flag does not switch on would be ignored, so it is refused.
Error value_without_flag(const char *field, std::string_view value, const char *flag);

}  // namespace flashcore
