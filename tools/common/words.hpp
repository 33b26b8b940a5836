// SPDX-License-Identifier: Apache-2.0
//
// The words that all tools share: one spelling of each in everything that they print, other usual ones accepted, and the nearest
// allowed word where one is unknown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "float16.hpp"

namespace flashcore::tools {

using Words = std::vector<std::string>;

std::string listed(const Words &words);  // "a, b, c"

// The word that was most likely meant; empty: none is near.
std::string nearest_word(const std::string &given, const Words &allowed);
// "; did you mean top-left?", or nothing. `opening` stands before the word.
std::string did_you_mean(const std::string &given, const Words &allowed, const std::string &opening = "");

const char *dtype_word(Float16Type type);  // "fp16", "bf16"
const char *causal_word(int32_t causal);   // "none", "top-left", "bottom-right"
// Also float16, f16, half, bfloat16; top_left, bottom_right; in capitals too.
std::optional<Float16Type> dtype_of(const std::string &word);
std::optional<int32_t> causal_of(const std::string &word);
inline const Words &dtype_words() {
  static const Words words = {"fp16", "bf16"};
  return words;
}
inline const Words &causal_words() {
  static const Words words = {"none", "top-left", "bottom-right"};
  return words;
}

// `text` with everything that could steer a terminal, and what is no UTF-8, as \xNN. Line breaks stay where `lines` allows them.
std::string printable(const std::string &text, bool lines = false);
// At most `limit` bytes, cut between two characters.
std::string cut_text(const std::string &text, size_t limit);

}  // namespace flashcore::tools
