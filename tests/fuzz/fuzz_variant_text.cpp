// SPDX-License-Identifier: Apache-2.0
//
// Texts of variants: what is read has its functions where it says, and closes all that it opens; what is not says why.
#include <algorithm>

#include "fuzz_target.hpp"
#include "problem/variant_text.hpp"

std::vector<fuzz::Bytes> fuzz::seeds() {
  std::vector<Bytes> seeds;
  for (
      const char *text :
      {"float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {\n"
       "  return score * params[head];  // {\n}\n",
       "#define STEP(x) \\\n  ((x) % 3)\nconstexpr int a[] = {1, 2};\n/* } */\nbool visible(int b, int h, int q, int k, const void "
       "*p) noexcept\n{\n  return STEP(q - k) == 0 && '}' != \")\"[0];\n}\n",
       "struct S { const char *t = R\"x(})x\"; };\ntemplate <typename T>\nKeyRange key_range(int, int, int q, const T *p) { return "
       "{q - 1'000, p[q]}; }\n",
       "bool visible(int);\n// Ä 𝛼\n"})
    seeds.push_back(bytes_of(text));
  return seeds;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const std::string text = fuzz::text_of(data, size);
  const auto read = flashcore::read_variant_text(text);
  if (!read.ok()) {
    FUZZ_PROMISE(read.error().status == FLASHCORE_INVALID_ARGUMENT && read.error().field == "text");
    FUZZ_PROMISE(!read.error().message.empty());
    return 0;
  }
  const auto lines = static_cast<int32_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  const flashcore::VariantText &code = read.value();
  FUZZ_PROMISE(code.text == text);
  FUZZ_PROMISE(code.score_line + code.visible_line + code.key_range_line > 0);
  for (const int32_t line : {code.score_line, code.visible_line, code.key_range_line})
    FUZZ_PROMISE(line >= 0 && line <= lines);
  return 0;
}
