// SPDX-License-Identifier: Apache-2.0
#include "words.hpp"

#include <flashcore/flashcore.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace flashcore::tools {
namespace {

// Single changes (insert, drop, replace a letter, swap two neighbours) between two words.
size_t edit_distance(const std::string &a, const std::string &b) {
  std::vector<std::vector<size_t>> rows(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        rows[i][j] = i + j;
        continue;
      }
      rows[i][j] =
          std::min({rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        rows[i][j] = std::min(rows[i][j], rows[i - 2][j - 2] + 1);
    }
  }
  return rows[a.size()][b.size()];
}

std::string lower_case(std::string word) {
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return word;
}

// Bytes of the UTF-8 character that begins at `at`; 0: none does.
size_t character_bytes(const std::string &text, size_t at) {
  const auto byte = [&](size_t i) { return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u; };
  const unsigned first = byte(0);
  const size_t bytes = first < 0x80                    ? 1
                       : first >= 0xc2 && first < 0xe0 ? 2
                       : first >= 0xe0 && first < 0xf0 ? 3
                       : first >= 0xf0 && first < 0xf5 ? 4
                                                       : 0;
  for (size_t i = 1; i < bytes; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  const bool overlong = (first == 0xe0 && byte(1) < 0xa0) || (first == 0xf0 && byte(1) < 0x90);
  const bool no_character = (first == 0xed && byte(1) >= 0xa0) || (first == 0xf4 && byte(1) >= 0x90);
  return overlong || no_character ? 0 : bytes;
}

// Controls of ASCII and of Latin-1, which some terminals obey as well, and what changes the direction of the text around it.
bool steers_terminal(const std::string &text, size_t at, size_t bytes) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[at + i]); };
  if (bytes == 1) return byte(0) < 0x20 || byte(0) == 0x7f;
  if (bytes == 2) return byte(0) == 0xc2 && byte(1) < 0xa0;
  if (bytes == 3 && byte(0) == 0xe2)
    return (byte(1) == 0x80 && ((byte(2) >= 0x8e && byte(2) <= 0x8f) || (byte(2) >= 0xa8 && byte(2) <= 0xae))) ||
           (byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9);
  return false;
}

}  // namespace

std::string listed(const Words &words) {
  std::string text;
  for (const std::string &word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string nearest_word(const std::string &given, const Words &allowed) {
  if (given.size() > 200) return {};
  std::string nearest;
  size_t best = std::clamp<size_t>(given.size() / 3, 1, 3) + 1;
  for (const std::string &word : allowed) {
    const size_t distance = edit_distance(lower_case(given), word);
    if (distance == 0) return word;
    if (distance >= best || distance >= std::max(given.size(), word.size())) continue;
    best = distance;
    nearest = word;
  }
  return nearest;
}

std::string did_you_mean(const std::string &given, const Words &allowed, const std::string &opening) {
  const std::string nearest = nearest_word(given, allowed);
  return nearest.empty() ? std::string() : fmt::format("; did you mean {}{}?", opening, nearest);
}

const char *dtype_word(Float16Type type) { return type == Float16Type::float16 ? "fp16" : "bf16"; }

const char *causal_word(int32_t causal) {
  return causal == FLASHCORE_CAUSAL_TOP_LEFT       ? "top-left"
         : causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT ? "bottom-right"
                                                   : "none";
}

std::optional<Float16Type> dtype_of(const std::string &word) {
  const std::string given = lower_case(word);
  if (given == "fp16" || given == "float16" || given == "f16" || given == "half") return Float16Type::float16;
  if (given == "bf16" || given == "bfloat16") return Float16Type::bfloat16;
  return std::nullopt;
}

std::optional<int32_t> causal_of(const std::string &word) {
  std::string given = lower_case(word);
  std::replace(given.begin(), given.end(), '_', '-');
  for (const int32_t mask : {FLASHCORE_CAUSAL_NONE, FLASHCORE_CAUSAL_TOP_LEFT, FLASHCORE_CAUSAL_BOTTOM_RIGHT})
    if (given == causal_word(mask)) return mask;
  return std::nullopt;
}

std::string printable(const std::string &text, bool lines) {
  std::string shown;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = character_bytes(text, at);
    if (bytes > 0 && (!steers_terminal(text, at, bytes) || (lines && text[at] == '\n'))) {
      shown.append(text, at, bytes);
      at += bytes;
      continue;
    }
    for (size_t i = 0; i < std::max<size_t>(bytes, 1); ++i, ++at)
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at]));
  }
  return shown;
}

std::string cut_text(const std::string &text, size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return text.substr(0, limit);
}

}  // namespace flashcore::tools
