// SPDX-License-Identifier: Apache-2.0
#include "cpu/variant_source.hpp"

namespace flashcore {
namespace {

constexpr const char *before_text = R"(#include <math.h>
#include <stdint.h>
#define __device__
#define __host__
#define __forceinline__ inline
namespace variant {
struct KeyRange { int32_t begin, end; };
inline constexpr float infinity = __builtin_huge_valf();
)";
constexpr const char *before_loop = R"(
struct Params {
  const void *data;
  template <typename T> operator const T *() const { return static_cast<const T *>(data); }
};
extern "C" void )";
constexpr const char *parameters =
    R"((float *scores, uint8_t *hidden, int64_t count, int32_t batch, int32_t head, int32_t query, int32_t first_key,
    const void *block) {
  const Params params{block};
)";

std::string call(int32_t line, const std::string &statement) {
  return "#line " + std::to_string(line) + " \"variant\"\n" + statement + "\n#line 1 \"variant.cpp\"\n";
}

}  // namespace

std::string variant_source(const VariantText &text) {
  std::string source = std::string(before_text) + "#include \"" + variant_text_file + "\"\n}\n";
  for (const std::string &macro : text.macros) source += "#undef " + macro + "\n";
  source += std::string(before_loop) + change_row_name + parameters;
  if (text.key_range_line != 0)
    source +=
        call(text.key_range_line, "  const variant::KeyRange range = variant::key_range(batch, head, query, params);");
  source += "  for (int64_t i = 0; i < count; ++i) {\n    const int32_t key = first_key + static_cast<int32_t>(i);\n";
  source +=
      text.key_range_line != 0 ? "    bool seen = key >= range.begin && key < range.end;\n" : "    bool seen = true;\n";
  if (text.visible_line != 0)
    source += call(text.visible_line, "    seen = seen && variant::visible(batch, head, query, key, params);");
  if (text.score_line != 0)
    source += call(text.score_line, "    scores[i] = variant::score(scores[i], batch, head, query, key, params);");
  return source + "    hidden[i] = !seen;\n    if (!seen) scores[i] = -variant::infinity;\n  }\n}\n";
}

}  // namespace flashcore
