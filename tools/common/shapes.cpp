// SPDX-License-Identifier: Apache-2.0
//
// Shapes as text: one line each, from files that lie beside the tool or from the command line.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "measuring.hpp"

namespace flashcore::tools {
namespace {

constexpr int64_t int32_limit = std::numeric_limits<int32_t>::max();
constexpr const char *line_format = "[name] batch heads_q heads_kv seqlen_q seqlen_kv head_dim dtype causal";

struct NumberField {
  const char *name;
  int64_t Shape::*member;
};
constexpr NumberField number_fields[] = {{"batch", &Shape::batch},         {"heads_q", &Shape::heads_q},
                                         {"heads_kv", &Shape::heads_kv},   {"seqlen_q", &Shape::seqlen_q},
                                         {"seqlen_kv", &Shape::seqlen_kv}, {"head_dim", &Shape::head_dim}};
constexpr size_t number_count = std::size(number_fields), field_count = number_count + 2;

Words split_words(const std::string &text) {
  Words words;
  std::string word;
  for (const char c : text + " ") {
    if (c != ' ' && c != '\t' && c != ',' && c != '\r') {
      word += c;
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  return words;
}

Step read_number(const std::string &where, const char *name, const std::string &word, int64_t &value) {
  const auto [end, code] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (code == std::errc() && end == word.data() + word.size() && value >= 1 && value <= int32_limit) return Done{};
  return usage_failure(
      fmt::format("{}: {} is \"{}\", but must be a whole number from 1 to {}", where, name, word, int32_limit));
}

Step read_type_and_mask(const std::string &where, const std::string &dtype, const std::string &causal, Shape &shape) {
  const std::optional<Float16Type> type = dtype_of(dtype);
  if (!type)
    return usage_failure(fmt::format("{}: dtype is \"{}\", but must be fp16 or bf16{}", where, dtype,
                                     did_you_mean(dtype, dtype_words())));
  const std::optional<int32_t> mask = causal_of(causal);
  if (!mask)
    return usage_failure(fmt::format("{}: causal is \"{}\", but must be none, top-left or bottom-right{}", where,
                                     causal, did_you_mean(causal, causal_words())));
  shape.dtype = *type;
  shape.causal = *mask;
  return Done{};
}

// Every tensor's bytes must be countable with room to spare, so that nothing below has to ask again.
Step check_sizes(const std::string &where, const Shape &shape) {
  if (shape.heads_q % shape.heads_kv != 0)
    return usage_failure(
        fmt::format("{}: heads_kv is {}, but must divide heads_q, {}", where, shape.heads_kv, shape.heads_q));
  const double heads = static_cast<double>(shape.batch) * static_cast<double>(shape.heads_q);
  const double rows = static_cast<double>(std::max(shape.seqlen_q, shape.seqlen_kv));
  if (heads * rows * static_cast<double>(shape.head_dim) > 0x1p45)
    return usage_failure(
        fmt::format("{}: a tensor of {} would hold more than 2^45 numbers", where, problem_text(shape)));
  return Done{};
}

// Where shapes lie: beside fc-bench in a build, under share/ once installed.
std::vector<std::filesystem::path> shape_folders() {
  std::error_code code;
  const std::filesystem::path tool = std::filesystem::read_symlink("/proc/self/exe", code);
  std::vector<std::filesystem::path> folders;
  const std::filesystem::path above = tool.parent_path().parent_path();
  if (!code) folders = {tool.parent_path() / "shapes", above / "fc-bench/shapes", above / "share/flashcore/shapes"};
  folders.emplace_back(INSTALLED_SHAPES);
  return folders;
}

Outcome<std::string> file_content(const std::string &path) {
  std::error_code code;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !std::filesystem::is_regular_file(path, code) || !(content << file.rdbuf()))
    return input_failure(fmt::format("option --shapes: {} cannot be read, or holds nothing", path));
  return content.str();
}

Failure unknown_name(const std::string &name) {
  Words known;
  std::string looked;
  for (const auto &folder : shape_folders()) {
    looked += fmt::format("\n  looked in {}", folder.string());
    std::error_code code;
    for (const auto &entry : std::filesystem::directory_iterator(folder, code))
      if (entry.path().extension() == ".txt") known.push_back(entry.path().stem().string());
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  return usage_failure(fmt::format("option --shapes is \"{}\", but must be a path of a file or one of: {}{}{}", name,
                                   listed(known), did_you_mean(name, known), looked));
}

}  // namespace

bool Shape::same_problem(const Shape &other) const {
  return std::all_of(std::begin(number_fields), std::end(number_fields),
                     [&](const NumberField &field) { return this->*field.member == other.*field.member; }) &&
         dtype == other.dtype && causal == other.causal;
}

std::string problem_text(const Shape &shape) {
  const std::string heads = shape.heads_q == shape.heads_kv ? fmt::format("{}", shape.heads_q)
                                                            : fmt::format("{}:{}", shape.heads_q, shape.heads_kv);
  const std::string mask =
      shape.causal == FLASHCORE_CAUSAL_NONE ? "" : fmt::format(", causal {}", causal_word(shape.causal));
  return fmt::format("{} x {} heads, {} x {}, d {}, {}{}", shape.batch, heads, shape.seqlen_q, shape.seqlen_kv,
                     shape.head_dim, dtype_word(shape.dtype), mask);
}

Outcome<Shape> parse_shape(const std::string &text, const std::string &where) {
  Words words = split_words(text);
  Shape shape;
  if (words.size() == field_count + 1) {
    shape.name = words.front();
    words.erase(words.begin());
  }
  if (words.size() != field_count)
    return usage_failure(fmt::format("{}: \"{}\" has {} fields, but must have {} or {}: {}", where, text, words.size(),
                                     field_count, field_count + 1, line_format));
  for (size_t i = 0; i < number_count; ++i)
    TOOLS_TRY(read_number(where, number_fields[i].name, words[i], shape.*number_fields[i].member));
  TOOLS_TRY(read_type_and_mask(where, words[number_count], words[number_count + 1], shape));
  TOOLS_TRY(check_sizes(where, shape));
  return shape;
}

Outcome<std::vector<Shape>> parse_shapes(const std::string &content, const std::string &file) {
  std::vector<Shape> shapes;
  std::istringstream lines(content);
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    line = line.substr(0, line.find('#'));
    if (split_words(line).empty()) continue;
    Outcome<Shape> shape = parse_shape(line, fmt::format("{}:{}", file, number));
    if (!shape.ok()) return input_failure(shape.failure().message);
    shapes.push_back(std::move(shape).value());
  }
  if (shapes.empty()) return input_failure(fmt::format("{} holds no shape; a line is: {}", file, line_format));
  return shapes;
}

Outcome<std::vector<Shape>> read_shapes(const std::string &name_or_path) {
  const bool is_path = name_or_path.find('/') != std::string::npos || name_or_path.ends_with(".txt");
  std::string path = is_path ? name_or_path : std::string();
  std::error_code code;
  for (const auto &folder : shape_folders()) {
    const std::filesystem::path candidate = folder / (name_or_path + ".txt");
    if (path.empty() && std::filesystem::exists(candidate, code)) path = candidate.string();
  }
  if (path.empty()) return unknown_name(name_or_path);
  TOOLS_TRY_ASSIGN(const std::string content, file_content(path));
  return parse_shapes(content, path);
}

}  // namespace flashcore::tools
