// SPDX-License-Identifier: Apache-2.0
//
// The manners of every tool on a terminal: results on stdout, remarks and progress on stderr, colours where they are
// wanted, tables whose columns line up. What the text says is the tools' own business; options are in command_line.hpp.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "outcome.hpp"

namespace flashcore::tools {

enum class ColorMode { automatic, always, never };
enum class Mark { plain, heading, good, warning, bad, faint };

// Are colours wanted on `stream`? automatic: on a terminal, without NO_COLOR and with a TERM that knows them.
bool wants_color(ColorMode mode, std::FILE *stream);

class Console {
 public:
  Console() = default;
  Console(std::string tool, ColorMode color, bool quiet);

  bool quiet() const { return quiet_; }
  // Text as it should stand on stdout.
  std::string paint(Mark mark, std::string_view text) const;
  void print(std::string_view text) const;      // stdout
  void note(std::string_view text) const;       // stderr, "fc-run: note: ...", not when quiet
  void complain(const Failure &failure) const;  // stderr, "fc-run: error: ...", always
  // The exit code of a tool that ends now: `code`, or a complaint where stdout could not be written.
  int finish(int code) const;

 private:
  std::string tool_ = "flashcore";
  bool color_out_ = false, color_err_ = false, quiet_ = false;
};

// --- Tables --------------------------------------------------------------------------------------------------------

enum class Align { left, right };
struct Column {
  std::string header;  // may hold line breaks
  Align align = Align::right;
};
struct Cell {
  std::string text;
  Mark mark = Mark::plain;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add_row(std::vector<Cell> cells);
  // Two blanks between columns, none at the end of a line, `indent` before each. Columns that a terminal has no room for
  // stand below the others, in every row.
  std::string render(const Console &console, size_t indent = 0) const;
  std::string render_header(const Console &console, size_t indent = 0) const;
  std::vector<std::string> render_rows(const Console &console, size_t indent = 0) const;

 private:
  struct Layout {
    std::vector<size_t> widths;
    std::vector<size_t> line_ends;  // columns of each line end before these
    size_t indent;
  };
  Layout layout(size_t indent) const;
  static std::string render_line(const Console &console, const Layout &layout, const std::vector<Cell> &cells);
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// "name   text" lines, the text wrapped to the page and aligned under itself.
class FieldList {
 public:
  void add(std::string name, std::string text, Mark mark = Mark::plain);
  std::string render(const Console &console, size_t indent = 2) const;

 private:
  struct Field {
    std::string name, text;
    Mark mark;
  };
  std::vector<Field> fields_;
};

inline constexpr size_t page_columns = 110;  // where there is no terminal
// Columns of the terminal that stdout is, or what COLUMNS says; nullopt: neither.
std::optional<size_t> terminal_columns();
// `text` in lines of at most so many columns, cut between words; a longer word has a line of its own.
std::vector<std::string> wrap_words(std::string_view text, size_t columns);
size_t display_width(std::string_view text);          // code points
std::string group_digits(int64_t value);              // 1234567 -> "1,234,567"
std::string format_bytes(int64_t bytes);              // "612.4 KiB"
std::string format_duration_us(double microseconds);  // "12.3 us", "4.56 ms", "1.23 s"

// --- Progress ------------------------------------------------------------------------------------------------------

// A line on stderr once the work has taken two seconds: rewritten twice a second on a terminal and cleared at the end;
// a line of its own every ten seconds elsewhere, so that a build log shows life.
class Progress {
 public:
  Progress(const Console &console, std::string what);
  ~Progress();
  Progress(const Progress &) = delete;
  Progress &operator=(const Progress &) = delete;
  void update(int64_t done, int64_t total, std::string detail = {});

 private:
  void show_until_stopped();
  std::string line(double seconds) const;

  std::string what_, detail_;
  int64_t done_ = 0, total_ = 0;
  bool terminal_ = false, stop_ = false;
  std::mutex mutex_;
  std::condition_variable stopped_;
  std::thread shower_;
};

}  // namespace flashcore::tools
