// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words, by its kernel's table of choices (contract/choice.h): the generated header that NVRTC includes as
// "specialization.h", and the module's name, which can be read back. Nothing else writes or reads either.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "contract/passport.h"
#include "problem/variants.hpp"

namespace flashcore {

// `chosen`, of the kernel's own type Choices. With a variant the header asks for "variant.h".
std::string specialization_header(const kernels::Passport &passport, const kernels::Specialization &specialization,
                                  bool with_variant = false);

// "variant.h": what a kernel makes of a user's text, which stands in a namespace of its own, and whose macros end with it. It includes
// "variant.text", which is the text behind a line that calls it "variant" in what the compiler says; so is a fault of a call, in the line of
// the text's own function.
inline constexpr std::string_view variant_text_begin = "#line 1 \"variant\"\n";
std::string variant_header(const VariantText &text);

// "sm80_fwd_mma-fp16-d64-causal-128x64-w4"; unique within a kernel. With a variant, "-variant-" and its digest follow.
std::string module_name(const kernels::Passport &passport, const kernels::Specialization &specialization,
                        uint64_t variant = 0);

struct ModuleName {
  int32_t kernel_index;  // in kernel_table()
  kernels::Specialization specialization{};
  uint64_t variant = 0;  // digest; 0: none
};

// The reverse of module_name, to the letter: module_name of the result is `name`. INVALID_ARGUMENT says which part is
// wrong and what may stand there. Allocates only to describe a failure.
Result<ModuleName> parse_module_name(std::string_view name);

// Can the kernel be compiled so: each choice within its range, and nothing against it in the passport. INVALID_ARGUMENT
// names the choice, its value and what is allowed. Allocates only to describe a failure.
Status check_specialization(const kernels::Passport &passport, const kernels::Specialization &specialization);

// What stands behind the kernel in a module's name, read by the kernel's table; the compiler reads those of the tuned rows.
struct ReadChoices {
  kernels::Specialization specialization{};
  bool ok = false;
  int32_t fault = 0;  // not ok: the choice that the text does not say; the table's count: it goes on where it must end
  size_t part = 0;    // and where the part at fault begins, with its dash
};
constexpr ReadChoices read_choices(const kernels::ChoiceTable &table, std::string_view text);

namespace choice_text {

using kernels::Choice;

// Whether the value is that which names leave out.
constexpr bool is_unsaid(const Choice &choice, int32_t value, int32_t before) {
  return value == (choice.unsaid == Choice::that_before ? before : choice.unsaid);
}

// As names write numbers: no sign, no leading zero; at most nine digits. 0: there is none.
constexpr int32_t take_number(std::string_view &text) {
  int32_t number = 0;
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9' && digits < 10) {
    if (number == 0 && text[digits] == '0') return 0;
    if (digits == 9) return 0;
    number = number * 10 + (text[digits++] - '0');
  }
  text.remove_prefix(digits);
  return number;
}

constexpr std::string_view part_of(std::string_view rest) { return rest.substr(0, rest.find('-')); }

constexpr int32_t count_words(const Choice &choice) {
  int32_t words = 1;
  for (const char c : std::string_view(choice.text)) words += c == '|' ? 1 : 0;
  return words;
}

// Takes the first word, up to `separator`.
constexpr std::string_view take_word(std::string_view &words, char separator) {
  const std::string_view one = words.substr(0, words.find(separator));
  words.remove_prefix(one.size() == words.size() ? one.size() : one.size() + 1);
  return one;
}

// The value of words of a set, in the set's order; Choice::none: there is another one among them.
constexpr int32_t value_of_set(const Choice &choice, std::string_view chosen) {
  if (chosen.empty() || chosen.back() == '_') return Choice::none;
  int32_t value = 0, bit = 1;
  for (std::string_view words = choice.text; !words.empty() && !chosen.empty(); bit *= 2) {
    const std::string_view one = take_word(words, '|');
    if (chosen.substr(0, chosen.find('_')) != one) continue;
    value |= bit;
    take_word(chosen, '_');
  }
  return chosen.empty() ? value : Choice::none;
}

// The value of a word; Choice::none: it is none of the words.
constexpr int32_t value_of_word(const Choice &choice, std::string_view word) {
  std::string_view words = choice.text;
  for (int32_t value = choice.first_word(); !words.empty(); ++value)
    if (take_word(words, '|') == word) return value;
  return Choice::none;
}

// Takes from `rest` what it says of the choice. Choice::none: nothing, and `rest` stays as it was.
constexpr int32_t take(const Choice &choice, std::string_view &rest) {
  std::string_view text = rest;
  if (choice.form != Choice::joined) {
    if (text.empty() || text.front() != '-') return Choice::none;
    text.remove_prefix(1);
  }
  int32_t value = Choice::none;
  if (choice.form == Choice::word || choice.form == Choice::set) {
    value = choice.form == Choice::word ? value_of_word(choice, part_of(text)) : value_of_set(choice, part_of(text));
    text.remove_prefix(part_of(text).size());
  } else {
    const std::string_view letters = choice.text;
    if (!text.starts_with(letters)) return Choice::none;
    text.remove_prefix(letters.size());
    value = take_number(text);
    if (value == 0) return Choice::none;
  }
  if (value != Choice::none) rest = text;
  return value;
}

constexpr bool in_range(const Choice &choice, int32_t value) {
  if (value < choice.least || value > choice.most) return false;
  if (value == choice.unsaid) return true;
  if (choice.form == Choice::set) return value > 0 && value >> count_words(choice) == 0;
  return choice.form != Choice::word ||
         (value >= choice.first_word() && value < choice.first_word() + count_words(choice));
}

constexpr bool ends_part(std::string_view rest) { return rest.empty() || rest.front() == '-'; }

}  // namespace choice_text

constexpr ReadChoices read_choices(const kernels::ChoiceTable &table, std::string_view text) {
  using kernels::Choice;
  ReadChoices read;
  std::string_view rest = text;
  for (; read.fault < table.count; ++read.fault) {
    const Choice &choice = table.first[read.fault];
    const int32_t before = read.fault > 0 ? read.specialization.values[read.fault - 1] : 0;
    if (choice.form != Choice::joined) read.part = text.size() - rest.size();
    int32_t value = choice_text::take(choice, rest);
    if (value != Choice::none && choice_text::is_unsaid(choice, value, before)) return read;
    if (value == Choice::none) value = choice.unsaid == Choice::that_before ? before : choice.unsaid;
    const bool goes_on = read.fault + 1 < table.count && table.first[read.fault + 1].form == Choice::joined;
    if (value == Choice::none || (!goes_on && !choice_text::ends_part(rest))) return read;
    read.specialization.values[read.fault] = value;
  }
  read.part = text.size() - rest.size();
  read.ok = rest.empty();
  return read;
}

// The first choice that is out of its range; the table's count: none is.
constexpr int32_t first_out_of_range(const kernels::ChoiceTable &table, const kernels::Specialization &specialization) {
  int32_t index = 0;
  while (index < table.count && choice_text::in_range(table.first[index], specialization.values[index])) ++index;
  return index;
}

}  // namespace flashcore
