// SPDX-License-Identifier: Apache-2.0
#include "plan/specialization_text.hpp"

#include <cctype>

#include "plan/kernel_table.hpp"

namespace flashcore {
namespace {

using kernels::Choice;
using kernels::Passport;
using kernels::Specialization;

std::string placeholder(const Choice &choice) {
  std::string upper = choice.name;
  for (char &c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return upper;
}

// "fp16|bf16", "wWARPS", "[softcap_][alibi]": how names say the choice.
std::string pattern(const Choice &choice) {
  if (choice.form == Choice::word) return choice.text;
  if (choice.form != Choice::set) return choice.text + placeholder(choice);
  std::string text;
  for (std::string_view words = choice.text; !words.empty();) {
    text += "[" + std::string(choice_text::take_word(words, '|'));
    text += words.empty() ? "]" : "_]";
  }
  return text;
}

// "TILE_QxTILE_KV": the part of a name that the choice is in.
std::string part_pattern(const kernels::ChoiceTable &table, int32_t index) {
  while (table.first[index].form == Choice::joined) --index;
  std::string text = pattern(table.first[index]);
  for (++index; index < table.count && table.first[index].form == Choice::joined; ++index) {
    const std::string one = pattern(table.first[index]);
    text += table.first[index].unsaid == Choice::none ? one : "[" + one + "]";
  }
  return text;
}

std::string grammar(const Passport &passport) {
  std::string text = passport.name;
  for (const Choice &choice : passport.choices) {
    const std::string said = (choice.form == Choice::joined ? "" : "-") + pattern(choice);
    text += choice.unsaid == Choice::none ? said : "[" + said + "]";
  }
  return text;
}

// What must stand where a name goes wrong.
std::string expected_at(const Passport &passport, int32_t fault) {
  if (fault < passport.choices.count) {
    const Choice &choice = passport.choices.first[fault];
    if (choice.unsaid == Choice::none) return part_pattern(passport.choices, fault) + " must stand";
    return "the name must say nothing of " + std::string(choice.name) + ", or another value as " + pattern(choice);
  }
  std::string optional;  // behind all that must be there
  for (const Choice &choice : passport.choices) {
    if (choice.unsaid == Choice::none)
      optional.clear();
    else if (choice.form != Choice::joined)
      optional += (optional.empty() ? " or, in this order, " : ", ") + pattern(choice);
  }
  return "the end must stand" + optional;
}

Error misnamed(const Passport &passport, std::string_view name, const ReadChoices &read) {
  std::string_view part = name.substr(std::string_view(passport.name).size() + read.part);
  const bool at_end = part.empty();
  if (!at_end) part.remove_prefix(1);
  const std::string found = at_end ? "ends" : "has \"" + std::string(choice_text::part_of(part)) + "\"";
  return {FLASHCORE_INVALID_ARGUMENT,
          "kernel is \"" + std::string(name) + "\", which " + found + " where " + expected_at(passport, read.fault) +
              "; a module's name is " + grammar(passport),
          "kernel"};
}

std::string words_of_set(const Choice &choice, int32_t value) {
  std::string text;
  for (std::string_view words = choice.text; !words.empty(); value >>= 1) {
    const std::string_view one = choice_text::take_word(words, '|');
    if ((value & 1) != 0) text += (text.empty() ? "" : "_") + std::string(one);
  }
  return text;
}

std::string_view word_of(const Choice &choice, int32_t value) {
  std::string_view words = choice.text;
  for (int32_t other = choice.first_word(); other < value; ++other) words.remove_prefix(words.find('|') + 1);
  return words.substr(0, words.find('|'));
}

constexpr std::string_view before_digest = "-variant-";
constexpr size_t digest_digits = 16;

// Takes the end that names a variant. 0: there is none.
uint64_t take_variant(std::string_view &name) {
  if (name.size() < before_digest.size() + digest_digits) return 0;
  const std::string_view end = name.substr(name.size() - before_digest.size() - digest_digits);
  if (!end.starts_with(before_digest)) return 0;
  uint64_t digest = 0;
  for (const char c : end.substr(before_digest.size())) {
    const size_t digit = std::string_view("0123456789abcdef").find(c);
    if (digit == std::string_view::npos) return 0;
    digest = digest << 4 | digit;
  }
  if (digest != 0) name.remove_suffix(end.size());
  return digest;
}

// A function of the text behind the parameters that kernels have. `line` of the text, or 0: it has no such function.
struct VariantFunction {
  const char *name, *returns, *parameters, *arguments;
  int32_t line;
};

std::string range_text(const Choice &choice) {
  const std::string least = std::to_string(choice.least);
  return choice.least == choice.most ? least : least + " to " + std::to_string(choice.most);
}

}  // namespace

std::string specialization_header(const Passport &passport, const Specialization &specialization, bool with_variant) {
  std::string text = "#pragma once\nnamespace flashcore::kernels {\ninline constexpr " + std::string(passport.name) +
                     "::Choices chosen = {\n";
  const int32_t scores = kernels::find_choice(passport.choices, "scores");
  for (int32_t i = 0; i < passport.choices.count; ++i) {
    const int32_t value = specialization.values[i] + (with_variant && i == scores ? kernels::scores_variant : 0);
    text += std::string("    .") + passport.choices.first[i].name + " = " + std::to_string(value) + ",\n";
  }
  text += "};\n}  // namespace flashcore::kernels\n";
  return with_variant ? text + "#include \"variant.h\"\n" : text;
}

std::string variant_header(const VariantText &text) {
  std::string header =
      "#pragma once\nnamespace flashcore::variant {\nusing kernels::int32_t, kernels::int64_t, kernels::uint16_t, "
      "kernels::uint32_t, kernels::uint64_t;\nusing kernels::infinity, kernels::KeyRange;\n#include \"variant.text\"\n"
      "}  // namespace flashcore::variant\n";
  for (const std::string &macro : text.macros) header += "#undef " + macro + "\n";
  header += "namespace flashcore::kernels {\nstruct VariantText {\n";
  const VariantFunction functions[] = {
      {"score", "float", "float score, int32_t batch, int32_t head, int32_t query, int32_t key, VariantParams params",
       "score, batch, head, query, key, params", text.score_line},
      {"visible", "bool", "int32_t batch, int32_t head, int32_t query, int32_t key, VariantParams params",
       "batch, head, query, key, params", text.visible_line},
      {"key_range", "KeyRange", "int32_t batch, int32_t head, int32_t query, VariantParams params",
       "batch, head, query, params", text.key_range_line}};
  for (const VariantFunction &function : functions) {
    const std::string name = function.name;
    header += "  static constexpr bool has_" + name + " = " + (function.line != 0 ? "true" : "false") + ";\n";
    if (function.line == 0) continue;
    header += "  static __device__ __forceinline__ " + std::string(function.returns) + " " + name + "(" +
              function.parameters + ") {\n#line " + std::to_string(function.line) +
              " \"variant\"\n    return ::flashcore::variant::" + name + "(" + function.arguments +
              ");\n#line 1 \"variant.h\"\n  }\n";
  }
  return header + "};\n}  // namespace flashcore::kernels\n";
}

std::string module_name(const Passport &passport, const Specialization &specialization, uint64_t variant) {
  std::string name = passport.name;
  for (int32_t i = 0; i < passport.choices.count; ++i) {
    const Choice &choice = passport.choices.first[i];
    const int32_t value = specialization.values[i], before = i > 0 ? specialization.values[i - 1] : 0;
    if (choice_text::is_unsaid(choice, value, before)) continue;
    if (choice.form != Choice::joined) name += '-';
    if (choice.form == Choice::word)
      name += word_of(choice, value);
    else if (choice.form == Choice::set)
      name += words_of_set(choice, value);
    else
      name += choice.text + std::to_string(value);
  }
  if (variant != 0) name.append(before_digest).append(variant_digest_text(variant));
  return name;
}

Result<ModuleName> parse_module_name(std::string_view name) {
  const std::string_view kernel = choice_text::part_of(name);
  const uint64_t variant = take_variant(name);
  const int32_t index = find_kernel(kernel);
  if (index < 0)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "kernel is \"" + std::string(name) + "\", which is of no kernel of this version", "kernel"};
  const Passport &passport = *kernel_table()[static_cast<size_t>(index)].passport;
  const ReadChoices read = read_choices(passport.choices, name.substr(kernel.size()));
  if (!read.ok) return misnamed(passport, name, read);
  return ModuleName{index, read.specialization, variant};
}

Status check_specialization(const Passport &passport, const Specialization &specialization) {
  const auto error = [&](std::string_view name, std::string_view allowed) {
    std::string text = "kernel is \"" + module_name(passport, specialization) + "\"";
    for (int32_t i = 0; i < passport.choices.count; ++i)
      if (passport.choices.first[i].name == name)
        text += ", whose " + std::string(name) + " is " + std::to_string(specialization.values[i]);
    return Error{FLASHCORE_INVALID_ARGUMENT, text + "; " + passport.name + " allows: " + std::string(allowed),
                 "kernel"};
  };
  const int32_t out_of_range = first_out_of_range(passport.choices, specialization);
  if (out_of_range < passport.choices.count) {
    const Choice &choice = passport.choices.first[out_of_range];
    return error(choice.name, range_text(choice));
  }
  if (const kernels::Refusal refusal = passport.allows(specialization); refusal.field != nullptr)
    return error(refusal.field, refusal.reason);
  return success();
}

}  // namespace flashcore
