// SPDX-License-Identifier: Apache-2.0
//
// What the tools share and what is easier to hold here than through a command line: words, tables, sums, files, memory.
#define BOOST_TEST_MODULE test_common
#include <sys/stat.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <sstream>

#include "common/arch.hpp"
#include "common/console.hpp"
#include "common/memory.hpp"
#include "common/output_file.hpp"
#include "common/visible_scores.hpp"
#include "common/words.hpp"
#include "flashcore/flashcore.h"

using namespace flashcore::tools;
namespace filesystem = std::filesystem;

namespace {

class Folder {
 public:
  Folder() : path_((filesystem::temp_directory_path() / "flashcore-common-XXXXXX").string()) {
    BOOST_REQUIRE(mkdtemp(path_.data()) != nullptr);
  }
  ~Folder() { filesystem::remove_all(path_); }
  std::string file(const std::string &name) const { return path_ + "/" + name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(filesystem::directory_iterator(path_), filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

// The name under which a file is written first, in the order in which they are tried.
std::string part_name(const std::string &path, int try_number) {
  return path + "." + std::to_string(getpid()) + (try_number == 0 ? "" : "-" + std::to_string(try_number)) + ".part";
}

std::string content(const std::string &path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Lines of a text while COLUMNS says how wide the terminal is; nullptr: nothing does.
template <typename Render>
Words lines_at(const char *columns, const Render &render) {
  if (columns == nullptr)
    unsetenv("COLUMNS");
  else
    setenv("COLUMNS", columns, 1);
  std::istringstream text(render());
  unsetenv("COLUMNS");
  Words lines;
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  return lines;
}

size_t widest(const Words &lines) {
  size_t width = 0;
  for (const std::string &line : lines) width = std::max(width, display_width(line));
  return width;
}

double counted(int64_t queries, int64_t keys, const Band &band) {
  double sum = 0;
  for (int64_t i = 0; i < queries; ++i)
    for (int64_t j = 0; j < keys; ++j)
      sum += (band.first == INT64_MIN || j >= i + band.first) && (band.last == INT64_MAX || j <= i + band.last) ? 1 : 0;
  return sum;
}

}  // namespace

BOOST_AUTO_TEST_CASE(nearest_words) {
  const Words causal = causal_words();
  BOOST_TEST(nearest_word("top-lift", causal) == "top-left");
  BOOST_TEST(nearest_word("TOP-LEFT", causal) == "top-left");
  BOOST_TEST(nearest_word("nnoe", causal) == "none");  // two neighbours swapped
  for (const char *far : {"", "?", "x", "xyzw", "diagonal"}) BOOST_TEST(nearest_word(far, causal) == "");
  BOOST_TEST(nearest_word(std::string(100000, 'x'), causal) == "");
  BOOST_TEST(did_you_mean("chekc", {"check", "explain"}, "--") == "; did you mean --check?");
}

BOOST_AUTO_TEST_CASE(one_word_for_each_type_and_mask) {
  for (const char *word : {"fp16", "float16", "f16", "half", "FP16", "Float16"})
    BOOST_TEST(dtype_word(dtype_of(word).value()) == "fp16");
  for (const char *word : {"bf16", "bfloat16", "BF16"}) BOOST_TEST(dtype_word(dtype_of(word).value()) == "bf16");
  for (const char *word : {"", "fp", "fp32", "float", "b16", "fp16 "}) BOOST_TEST(!dtype_of(word).has_value());
  for (const char *word : {"top-left", "top_left", "TOP_LEFT"})
    BOOST_TEST(causal_word(causal_of(word).value()) == "top-left");
  for (const char *word : {"bottom-right", "bottom_right"})
    BOOST_TEST(causal_word(causal_of(word).value()) == "bottom-right");
  BOOST_TEST(causal_word(causal_of("none").value()) == "none");
  for (const char *word : {"", "true", "top", "topleft"}) BOOST_TEST(!causal_of(word).has_value());
}

BOOST_AUTO_TEST_CASE(nothing_steers_the_terminal) {
  BOOST_TEST(printable("plain, \u00e4\u4e16\U0001f600") == "plain, \u00e4\u4e16\U0001f600");
  BOOST_TEST(printable("\x1b[2K\r\n\t\x07") == "\\x1b[2K\\x0d\\x0a\\x09\\x07");
  BOOST_TEST(printable("a\nb\x1b", true) == "a\nb\\x1b");
  BOOST_TEST(printable("\u009b31m") == "\\xc2\\x9b31m");  // the one-byte form of ESC [
  BOOST_TEST(printable("\u202e") == "\\xe2\\x80\\xae");   // turns the direction of what follows
  BOOST_TEST(printable("\xc3") == "\\xc3");               // cut off
  BOOST_TEST(printable("\xff\xc0\xaf\xed\xa0\x80") == "\\xff\\xc0\\xaf\\xed\\xa0\\x80");
  BOOST_TEST(cut_text("a\u00e4\u00e4", 4) == "a\u00e4");
  BOOST_TEST(cut_text("a\u00e4\u00e4", 5) == "a\u00e4\u00e4");
  BOOST_TEST(cut_text("\u4e16", 2) == "");
}

BOOST_AUTO_TEST_CASE(tables_follow_the_terminal) {
  Table table({{"module", Align::left}, {"regs"}, {"static\nshared"}, {"dynamic\nshared"}, {"from", Align::left}});
  const std::string name(30, 'm'), control = "a\x1b[2Jb";
  table.add_row({{name}, {"128"}, {"1,024"}, {"49,152"}, {"shipped"}});
  table.add_row({{control}, {"7"}, {"0"}, {"0"}, {"user cache"}});
  const auto render = [&] { return table.render(Console()); };
  const Words whole = lines_at(nullptr, render), wide = lines_at("200", render), narrow = lines_at("50", render);
  BOOST_TEST(whole.size() == 4u);  // two of the header
  BOOST_TEST(wide == whole, boost::test_tools::per_element());
  BOOST_TEST(narrow.size() == 8u);  // below: what had no room
  BOOST_TEST(widest(narrow) <= 50u);
  BOOST_TEST(widest(whole) > 50u);
  const std::string all = render();
  BOOST_TEST(all.find('\x1b') == std::string::npos);
  for (const char *cell : {"128", "1,024", "49,152", "shipped", "user cache"})
    BOOST_TEST(std::count_if(narrow.begin(), narrow.end(),
                             [&](const std::string &line) { return line.find(cell) != std::string::npos; }) == 1);
  for (const char *odd : {"0", "-5", "wide", "1e3", ""})
    BOOST_TEST(lines_at(odd, render) == whole, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(fields_follow_the_terminal) {
  FieldList fields;
  fields.add(
      "because",
      "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen");
  const auto render = [&] { return fields.render(Console()); };
  BOOST_TEST(widest(lines_at("60", render)) <= 60u);
  BOOST_TEST(lines_at("60", render).size() == 3u);
  BOOST_TEST(lines_at("300", render).size() == 1u);
  BOOST_TEST(widest(lines_at(nullptr, render)) <= page_columns);
}

BOOST_AUTO_TEST_CASE(visible_scores_are_counted) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 2000; ++round) {
    const int64_t queries = static_cast<int64_t>(random() % 12), keys = static_cast<int64_t>(random() % 12);
    const auto offset = [&] { return static_cast<int64_t>(random() % 31) - 15; };
    Band band;
    if (random() % 3 != 0) band.first = offset();
    if (random() % 3 != 0) band.last = offset();
    BOOST_TEST(visible_scores(queries, keys, band) == counted(queries, keys, band),
               queries << " x " << keys << ", " << band.first << " to " << band.last);
  }
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  BOOST_TEST(visible_scores(most, most, causal_band(FLASHCORE_CAUSAL_TOP_LEFT, most, most)) ==
             static_cast<double>(most) * (most + 1.0) / 2);
  BOOST_TEST(visible_scores(most, INT64_MAX, {}) == static_cast<double>(most) * 0x1p63);
  BOOST_TEST(visible_scores(most, most, {INT64_MAX, INT64_MAX}) == 0);
  BOOST_TEST(visible_scores(most, most, {INT64_MIN, INT64_MIN}) == 0);
}

BOOST_AUTO_TEST_CASE(planted_links_and_files_are_left_alone) {
  const Folder folder;
  const std::string text = "content", victim = folder.file("victim"), path = folder.file("o.npy");
  std::ofstream(victim) << "precious";
  filesystem::create_symlink(victim, part_name(path, 0));
  std::ofstream(part_name(path, 1)) << "somebody's";
  {
    Outcome<OutputFile> file = OutputFile::plan("output", path);
    BOOST_REQUIRE(file.ok());
    BOOST_REQUIRE(file.value().write({reinterpret_cast<const uint8_t *>(text.data()), text.size()}).ok());
    BOOST_REQUIRE(file.value().commit().ok());
  }
  BOOST_TEST(content(path) == text);
  BOOST_TEST(content(victim) == "precious");
  BOOST_TEST(filesystem::is_symlink(part_name(path, 0)));
  BOOST_TEST(content(part_name(path, 1)) == "somebody's");
  BOOST_TEST(folder.entries() == 4u);
  { const Outcome<OutputFile> unused = OutputFile::plan("output", path); }
  BOOST_TEST(folder.entries() == 4u);  // what was only planned takes nothing away
}

BOOST_AUTO_TEST_CASE(memory_is_asked_for_before_it_is_taken) {
  const std::optional<int64_t> available = available_memory_bytes();
  BOOST_REQUIRE(available.has_value());
  BOOST_TEST(*available > 0);
  BOOST_TEST(check_memory({{"a little", 1024}}).ok());
  const Step refused = check_memory({{"queries", 1e15}, {"nothing", 0}, {"keys", 1e30}});
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.failure().exit_code == exit_usage);
  for (const char *part : {"queries 909.5 TiB", "keys ", " are available"})
    BOOST_TEST(refused.failure().message.find(part) != std::string::npos, refused.failure().message);
  BOOST_TEST(refused.failure().message.find("nothing") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(architectures) {
  BOOST_TEST(arch_number("sm_100f") == 100);
  BOOST_TEST(arch_number("sm_9") == 0);
  BOOST_TEST(module_arch(90) == "sm_90a");
  BOOST_TEST(module_arch(89) == "sm_89");
  BOOST_TEST(shared_limit_bytes("sm_103f") == 227 << 10);
  BOOST_TEST(shared_limit_bytes("sm_999") == 0);
  for (const std::string &name : arch_words()) BOOST_TEST(check_arch("option --arch", name).ok());
  for (const char *name : {"sm_91", "90", "compute_90", "sm_100x"}) {
    const Step refused = check_arch("option --arch", name);
    BOOST_REQUIRE(!refused.ok());
    BOOST_TEST(refused.failure().message.find("sm_100f") != std::string::npos);
  }
}
