// SPDX-License-Identifier: Apache-2.0
//
// Exported functions: variants.
#include <cstring>

#include "api/api_guard.hpp"
#include "base/struct_size.hpp"

using namespace flashcore;

namespace {

constexpr uint32_t version1_size = 16;  // for ever; smaller structs were never published

Result<int64_t> params_bytes_of(const flashcore_variant_options *given) {
  if (given == nullptr) return int64_t{0};
  flashcore_variant_options options;
  FLASHCORE_TRY(copy_sized_struct(given, "options", version1_size, options));
  if (options.reserved != 0)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "reserved is " + std::to_string(options.reserved) + "; allowed: 0, the field is reserved", "reserved"};
  return options.params_bytes;
}

}  // namespace

extern "C" {

flashcore_status flashcore_variant_create(flashcore_context context, const char *text, int64_t text_bytes,
                                          const flashcore_variant_options *options, uint64_t *variant,
                                          flashcore_error *error) {
  clear(variant);
  return with_context(context, error, [&](Context &self) -> Status {
    if (text == nullptr) return null_argument("text");
    if (variant == nullptr) return null_argument("variant");
    if (text_bytes < 0)
      return Error{FLASHCORE_INVALID_ARGUMENT, "text_bytes is " + std::to_string(text_bytes) + "; allowed: 0 or more",
                   "text_bytes"};
    FLASHCORE_TRY_ASSIGN(const int64_t params_bytes, params_bytes_of(options));
    const size_t bytes = text_bytes != 0 ? static_cast<size_t>(text_bytes) : std::strlen(text);
    return store_result(self.device->variants().create({text, bytes}, params_bytes), variant);
  });
}

flashcore_status flashcore_variant_destroy(flashcore_context context, uint64_t variant, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) -> Status {
    return variant == 0 ? success() : self.device->variants().destroy(variant);
  });
}

}  // extern "C"
