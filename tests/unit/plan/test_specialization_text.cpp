// SPDX-License-Identifier: Apache-2.0
//
// A specialization in words: every choice reaches the generated header, and names tell specializations apart.
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "flashcore/flashcore.h"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;
using namespace flashcore::kernels;

namespace {

constexpr Choice some_choices[] = {{"type", Choice::word, "fp16|bf16", 1, 2},
                                   {"rows", Choice::number, "", 1, 9},
                                   {"keys", Choice::joined, "x", 1, 9, Choice::that_before},
                                   {"flag", Choice::word, "flag", 0, 1, 0},
                                   {"bits", Choice::set, "one|two|three", 0, 7, 0}};
constexpr ChoiceTable some_table = {some_choices, 5};

std::string described(const Passport &passport, const Specialization &s) { return module_name(passport, s); }

template <typename Check>
void for_every_specialization(Check check) {
  for (const KernelRow &row : kernel_table()) {
    Specialization s;
    for (int32_t i = 0; row.passport->specialization(i, &s); ++i)
      BOOST_TEST_CONTEXT(described(*row.passport, s)) check(*row.passport, s);
  }
}

// Values that a choice can have: its ends, and those that are tried.
std::vector<int32_t> values_of(const Choice &choice) {
  std::vector<int32_t> values(choice.tries.values, choice.tries.values + choice.tries.count);
  values.insert(values.end(), {choice.least, choice.most});
  if (choice.form == Choice::set)
    for (int32_t value = choice.least; value <= choice.most; ++value) values.push_back(value);
  return values;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_choice_reaches_the_header) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    const std::string header = specialization_header(passport, s);
    BOOST_TEST(header.find("inline constexpr " + std::string(passport.name) + "::Choices chosen = {\n") !=
               std::string::npos);
    for (int32_t i = 0; i < passport.choices.count; ++i) {
      const std::string line =
          std::string("    .") + passport.choices.first[i].name + " = " + std::to_string(s.values[i]) + ",\n";
      BOOST_TEST(header.find(line) != std::string::npos, line);
    }
  });
}

// Each shipped name, and each with one choice changed, shipped or not.
BOOST_AUTO_TEST_CASE(names_read_back) {
  for_every_specialization([](const Passport &passport, const Specialization &shipped) {
    for (int32_t i = 0; i < passport.choices.count; ++i)
      for (const int32_t value : values_of(passport.choices.first[i])) {
        Specialization s = shipped;
        s.values[i] = value;
        const std::string name = module_name(passport, s);
        const auto parsed = parse_module_name(name);
        BOOST_REQUIRE_MESSAGE(parsed.ok(), name);
        BOOST_TEST(&passport_at(parsed.value().kernel_index) == &passport);
        BOOST_TEST(std::memcmp(&parsed.value().specialization, &s, sizeof(s)) == 0, name);
      }
  });
}

// Of those that are compiled on first need, caches and users say these.
BOOST_AUTO_TEST_CASE(words_of_scores_stay) {
  const std::pair<int32_t, const char *> words[] = {{1, "softcap"},
                                                    {2, "alibi"},
                                                    {3, "softcap_alibi"},
                                                    {4, "sinks"},
                                                    {5, "softcap_sinks"},
                                                    {6, "alibi_sinks"},
                                                    {7, "softcap_alibi_sinks"},
                                                    {8, "bias"},
                                                    {16, "mask"},
                                                    {31, "softcap_alibi_sinks_bias_mask"}};
  for (const auto &[scores, word] : words) {
    const std::string name = std::string("sm80_fwd_mma-fp16-d64-causal-") + word + "-64x64-w4";
    const auto parsed = parse_module_name(name);
    BOOST_REQUIRE_MESSAGE(parsed.ok(), name);
    BOOST_TEST(passport_at(parsed.value().kernel_index).value(parsed.value().specialization, "scores", -1) == scores);
    BOOST_TEST(module_name(passport_at(parsed.value().kernel_index), parsed.value().specialization) == name);
  }
}

BOOST_AUTO_TEST_CASE(names_with_a_variant_read_back) {
  for_every_specialization([](const Passport &passport, const Specialization &s) {
    const std::string plain = module_name(passport, s), name = module_name(passport, s, 0x12ab);
    BOOST_TEST(name == plain + "-variant-00000000000012ab");
    const auto parsed = parse_module_name(name);
    BOOST_REQUIRE_MESSAGE(parsed.ok(), name);
    BOOST_TEST(parsed.value().variant == 0x12abu);
    BOOST_TEST(std::memcmp(&parsed.value().specialization, &s, sizeof(s)) == 0, name);
    BOOST_TEST(parse_module_name(plain).value().variant == 0u);
    for (const char *end : {"-variant-", "-variant-12ab", "-variant-00000000000012AB", "-variant-0000000000000000"})
      BOOST_TEST(!parse_module_name(plain + end).ok(), plain << end);
  });
}

// The bit is the generated header's alone: it is no choice.
BOOST_AUTO_TEST_CASE(a_header_with_a_variant_says_so_and_asks_for_it) {
  const int32_t index = find_kernel("sm80_fwd_mma");
  Specialization s;
  BOOST_REQUIRE(passport_at(index).specialization(0, &s));
  const std::string header = specialization_header(passport_at(index), s, true);
  BOOST_TEST(header.find("    .scores = 32,\n") != std::string::npos, header);
  BOOST_TEST(header.ends_with("#include \"variant.h\"\n"), header);
}

BOOST_AUTO_TEST_CASE(a_variants_header_has_its_functions_in_their_lines) {
  VariantText text;
  text.visible_line = 7, text.macros = {"STEP"};
  const std::string header = variant_header(text);
  for (const char *part :
       {"#include \"variant.text\"\n}", "\n#undef STEP\n", "has_visible = true;", "has_score = false;",
        "#line 7 \"variant\"\n    return ::flashcore::variant::visible(batch, head, query, key, params);"})
    BOOST_TEST(header.find(part) != std::string::npos, header << " [lacks " << part << "]");
  BOOST_TEST(header.find("variant::score(") == std::string::npos);
  text.visible_line = 0, text.macros.clear();
  BOOST_TEST(
      variant_header(text) ==
      "#pragma once\nnamespace flashcore::variant {\nusing kernels::int32_t, kernels::int64_t, kernels::uint16_t, "
      "kernels::uint32_t, kernels::uint64_t;\nusing kernels::infinity, kernels::KeyRange;\n#include "
      "\"variant.text\"\n}  // namespace flashcore::variant\nnamespace flashcore::kernels {\nstruct VariantText {\n"
      "  static constexpr bool has_score = false;\n  static constexpr bool has_visible = false;\n"
      "  static constexpr bool has_key_range = false;\n};\n}  // namespace flashcore::kernels\n");
}

// Tuned rows, caches and users say these names: they are what they were.
BOOST_AUTO_TEST_CASE(names_of_modules_stay) {
  std::ifstream file(MODULE_NAMES);
  std::set<std::string> expected, found;
  for (std::string line; std::getline(file, line);)
    if (!line.starts_with("#")) expected.insert(line);
  for_every_specialization(
      [&](const Passport &passport, const Specialization &s) { found.insert(module_name(passport, s)); });
  BOOST_TEST(!expected.empty());
  for (const std::string &name : expected) BOOST_TEST(found.count(name) == 1u, name << " is gone");
  for (const std::string &name : found) BOOST_TEST(expected.count(name) == 1u, name << " is not in module_names.txt");
}

// What is written here is compiled into the tuned rows.
static_assert(read_choices(some_table, "-fp16-7x9-flag").ok);
static_assert(read_choices(some_table, "-bf16-7x9").specialization.values[0] == 2);
static_assert(read_choices(some_table, "-fp16-7").specialization.values[2] == 7);
static_assert(!read_choices(some_table, "-fp16-7x7").ok);
static_assert(!read_choices(some_table, "").ok);
static_assert(read_choices(some_table, "-fp16-7x9-flag").specialization.values[4] == 0);
static_assert(read_choices(some_table, "-fp16-7x9-two").specialization.values[4] == 2);
static_assert(read_choices(some_table, "-fp16-7x9-flag-one_three").specialization.values[4] == 5);
static_assert(read_choices(some_table, "-fp16-7x9-one_two_three").specialization.values[4] == 7);
static_assert(!read_choices(some_table, "-fp16-7x9-three_one").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-one_").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-_one").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-one__two").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-one_one").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-one_four").ok);
static_assert(!read_choices(some_table, "-fp16-7x9-").ok);

BOOST_AUTO_TEST_CASE(malformed_names_are_refused_with_the_part_at_fault) {
  const struct {
    const char *name, *expected;
  } cases[] = {
      {"sm80_fwd_mma", "ends where fp16|bf16 must stand"},
      {"sm80_fwd_mma-", "has \"\" where fp16|bf16 must stand"},
      {"sm80_fwd_mma-fp32-d64-64x64-w4", "has \"fp32\" where fp16|bf16 must stand"},
      {"sm80_fwd_mma-fp16", "ends where dHEAD_DIM[vHEAD_DIM_V] must stand"},
      {"sm80_fwd_mma-fp16-d", "has \"d\" where dHEAD_DIM[vHEAD_DIM_V] must stand"},
      {"sm80_fwd_mma-fp16-d064-64x64-w4", "has \"d064\" where dHEAD_DIM[vHEAD_DIM_V] must stand"},
      {"sm80_fwd_mma-fp16-d64v64-64x64-w4",
       "has \"d64v64\" where the name must say nothing of head_dim_v, or another value"},
      {"sm80_fwd_mma-fp16-d64-64x-w4", "has \"64x\" where TILE_QxTILE_KV must stand"},
      {"sm80_fwd_mma-fp16-d64-64-w4", "has \"64\" where TILE_QxTILE_KV must stand"},
      {"sm80_fwd_mma-fp16-d64-+64x64-w4", "has \"+64x64\" where TILE_QxTILE_KV must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64", "ends where wWARPS must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w", "has \"w\" where wWARPS must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w99999999999", "where wWARPS must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4x2", "has \"w4x2\" where wWARPS must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-s1", "has \"s1\" where the name must say nothing of stages, or another value"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-qreg-s2",
       "has \"s2\" where the end must stand or, in this order, sSTAGES, qreg, unaligned"},
      {"sm90_fwd_decode-fp16-d64-8x16-w8-c1", "has \"c1\" where the name must say nothing of cluster"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-c2", "has \"c2\" where the end must stand"},
      {"sm80_fwd_decode-fp16-d64-causal-8x16-w8", "has \"causal\" where TILE_QxTILE_KV must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-o2", "has \"o2\" where the end must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-", "has \"\" where the end must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-qreg ", "has \"qreg \" where the end must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w4-q",
       "a module's name is sm80_fwd_mma-fp16|bf16-dHEAD_DIM[vHEAD_DIM_V][-causal][-window|chunk]"
       "[-[softcap_][alibi_][sinks_][bias_][mask]][-ragged|paged][-[out32_][stay]]"
       "-TILE_QxTILE_KV-wWARPS[-sSTAGES][-qreg][-unaligned]"},
      {"sm80_fwd_mma-fp16-d64-softcap_-64x64-w4", "has \"softcap_\" where "},
      {"sm80_fwd_mma-fp16-d64-softcap_softcap-64x64-w4", "has \"softcap_softcap\" where "},
      {"sm80_fwd_mma-fp16-d64-mask_softcap-64x64-w4", "has \"mask_softcap\" where "},
      {"sm80_fwd_mma-fp16-d64--64x64-w4", "has \"\" where "},
      {"sm80_fwd_mma-fp16-d64-64x64-w1234567890", "where wWARPS must stand"},
      {"sm80_fwd_mma-fp16-d64-64x64-w:", "has \"w:\" where wWARPS must stand"},
      {"sm81_fwd-fp16", "which is of no kernel"},
  };
  for (const auto &one : cases) {
    const auto parsed = parse_module_name(one.name);
    BOOST_REQUIRE_MESSAGE(!parsed.ok(), one.name);
    BOOST_TEST(parsed.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(parsed.error().field == "kernel");
    BOOST_TEST(parsed.error().message.find(one.expected) != std::string::npos, parsed.error().message);
  }
}

BOOST_AUTO_TEST_CASE(every_shipped_name_can_be_asked_for) {
  for (const KernelRow &row : kernel_table()) {
    Specialization s;
    for (int32_t index = 0; row.passport->specialization(index, &s); ++index)
      BOOST_TEST(module_name(*row.passport, s).size() < size_t{FLASHCORE_NAME_BYTES});
  }
}

BOOST_AUTO_TEST_CASE(module_names_are_unique) {
  for (const KernelRow &row : kernel_table()) {
    std::set<std::string> names;
    Specialization specialization;
    int32_t index = 0;
    for (; row.passport->specialization(index, &specialization); ++index)
      BOOST_TEST(names.insert(module_name(*row.passport, specialization)).second, row.passport->name << " " << index);
    BOOST_TEST(index > 0);
    BOOST_TEST(!row.passport->specialization(-1, &specialization));
  }
}
