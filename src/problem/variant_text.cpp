// SPDX-License-Identifier: Apache-2.0
#include "problem/variant_text.hpp"

#include <algorithm>
#include <cctype>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

Error at_line(int32_t line, const std::string &what) {
  return {FLASHCORE_INVALID_ARGUMENT, "text, line " + std::to_string(line) + ": " + what, "text"};
}

// Bytes of the character that begins here; 0: it is no UTF-8.
size_t character_bytes(std::string_view text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0u; };
  const uint32_t first = byte(0);
  const size_t count = first < 0x80                    ? 1
                       : first >= 0xc2 && first < 0xe0 ? 2
                       : first >= 0xe0 && first < 0xf0 ? 3
                       : first >= 0xf0 && first < 0xf5 ? 4
                                                       : 0;
  for (size_t i = 1; i < count; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // The shortest form of a character that there is: no surrogates, none past U+10FFFF.
  const uint32_t second = byte(1);
  if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) || (first == 0xf0 && second < 0x90) ||
      (first == 0xf4 && second > 0x8f))
    return 0;
  return count;
}

Status check_characters(std::string_view text) {
  int32_t line = 1;
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = character_bytes(text.substr(at));
    if (bytes == 0) return at_line(line, "a byte that is no UTF-8; allowed: UTF-8");
    if (text[at] == '\0') return at_line(line, "a NUL; allowed: text without one");
    line += text[at] == '\n';
    at += bytes;
  }
  return success();
}

bool begins_word(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_' || (c & 0x80) != 0; }
bool continues_word(char c) { return begins_word(c) || std::isdigit(static_cast<unsigned char>(c)) != 0; }

// One pass over the tokens.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) { result_.text = text; }

  Result<VariantText> read() {
    while (at_ < text_.size()) FLASHCORE_TRY(take_token());
    if (!open_.empty())
      return at_line(open_.back().line, std::string("'") + open_.back().bracket + "' is never closed");
    if (result_.score_line == 0 && result_.visible_line == 0 && result_.key_range_line == 0)
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "text defines no function that attention would call; allowed: one or more of score, visible and "
                   "key_range, outside of any bracket",
                   "text"};
    return std::move(result_);
  }

 private:
  struct Open {
    char bracket;
    int32_t line;
  };

  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool is_next(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  void advance(size_t count = 1) {
    for (; count > 0 && at_ < text_.size(); --count) line_ += text_[at_++] == '\n';
  }

  Status take_token() {
    const char c = peek();
    if (c == '\n') at_line_begin_ = true;
    if (std::isspace(static_cast<unsigned char>(c)) != 0) return advance(), success();
    if (is_next("\\\n") || is_next("\\\r\n")) return advance(c == '\\' && peek(1) == '\r' ? 3 : 2), success();
    if (is_next("//")) return skip_line(), success();
    if (is_next("/*")) return skip_comment();
    if (c == '#' && at_line_begin_) return take_directive();
    at_line_begin_ = false;
    if (begins_word(c)) return take_word();
    if (std::isdigit(static_cast<unsigned char>(c)) != 0) return skip_number(), success();
    if (c == '"' || c == '\'') return skip_literal(c);
    if (std::string_view("([{").find(c) != std::string_view::npos) return open_bracket(c), success();
    if (std::string_view(")]}").find(c) != std::string_view::npos) return close_bracket(c);
    if (c == ';' && open_.empty()) candidate_ = {};
    return advance(), success();
  }

  // Up to the end of the line, which a backslash moves on, and so does a comment in a directive.
  std::string_view skip_line() {
    const size_t begin = at_;
    const bool is_comment = is_next("//");
    while (at_ < text_.size() && peek() != '\n') {
      const bool opens_comment = !is_comment && is_next("/*");
      if (opens_comment) advance(std::min(text_.find("*/", at_ + 2), text_.size() - 2) + 2 - at_);
      if (!opens_comment) advance(is_next("\\\n") ? 2 : is_next("\\\r\n") ? 3 : 1);
    }
    return text_.substr(begin, at_ - begin);
  }

  Status skip_comment() {
    const int32_t line = line_;
    const size_t end = text_.find("*/", at_ + 2);
    if (end == std::string_view::npos) return at_line(line, "a comment is never closed");
    advance(end + 2 - at_);
    return success();
  }

  void skip_number() {
    while (
        continues_word(peek()) || peek() == '.' || (peek() == '\'' && continues_word(peek(1))) ||
        ((peek() == '+' || peek() == '-') && std::string_view("eEpP").find(text_[at_ - 1]) != std::string_view::npos))
      advance();
  }

  Status skip_literal(char quote) {
    const int32_t line = line_;
    for (advance(); peek() != quote; advance(peek() == '\\' ? 2 : 1))
      if (at_ >= text_.size() || peek() == '\n')
        return at_line(line, std::string("a literal that begins with ") + quote + " does not end in its line");
    return advance(), success();
  }

  // From the quote on.
  Status skip_raw_string() {
    const int32_t line = line_;
    const size_t open = text_.find('(', at_);
    const std::string end =
        open == std::string_view::npos ? "" : ")" + std::string(text_.substr(at_ + 1, open - at_ - 1)) + "\"";
    const size_t close = end.empty() ? std::string_view::npos : text_.find(end, open);
    if (close == std::string_view::npos) return at_line(line, "a raw string does not end");
    advance(close + end.size() - at_);
    return success();
  }

  Status take_directive() {
    const int32_t line = line_;
    std::string_view directive = skip_line();
    directive.remove_prefix(1);
    const auto word = [&] {
      const size_t begin = std::min(directive.find_first_not_of(" \t"), directive.size());
      size_t end = begin;
      while (end < directive.size() && continues_word(directive[end])) ++end;
      const std::string_view found = directive.substr(begin, end - begin);
      directive.remove_prefix(end);
      return found;
    };
    const std::string_view name = word();
    constexpr std::string_view allowed[] = {"",     "define", "undef", "if",    "ifdef", "ifndef",
                                            "elif", "else",   "endif", "error", "pragma"};
    if (std::find(std::begin(allowed), std::end(allowed), name) == std::end(allowed))
      return at_line(line, "#" + std::string(name) +
                               "; allowed: #define, #undef, #if and its kin, #error, #pragma. A text stands alone: it "
                               "includes nothing, and its lines are its own");
    if (const std::string_view macro = name == "define" ? word() : ""; !macro.empty())
      result_.macros.emplace_back(macro);
    return success();
  }

  Status take_word() {
    const int32_t line = line_;
    const size_t begin = at_;
    while (continues_word(peek())) advance();
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (peek() == '"' && (word == "R" || word == "LR" || word == "uR" || word == "UR" || word == "u8R"))
      return skip_raw_string();
    int32_t *const found = word == "score"       ? &result_.score_line
                           : word == "visible"   ? &result_.visible_line
                           : word == "key_range" ? &result_.key_range_line
                                                 : nullptr;
    if (found != nullptr && open_.empty() && *found == 0) candidate_ = {found, line, false};
    return success();
  }

  // A name, its parameters, and a body: a definition. A ';' ahead of the body ends it.
  void open_bracket(char bracket) {
    if (open_.empty() && candidate_.line_of != nullptr) {
      if (bracket == '(') candidate_.has_parameters = true;
      if (bracket == '{' && candidate_.has_parameters) *candidate_.line_of = candidate_.line;
      if (bracket == '{') candidate_ = {};
    }
    open_.push_back({bracket, line_});
    advance();
  }

  Status close_bracket(char bracket) {
    const char opens = bracket == ')' ? '(' : bracket == ']' ? '[' : '{';
    if (open_.empty()) return at_line(line_, std::string("'") + bracket + "' closes nothing");
    if (open_.back().bracket != opens)
      return at_line(line_, std::string("'") + bracket + "' closes '" + open_.back().bracket + "' of line " +
                                std::to_string(open_.back().line));
    open_.pop_back();
    return advance(), success();
  }

  struct Candidate {
    int32_t *line_of = nullptr;
    int32_t line = 0;
    bool has_parameters = false;
  };

  const std::string_view text_;
  size_t at_ = 0;
  int32_t line_ = 1;
  bool at_line_begin_ = true;
  std::vector<Open> open_;
  Candidate candidate_;
  VariantText result_;
};

}  // namespace

Result<VariantText> read_variant_text(std::string_view text) {
  if (text.empty() || static_cast<int64_t>(text.size()) > most_variant_text_bytes)
    return invalid_field("text", "a text of " + std::to_string(text.size()) + " bytes",
                         "1 to " + std::to_string(most_variant_text_bytes) + " bytes");
  FLASHCORE_TRY(check_characters(text));
  return Reader(text).read();
}

}  // namespace flashcore
