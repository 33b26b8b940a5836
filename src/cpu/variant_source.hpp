// SPDX-License-Identifier: Apache-2.0
//
// What the CPU device makes of a user's text: C++ for the machine's own compiler, with one function that goes over the keys of a row.
#pragma once

#include <cstdint>
#include <string>

#include "problem/variant_text.hpp"

namespace flashcore {

// The scores of keys first_key .. first_key + count - 1 for a query become what the text makes of them; of those that it hides, hidden is 1.
using ChangeRow = void (*)(float *scores, uint8_t *hidden, int64_t count, int32_t batch, int32_t head, int32_t query,
                           int32_t first_key, const void *params);
inline constexpr const char *change_row_name = "flashcore_variant_change_row";

// Which includes the text as this file.
inline constexpr const char *variant_text_file = "variant.text";
std::string variant_source(const VariantText &text);

}  // namespace flashcore
