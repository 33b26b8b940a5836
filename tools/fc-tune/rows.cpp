// SPDX-License-Identifier: Apache-2.0
//
// The rows of ptx_cache/tuned: ranges around tuned shapes that never overlap, as text and back, merged with older ones.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "tune.hpp"

namespace flashcore::tools {
namespace {

constexpr int64_t largest = std::numeric_limits<int32_t>::max();
constexpr const char *columns =
    "dtype\thead_dim\thead_dim_v\tcausal\tbatch_heads\tseqlen_q\tseqlen_kv\tmodule\tmeasured_us\tdefault_us";
constexpr size_t column_count = 10;
constexpr Range Row::*axes[] = {&Row::batch_heads, &Row::seqlen_q, &Row::seqlen_kv};

Range around(int64_t size) {
  const double root = std::sqrt(2.0), middle = static_cast<double>(size);
  const auto first = static_cast<int64_t>(std::floor(middle / root)) + 1,
             last = static_cast<int64_t>(std::floor(middle * root));
  return {std::clamp<int64_t>(first, 1, size), std::clamp<int64_t>(last, size, largest)};
}

int64_t middle(const Range &range) {
  return std::clamp(
      static_cast<int64_t>(std::llround(std::sqrt(static_cast<double>(range.first) * static_cast<double>(range.last)))),
      range.first, range.last);
}

bool same_kind(const Row &a, const Row &b) {
  return a.dtype == b.dtype && a.causal == b.causal && a.head_dim == b.head_dim && a.head_dim_v == b.head_dim_v;
}

Row row_around(const Shape &shape) {
  Row row;
  row.dtype = dtype_word(shape.dtype);
  row.causal = shape.causal == FLASHCORE_CAUSAL_NONE ? "none" : "causal";
  row.head_dim = row.head_dim_v = shape.head_dim;
  row.batch_heads = around(shape.batch * shape.heads_q);
  row.seqlen_q = around(shape.seqlen_q), row.seqlen_kv = around(shape.seqlen_kv);
  return row;
}

// Two boxes around two shapes are cut where the shapes are furthest apart, half-way between them by ratio.
void cut(Row &a, const Shape &shape_a, Row &b, const Shape &shape_b) {
  const int64_t sizes_a[] = {shape_a.batch * shape_a.heads_q, shape_a.seqlen_q, shape_a.seqlen_kv};
  const int64_t sizes_b[] = {shape_b.batch * shape_b.heads_q, shape_b.seqlen_q, shape_b.seqlen_kv};
  size_t axis = 0;
  double furthest = 0;
  for (size_t i = 0; i < std::size(axes); ++i) {
    const double apart = std::fabs(std::log(static_cast<double>(sizes_a[i]) / static_cast<double>(sizes_b[i])));
    if (apart > furthest) axis = i, furthest = apart;
  }
  if (furthest == 0) return;  // the same sizes: one of them is dropped by the caller
  const bool a_is_smaller = sizes_a[axis] < sizes_b[axis];
  Range &lower = (a_is_smaller ? a : b).*axes[axis], &upper = (a_is_smaller ? b : a).*axes[axis];
  const int64_t small = std::min(sizes_a[axis], sizes_b[axis]), large = std::max(sizes_a[axis], sizes_b[axis]);
  const int64_t border = std::clamp(middle({small, large}), small, large - 1);  // the last of the lower one
  lower.last = std::min(lower.last, border);
  upper.first = std::max(upper.first, border + 1);
}

std::vector<std::string> split(const std::string &line, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : line) {
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  }
  return parts;
}

bool read_whole(const std::string &text, int64_t &value) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  return code == std::errc() && end == text.data() + text.size() && value >= 1 && value <= largest;
}

Step read_range(const std::string &where, const char *column, const std::string &text, Range &range) {
  const size_t dash = text.find('-');
  const bool whole = read_whole(text.substr(0, dash), range.first) &&
                     read_whole(dash == std::string::npos ? text : text.substr(dash + 1), range.last) &&
                     range.first <= range.last;
  if (whole) return Done{};
  return input_failure(
      fmt::format("{}: {} is \"{}\", but must be a whole number or a range such as 363-724", where, column, text));
}

Step read_us(const std::string &where, const char *column, const std::string &text, double &us) {
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), us);
  if (code == std::errc() && end == text.data() + text.size() && us > 0 && std::isfinite(us)) return Done{};
  return input_failure(
      fmt::format("{}: {} is \"{}\", but must be a time above 0 in microseconds", where, column, text));
}

Outcome<Row> parse_row(const std::string &line, const std::string &where) {
  const std::vector<std::string> fields = split(line, '\t');
  if (fields.size() != column_count)
    return input_failure(fmt::format("{}: {} columns, but {} are expected", where, fields.size(), column_count));
  Row row;
  row.dtype = fields[0], row.causal = fields[3], row.module = fields[7];
  if (row.dtype != "fp16" && row.dtype != "bf16")
    return input_failure(fmt::format("{}: dtype is \"{}\", but must be fp16 or bf16", where, row.dtype));
  if (row.causal != "none" && row.causal != "causal")
    return input_failure(fmt::format("{}: causal is \"{}\", but must be none or causal", where, row.causal));
  if (!read_whole(fields[1], row.head_dim) || !read_whole(fields[2], row.head_dim_v))
    return input_failure(fmt::format("{}: head_dim and head_dim_v are \"{}\" and \"{}\", but must be whole numbers",
                                     where, fields[1], fields[2]));
  TOOLS_TRY(read_range(where, "batch_heads", fields[4], row.batch_heads));
  TOOLS_TRY(read_range(where, "seqlen_q", fields[5], row.seqlen_q));
  TOOLS_TRY(read_range(where, "seqlen_kv", fields[6], row.seqlen_kv));
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (!parse_candidate(row.module))
    return input_failure(fmt::format("{}: module is \"{}\", which is no name of a module", where, row.module));
  if (flashcore_kernel_check_name(row.module.c_str(), &error) != FLASHCORE_OK)
    return input_failure(fmt::format("{}: module: {}", where, error.message));
  TOOLS_TRY(read_us(where, "measured_us", fields[8], row.measured_us));
  TOOLS_TRY(read_us(where, "default_us", fields[9], row.default_us));
  return row;
}

std::string range_text(const Range &range) {
  return range.first == range.last ? fmt::format("{}", range.first) : fmt::format("{}-{}", range.first, range.last);
}

}  // namespace

bool overlap(const Row &a, const Row &b) {
  return same_kind(a, b) && std::all_of(std::begin(axes), std::end(axes), [&](const auto axis) {
           return (a.*axis).first <= (b.*axis).last && (b.*axis).first <= (a.*axis).last;
         });
}

// Every shape has a box, also one that keeps its default: there the default is the measured choice of its neighbourhood.
std::vector<Row> rows_of(const std::vector<TunedShape> &shapes) {
  std::vector<Row> boxes;
  std::vector<const TunedShape *> owners;
  for (const TunedShape &one : shapes) {
    const Row box = row_around(one.shape);
    const bool twin = std::any_of(owners.begin(), owners.end(), [&](const TunedShape *other) {
      const Row theirs = row_around(other->shape);
      return same_kind(theirs, box) && theirs.batch_heads == box.batch_heads && theirs.seqlen_q == box.seqlen_q &&
             theirs.seqlen_kv == box.seqlen_kv;
    });
    if (twin) continue;  // another grouping of heads, or another corner of the same mask
    boxes.push_back(box);
    owners.push_back(&one);
  }
  for (size_t i = 0; i < boxes.size(); ++i)
    for (size_t j = 0; j < i; ++j)
      if (overlap(boxes[i], boxes[j])) cut(boxes[i], owners[i]->shape, boxes[j], owners[j]->shape);
  std::vector<Row> rows;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (!owners[i]->better()) continue;
    boxes[i].module = owners[i]->best_module;
    boxes[i].measured_us = owners[i]->best_us, boxes[i].default_us = owners[i]->default_us;
    rows.push_back(boxes[i]);
  }
  return rows;
}

Shape shape_of(const Row &row, const std::string &name) {
  Shape shape;
  shape.name = name;
  shape.heads_q = shape.heads_kv = middle(row.batch_heads);
  shape.seqlen_q = middle(row.seqlen_q), shape.seqlen_kv = middle(row.seqlen_kv);
  shape.head_dim = row.head_dim;
  shape.dtype = row.dtype == "fp16" ? Float16Type::float16 : Float16Type::bfloat16;
  shape.causal = row.causal == "none" ? FLASHCORE_CAUSAL_NONE : FLASHCORE_CAUSAL_TOP_LEFT;
  return shape;
}

std::string table_text(const std::vector<Row> &rows) {
  std::string text = fmt::format(
      "# Modules that fc-tune measured to be faster than what the cost model chooses; docs/MEASURING.md says how. One row for each range of "
      "problems.\n{}\n",
      columns);
  std::vector<std::string> lines;
  for (const Row &row : rows)
    lines.push_back(fmt::format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.2f}\t{:.2f}\n", row.dtype, row.head_dim,
                                row.head_dim_v, row.causal, range_text(row.batch_heads), range_text(row.seqlen_q),
                                range_text(row.seqlen_kv), row.module, row.measured_us, row.default_us));
  for (const std::string &line : lines) text += line;
  return text;
}

Outcome<std::vector<Row>> parse_table(const std::string &text, const std::string &path) {
  std::vector<Row> rows;
  std::istringstream lines(text);
  std::string line;
  bool header = false;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    const std::string where = fmt::format("{}:{}", path, number);
    if (!header && line != columns)
      return input_failure(fmt::format("{}: the first line must name the columns: {}", where, columns));
    if (header) {
      TOOLS_TRY_ASSIGN(const Row row, parse_row(line, where));
      for (const Row &other : rows)
        if (overlap(row, other))
          return input_failure(fmt::format("{}: its problems are partly those of an earlier row", where));
      rows.push_back(row);
    }
    header = true;
  }
  if (!header) return input_failure(fmt::format("{}: there is no line of column names", path));
  return rows;
}

std::vector<Row> merged(std::vector<Row> older, const std::vector<Row> &newer, const std::vector<Shape> &tuned_now) {
  const auto spoken_of = [&](const Row &row) {
    const bool of_shape = std::any_of(tuned_now.begin(), tuned_now.end(), [&](const Shape &shape) {
      Row point = row_around(shape);
      const int64_t heads = shape.batch * shape.heads_q;
      point.batch_heads = {heads, heads}, point.seqlen_q = {shape.seqlen_q, shape.seqlen_q},
      point.seqlen_kv = {shape.seqlen_kv, shape.seqlen_kv};
      return overlap(row, point);
    });
    return of_shape || std::any_of(newer.begin(), newer.end(), [&](const Row &other) { return overlap(row, other); });
  };
  older.erase(std::remove_if(older.begin(), older.end(), spoken_of), older.end());
  older.insert(older.end(), newer.begin(), newer.end());
  std::sort(older.begin(), older.end(), [](const Row &a, const Row &b) {
    return std::tie(a.dtype, a.head_dim, a.head_dim_v, a.causal, a.seqlen_q.first, a.seqlen_kv.first,
                    a.batch_heads.first) < std::tie(b.dtype, b.head_dim, b.head_dim_v, b.causal, b.seqlen_q.first,
                                                    b.seqlen_kv.first, b.batch_heads.first);
  });
  return older;
}

Outcome<std::vector<Row>> read_table(const std::string &path) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) return std::vector<Row>{};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf()))
    return input_failure(fmt::format("{} cannot be read, or holds nothing", path));
  return parse_table(content.str(), path);
}

}  // namespace flashcore::tools
