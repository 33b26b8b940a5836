// SPDX-License-Identifier: Apache-2.0
//
// What a kernel decides at compile time. Each kernel declares its choices as a table, and has a struct `Choices` with a member for
// each. Names of modules, the generated header "specialization.h", ranges and what fc-tune tries follow from the table, so that a
// choice more is a line in the one kernel that has it. What a kernel does not choose it has no choice for: kernels that
// apply every mask have none for the mask.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

inline constexpr int32_t most_choices = 14;  // of a kernel

// A value for each choice of one kernel, in the order of its table, and zeros behind them. The first choice is never 0. Part of
// keys that are compared as bytes.
struct Specialization {
  int32_t values[most_choices];
};

#ifndef __CUDACC_RTC__
// The values that fc-tune tries, rising; none: the problem decides.
struct Tries {
  int32_t count = 0;
  int32_t values[14] = {};

  constexpr Tries() = default;
  template <typename... Values>
  constexpr explicit Tries(Values... tried) : count(sizeof...(tried)), values{tried...} {}
};

struct Choice {
  // How the name of a module says it: parts with dashes between them, in the order of the table.
  enum Form : int32_t {
    word,  // a part of its own: one of `text`'s words, which '|' separates and which stand for rising values from `least` on
    number,  // a part of its own: `text`, then the value: "w4"
    joined,  // the same, joined to the part before: "x64" in "128x64"
    set,  // a part of its own: those of `text`'s words that '_' joins whose bits the value has, the first word's being 1
  };
  // In place of a value that names leave out.
  static constexpr int32_t none = -1;         // they say every value
  static constexpr int32_t that_before = -2;  // that of the choice before

  const char *name;  // as errors say it, and the member of Choices
  Form form;
  const char *text;
  int32_t least, most;  // in this kernel; its passport's `allows` may say more
  int32_t unsaid = none;
  Tries tries{};

  // The value of the first word. A value that is left out has none.
  constexpr int32_t first_word() const { return unsaid == least ? least + 1 : least; }
};

struct ChoiceTable {
  const Choice *first;
  int32_t count;

  constexpr const Choice *begin() const { return first; }
  constexpr const Choice *end() const { return first + count; }
};

template <typename Choices, int32_t count>
constexpr ChoiceTable choice_table(const Choice (&choices)[count]) {
  static_assert(count <= most_choices, "more choices than a Specialization holds: most_choices");
  static_assert(sizeof(Choices) == count * sizeof(int32_t), "Choices has a member for each choice of the table");
  return {choices, count};
}

// -1: the kernel has no such choice.
constexpr int32_t find_choice(const ChoiceTable &table, const char *name) {
  for (int32_t i = 0; i < table.count; ++i) {
    const char *a = table.first[i].name, *b = name;
    while (*a != '\0' && *a == *b) ++a, ++b;
    if (*a == *b) return i;
  }
  return -1;
}
constexpr int32_t value_of(const ChoiceTable &table, const Specialization &s, const char *name, int32_t otherwise) {
  const int32_t index = find_choice(table, name);
  return index < 0 ? otherwise : s.values[index];
}

// Between a kernel's own Choices and what the library hands about.
template <typename Choices>
struct ChoiceValues {
  static constexpr int32_t count = sizeof(Choices) / sizeof(int32_t);
  int32_t values[count];
};
template <typename Choices>
constexpr Choices choices_of(const Specialization &s) {
  ChoiceValues<Choices> own{};
  for (int32_t i = 0; i < own.count; ++i) own.values[i] = s.values[i];
  return __builtin_bit_cast(Choices, own);
}
template <typename Choices>
constexpr Specialization specialization_of(const Choices &choices) {
  const auto own = __builtin_bit_cast(ChoiceValues<Choices>, choices);
  Specialization s{};
  for (int32_t i = 0; i < own.count; ++i) s.values[i] = own.values[i];
  return s;
}

// on_choices<f>: a kernel's function on its Choices as the passport's on a Specialization.
template <auto function>
struct OnChoices;
template <typename Choices, typename Answer, typename... Rest, Answer (*function)(const Choices &, Rest...)>
struct OnChoices<function> {
  static constexpr Answer call(const Specialization &s, Rest... rest) {
    return function(choices_of<Choices>(s), rest...);
  }
};
template <typename Choices, bool (*function)(int32_t, Choices *)>
struct OnChoices<function> {
  static constexpr bool call(int32_t index, Specialization *out) {
    Choices choices{};
    if (!function(index, &choices)) return false;
    *out = specialization_of(choices);
    return true;
  }
};
template <auto function>
inline constexpr auto on_choices = &OnChoices<function>::call;
#endif

}  // namespace flashcore::kernels
