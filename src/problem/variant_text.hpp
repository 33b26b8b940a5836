// SPDX-License-Identifier: Apache-2.0
//
// The text of a variant (flashcore_variant_create), as far as it can be judged without a compiler: its limits, that its brackets close
// within it, and which functions it has. The text is code and stands inside a namespace of the library's; what is looked for here are
// slips that a compiler would tell of elsewhere than in the user's own line, and no malice, against which no reading helps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace flashcore {

inline constexpr int64_t most_variant_text_bytes = 65536;

struct VariantText {
  std::string text;
  int32_t score_line = 0, visible_line = 0,
          key_range_line = 0;       // where the functions are defined; 0: it has no such one
  std::vector<std::string> macros;  // that it defines, and that end with it
};

// INVALID_ARGUMENT names `text`, and the line where there is one.
Result<VariantText> read_variant_text(std::string_view text);

}  // namespace flashcore
