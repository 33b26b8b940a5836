// SPDX-License-Identifier: Apache-2.0
//
// Texts of variants and their ids: what is refused and in which line, which functions a text has, and what a call may say.
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <thread>

#include "problem/variants.hpp"
#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

const std::string good =
    "// a window\nbool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const void *params) {\n"
    "  return key <= query;\n}\n";

std::string why(std::string_view text) {
  const auto read = read_variant_text(text);
  if (read.ok()) return "read";
  BOOST_TEST(read.error().status == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(read.error().field == "text");
  return read.error().message;
}

void check_why(std::string_view text, std::string_view begin) {
  const std::string message = why(text);
  BOOST_TEST(message.starts_with(begin), "\"" << text << "\": " << message);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(variants)

BOOST_AUTO_TEST_CASE(a_text_has_limits) {
  check_why("", "text is a text of 0 bytes; allowed: 1 to 65536 bytes");
  const std::string comment =
      "/*" + std::string(static_cast<size_t>(most_variant_text_bytes) - good.size() - 4, 'x') + "*/";
  BOOST_TEST(why(good + comment) == "read");
  check_why(good + comment + " ", "text is a text of 65537 bytes");
  check_why(good + std::string("\n\0", 2), "text, line 6: a NUL");
}

BOOST_AUTO_TEST_CASE(a_text_is_utf8) {
  for (const char *bytes : {"\x80", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\xe0\x80\x80"})
    check_why("\n// " + std::string(bytes) + "\n" + good, "text, line 2: a byte that is no UTF-8");
  BOOST_TEST(why("// Ä € 𝛼\n" + good) == "read");
}

// Every first byte with second, third and fourth ones at the borders, against the number that they are in Unicode.
BOOST_AUTO_TEST_CASE(each_sequence_of_bytes_is_utf8_or_none) {
  const auto is_utf8 = [](std::string_view bytes) {
    while (!bytes.empty()) {
      const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])); };
      size_t count = 1;
      while (byte(0) >= 0x80 && count < 5 && (byte(0) << count & 0x80) != 0) ++count;
      if (count == 1 && byte(0) >= 0x80) return false;  // a byte that only continues
      if (count > 4 || count > bytes.size()) return false;
      uint32_t number = count == 1 ? byte(0) : byte(0) & (0x7fu >> count);
      for (size_t i = 1; i < count; ++i) {
        if (byte(i) < 0x80 || byte(i) > 0xbf) return false;
        number = number << 6 | (byte(i) & 0x3f);
      }
      constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
      if (number < smallest[count] || number > 0x10ffff || (number >= 0xd800 && number <= 0xdfff)) return false;
      bytes.remove_prefix(count);
    }
    return true;
  };
  int wrong = 0, good_ones = 0;
  for (int first = 0x20; first < 0x100; ++first)
    for (const int second : {0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff})
      for (const int third : {0x20, 0x7f, 0x80, 0xbf, 0xc0})
        for (const int fourth : {0x20, 0x7f, 0x80, 0xbf, 0xc0}) {
          std::string bytes;
          for (const int byte : {first, second, third, fourth}) bytes += static_cast<char>(byte);
          if (first == '\\') continue;  // which moves the end of the line on
          const bool read = read_variant_text("//" + bytes + " \n" + good).ok();
          wrong += read != is_utf8(bytes);
          good_ones += read;
        }
  BOOST_TEST(wrong == 0);
  BOOST_TEST(good_ones > 1000);
}

// A compiler would tell of these behind the text, in lines that are not the user's.
BOOST_AUTO_TEST_CASE(brackets_close_within_the_text) {
  check_why("\nbool visible() {\n  if (true) {\n}\n", "text, line 2: '{' is never closed");
  check_why(good + "}\n", "text, line 5: '}' closes nothing");
  check_why("float score() {\n  return (1];\n}", "text, line 2: ']' closes '(' of line 2");
  check_why("\n/* float score() {}", "text, line 2: a comment is never closed");
  check_why("\n\nconst char *a = \"{\n", "text, line 3: a literal that begins with \" does not end in its line");
  check_why("auto a = R\"x({)y\";", "text, line 1: a raw string does not end");
}

// What looks like a bracket and is none.
BOOST_AUTO_TEST_CASE(brackets_in_comments_and_literals_do_not_count) {
  for (const char *text : {"// {\n", "/* } */", "// goes on \\\n }\n",
                           "const char a = '{', b = '\\'', *c = \"}\\\"{\";", "const char *a = R\"x(}\")x\";",
                           "#define A 1 /* {\n ( */\n", "constexpr int a = 1'000'000;\n#define B(x) \\\n (x\n"})
    BOOST_TEST(why(text + good) == "read", text << why(text + good));
}

// Each of these would open or close something if it were read otherwise than a compiler reads it.
BOOST_AUTO_TEST_CASE(tokens_are_read_as_a_compiler_reads_them) {
  for (const char *text :
       {"auto a = LR\"({)\", b = uR\"x({)x\", c = UR\"({)\", d = u8R\"({)\";", "float R, u8R; auto e = XR \"}\";",
        "float f = 1e+5f + 1.5E-3f + 0x1p-3f + 0x1P+3f + 1.f + .5f; int g = 0x1'000 - 1;", "int h = 1-2, i = 3+(4);",
        "float \xc3\xa9\xc3\xa8 = 1;", "int \\\n j;", "int \\\r\n k;", "#define L 1 \\\r\n 2 {\n", "int m = 1 # 2;",
        "int n = (1 \\ 2);", "const char *o = \"\\\\\";", "struct visible { int p; };",
        "struct Q { bool visible(int) { return true; } };"})
    BOOST_TEST(why(std::string(text) + "\n" + good) == "read", text << ": " << why(std::string(text) + "\n" + good));
  check_why("auto a = R\"never closed;", "text, line 1: a raw string does not end");
  check_why("const char a = '\\", "text, line 1: a literal that begins with '");
  check_why("float score(float s)[2];", "text defines no function");
  const auto later = read_variant_text("bool visible(int);\n" + good + good);  // the first definition is told
  BOOST_REQUIRE(later.ok());
  BOOST_TEST(later.value().visible_line == 3);
  for (const char *name : {"score", "visible", "key_range"}) {
    const auto read = read_variant_text(std::string("int ") + name + "(int) { return 1; }");
    BOOST_REQUIRE(read.ok());
    BOOST_TEST((read.value().score_line + read.value().visible_line + read.value().key_range_line) == 1);
  }
}

BOOST_AUTO_TEST_CASE(a_text_stands_alone) {
  check_why("#include <cmath>\n" + good, "text, line 1: #include; allowed: #define");
  check_why(good + "  #  line 5\n", "text, line 5: #line; allowed: #define");
  check_why(good + "#import \"a\"\n", "text, line 5: #import; allowed: #define");
  const auto read = read_variant_text("#define A 1\n#if A\n#  define B(x) x\n#endif\n#pragma unroll\n" + good);
  BOOST_REQUIRE(read.ok());
  BOOST_TEST((read.value().macros == std::vector<std::string>{"A", "B"}));
}

// Nothing behind it is looked at, whatever it ends with.
BOOST_AUTO_TEST_CASE(a_text_ends_where_it_ends) {
  for (const std::string end :
       {"#define A", "#define A /", "#define A \\", "// a\\", "const int a = 1", "const char a = 'b'", "/* a */"}) {
    const std::string behind = good + end + "BC*/'\n/";
    const auto read = read_variant_text(std::string_view(behind).substr(0, good.size() + end.size()));
    BOOST_REQUIRE(read.ok());
    BOOST_TEST((read.value().macros == std::vector<std::string>(end.starts_with("#"), "A")), end);
  }
  const std::string open = good + "/* a */";
  check_why(std::string_view(open).substr(0, open.size() - 1), "text, line 5: a comment is never closed");
  const std::string literal = good + "const char *a = \"b\"";
  check_why(std::string_view(literal).substr(0, literal.size() - 1), "text, line 5: a literal that begins with");
}

BOOST_AUTO_TEST_CASE(a_text_has_one_of_the_functions) {
  const std::string none = "text defines no function that attention would call";
  check_why("float other() { return 1; }", none);
  check_why("float score(float score);", none);
  check_why("struct S { bool visible() { return true; } };", none);
  check_why("const float score = 1; float other() { return 1; }", none);
  check_why("// float score() {}\n", none);
  const auto read = read_variant_text(
      "float score(float s) { return s; }\n\ntemplate <typename T>\nbool visible(T) "
      "noexcept {\n return true; }\nKeyRange\nkey_range(int) { return {}; }");
  BOOST_REQUIRE(read.ok());
  BOOST_TEST(read.value().score_line == 1);
  BOOST_TEST(read.value().visible_line == 4);
  BOOST_TEST(read.value().key_range_line == 7);
}

BOOST_AUTO_TEST_CASE(an_id_is_one_contexts_and_ends) {
  Variants ours, others;
  const uint64_t first = ours.create(good, 0).value(), second = ours.create(good, 16).value(),
                 foreign = others.create(good, 0).value();
  BOOST_TEST(first != second);
  BOOST_TEST(ours.find(first).value()->digest == ours.find(second).value()->digest);
  BOOST_TEST(ours.find(second).value()->params_bytes == 16);
  for (const uint64_t id : {foreign, uint64_t{0}, UINT64_MAX}) {
    const auto found = ours.find(id);
    BOOST_REQUIRE(!found.ok());
    BOOST_TEST(found.error().field == "variant");
    BOOST_TEST(found.error().message.starts_with("variant is " + std::to_string(id) + "; allowed: 0 for none"));
  }
  const auto held = ours.find(first).value();
  const uint64_t before = ours.destroyed();
  BOOST_TEST(ours.destroy(first).ok());
  BOOST_TEST(ours.destroyed() == before + 1);
  BOOST_TEST(held->code.text == good);
  BOOST_TEST(!ours.find(first).ok());
  BOOST_TEST(!ours.destroy(first).ok());
  BOOST_TEST(ours.destroyed() == before + 1);
  BOOST_TEST(ours.find(second).ok());
}

BOOST_AUTO_TEST_CASE(what_no_variant_has_is_refused) {
  Variants all;
  for (const int64_t bytes : {int64_t{-8}, int64_t{4}, int64_t{9}, (int64_t{1} << 40) + 8}) {
    const auto made = all.create(good, bytes);
    BOOST_REQUIRE(!made.ok());
    BOOST_TEST(made.error().field == "params_bytes");
  }
  BOOST_TEST(all.create(good, int64_t{1} << 40).ok());
  const auto made = all.create("float other;", 0);
  BOOST_REQUIRE(!made.ok());
  BOOST_TEST(made.error().field == "text");
}

// Whatever lock another thread held at the fork is never let go of in the child: it is told, and waits for nobody.
BOOST_AUTO_TEST_CASE(a_forked_child_does_not_wait_for_its_parents_threads) {
  Variants all;
  const uint64_t id = all.create(good, 0).value();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      while (!stop) static_cast<void>(all.find(id));
    });
  int stuck = 0, told = 0;
  constexpr int forks = 50;
  for (int i = 0; i < forks; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const auto answered = [](const auto &result) { return result.ok() || result.error().status == FLASHCORE_FORKED; };
      const auto found = all.find(id);
      const bool well = answered(found) && answered(all.create(good, 8)) && answered(all.destroy(id));
      _exit(!well ? 2 : found.ok() ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    stuck += !WIFEXITED(status) || WEXITSTATUS(status) > 1;
    told += WIFEXITED(status) && WEXITSTATUS(status) == 1;
  }
  stop = true;
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(stuck == 0);
  BOOST_TEST_MESSAGE(told << " of " << forks << " children were forked while it was held");
  BOOST_TEST(all.find(id).ok());  // the parent goes on
}

BOOST_AUTO_TEST_CASE(digests_tell_texts_apart) {
  Variants all;
  const auto digest = [&](const std::string &text) { return all.find(all.create(text, 0).value()).value()->digest; };
  BOOST_TEST(digest(good) != digest(good + " "));
  BOOST_TEST(variant_digest_text(0x0123456789abcdef) == "0123456789abcdef");
}

BOOST_AUTO_TEST_CASE(params_are_of_whole_units) {
  Variants all;
  for (const int64_t bytes : {-8, 1, 12}) {
    const auto made = all.create(good, bytes);
    BOOST_REQUIRE(!made.ok());
    BOOST_TEST(made.error().field == "params_bytes");
  }
}

BOOST_AUTO_TEST_CASE(a_call_gives_what_its_variant_asks_for) {
  Variants all;
  const uint64_t bare = all.create(good, 0).value(), with_params = all.create(good, 64).value();
  const auto said = [&](uint64_t variant, uint64_t params, AddressRule rule = AddressRule::required) -> std::string {
    Args args = contiguous_args();
    args.variant = variant, args.variant_params = params;
    const auto result = validate_attention(&args, rule, &all);
    if (result.ok()) return "ok";
    BOOST_TEST(result.error().status == FLASHCORE_INVALID_ARGUMENT);
    return result.error().field + ": " + result.error().message;
  };
  constexpr uint64_t there = 0x900000000;
  BOOST_TEST(said(0, 0) == "ok");
  BOOST_TEST(said(bare, 0) == "ok");
  BOOST_TEST(said(with_params, there) == "ok");
  BOOST_TEST(said(with_params, 0, AddressRule::optional) == "ok");
  BOOST_TEST(said(with_params, 0).starts_with("variant_params: variant_params is 0; allowed: the address"));
  BOOST_TEST(said(0, there).starts_with("variant_params: variant_params is 0x900000000; allowed: 0 without a variant"));
  BOOST_TEST(said(bare, there).starts_with("variant_params: variant_params is 0x900000000; allowed: 0, the variant"));
  BOOST_TEST(said(with_params, there + 4).starts_with("variant_params: variant_params is 0x900000004; allowed: a mul"));
  BOOST_TEST(said(with_params, 0x400000000).starts_with("output.data: "));  // the call's output lies there
  BOOST_TEST(said(UINT64_MAX, 0).starts_with("variant: variant is 18446744073709551615; allowed: 0 for none"));
}

BOOST_AUTO_TEST_CASE(a_problem_with_a_variant_is_another_problem) {
  Variants all;
  Args args = contiguous_args();
  args.variant = all.create(good, 64).value(), args.variant_params = 0x900000000;
  const auto result = validate_attention(&args, AddressRule::required, &all);
  BOOST_REQUIRE(result.ok());
  const kernels::ProblemKey &key = result.value().key;
  BOOST_TEST(key.variant == all.find(args.variant).value()->digest);
  BOOST_TEST(key.variant_params_bytes == 64);
  BOOST_TEST(!key.plain());
  BOOST_TEST(result.value().tensors[fwd::variant_params].data == args.variant_params);
}

BOOST_AUTO_TEST_SUITE_END()
