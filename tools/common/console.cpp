// SPDX-License-Identifier: Apache-2.0
//
// Console, tables and progress on plain stdio: what Debian has for tables and bars is not worth a dependency.
#include "console.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "words.hpp"

namespace flashcore::tools {
namespace {

constexpr size_t continued_indent = 4;  // of what stands below the first line of a row

const char *escape_of(Mark mark) {
  switch (mark) {
    case Mark::plain:
      return "";
    case Mark::heading:
      return "\x1b[1m";
    case Mark::good:
      return "\x1b[32m";
    case Mark::warning:
      return "\x1b[33m";
    case Mark::bad:
      return "\x1b[31m";
    case Mark::faint:
      return "\x1b[2m";
  }
  return "";
}

std::string painted(bool color, Mark mark, std::string_view text) {
  if (!color || mark == Mark::plain || text.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(mark), text);
}

std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string_view::npos; end = text.find('\n', begin)) {
    lines.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  lines.emplace_back(text.substr(begin));
  return lines;
}

std::string padded(std::string_view text, size_t width, Align align) {
  size_t used = display_width(text);
  std::string blanks(width > used ? width - used : 0, ' ');
  return align == Align::left ? std::string(text) + blanks : blanks + std::string(text);
}

// One line of cells, already padded; blanks at the end are cut before the colour is put on.
std::string join_cells(const Console &console, const std::vector<Cell> &cells, size_t indent) {
  std::string line(indent, ' ');
  size_t used = cells.size();
  while (used > 0 && cells[used - 1].text.find_first_not_of(' ') == std::string::npos) --used;
  for (size_t i = 0; i < used; ++i) {
    std::string text = cells[i].text;
    if (i + 1 == used) text.erase(text.find_last_not_of(' ') + 1);
    line += console.paint(cells[i].mark, text);
    if (i + 1 < used) line += "  ";
  }
  return line + "\n";
}

}  // namespace

bool wants_color(ColorMode mode, std::FILE *stream) {
  if (mode != ColorMode::automatic) return mode == ColorMode::always;
  const char *no_color = std::getenv("NO_COLOR");
  const char *terminal = std::getenv("TERM");
  if (no_color != nullptr && *no_color != '\0') return false;
  if (terminal == nullptr || std::strcmp(terminal, "dumb") == 0) return false;
  return isatty(fileno(stream)) == 1;
}

Console::Console(std::string tool, ColorMode color, bool quiet)
    : tool_(std::move(tool)),
      color_out_(wants_color(color, stdout)),
      color_err_(wants_color(color, stderr)),
      quiet_(quiet) {}

std::string Console::paint(Mark mark, std::string_view text) const { return painted(color_out_, mark, text); }

void Console::print(std::string_view text) const { std::fwrite(text.data(), 1, text.size(), stdout); }

void Console::note(std::string_view text) const {
  if (quiet_) return;
  std::string line = fmt::format("{}: {} {}\n", tool_, painted(color_err_, Mark::warning, "note:"),
                                 printable(std::string(text), true));
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void Console::complain(const Failure &failure) const {
  std::string line =
      fmt::format("{}: {} {}\n", tool_, painted(color_err_, Mark::bad, "error:"), printable(failure.message, true));
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int Console::finish(int code) const {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  complain({exit_failed_check, fmt::format("standard output could not be written: {}", std::strerror(errno))});
  return code == exit_ok ? static_cast<int>(exit_failed_check) : code;
}

// --- Tables --------------------------------------------------------------------------------------------------------

void Table::add_row(std::vector<Cell> cells) {
  cells.resize(columns_.size());
  for (Cell &cell : cells) cell.text = printable(cell.text);
  rows_.push_back(std::move(cells));
}

Table::Layout Table::layout(size_t indent) const {
  Layout layout{std::vector<size_t>(columns_.size(), 0), {}, indent};
  for (size_t i = 0; i < columns_.size(); ++i) {
    for (const std::string &line : split_lines(columns_[i].header))
      layout.widths[i] = std::max(layout.widths[i], display_width(line));
    for (const auto &row : rows_) layout.widths[i] = std::max(layout.widths[i], display_width(row[i].text));
  }
  const size_t columns = terminal_columns().value_or(SIZE_MAX);
  size_t used = indent;
  for (size_t i = 0; i < columns_.size(); ++i) {
    const bool first = i == 0 || (!layout.line_ends.empty() && layout.line_ends.back() == i);
    used += (first ? 0 : 2) + layout.widths[i];
    if (used <= columns || first) continue;
    layout.line_ends.push_back(i);
    used = indent + continued_indent + layout.widths[i];
  }
  layout.line_ends.push_back(columns_.size());
  return layout;
}

std::string Table::render_line(const Console &console, const Layout &layout, const std::vector<Cell> &cells) {
  std::string text;
  size_t begin = 0;
  for (const size_t end : layout.line_ends) {
    const size_t indent = layout.indent + (begin == 0 ? 0 : continued_indent);
    text += join_cells(
        console, {cells.begin() + static_cast<std::ptrdiff_t>(begin), cells.begin() + static_cast<std::ptrdiff_t>(end)},
        indent);
    begin = end;
  }
  return text;
}

std::string Table::render_header(const Console &console, size_t indent) const {
  const Layout layout = this->layout(indent);
  std::string text;
  size_t begin = 0;
  for (const size_t end : layout.line_ends) {
    size_t lines = 1;
    for (size_t i = begin; i < end; ++i) lines = std::max(lines, split_lines(columns_[i].header).size());
    for (size_t line = 0; line < lines; ++line) {
      std::vector<Cell> cells;
      for (size_t i = begin; i < end; ++i) {
        const std::vector<std::string> own = split_lines(columns_[i].header);
        const size_t above = lines - own.size();  // headers stand on the bottom line
        cells.push_back(
            {padded(line < above ? "" : own[line - above], layout.widths[i], columns_[i].align), Mark::heading});
      }
      text += join_cells(console, cells, indent + (begin == 0 ? 0 : continued_indent));
    }
    begin = end;
  }
  return text;
}

std::vector<std::string> Table::render_rows(const Console &console, size_t indent) const {
  const Layout layout = this->layout(indent);
  std::vector<std::string> lines;
  for (const auto &row : rows_) {
    std::vector<Cell> cells;
    for (size_t i = 0; i < columns_.size(); ++i)
      cells.push_back({padded(row[i].text, layout.widths[i], columns_[i].align), row[i].mark});
    lines.push_back(render_line(console, layout, cells));
  }
  return lines;
}

std::string Table::render(const Console &console, size_t indent) const {
  std::string text = render_header(console, indent);
  for (const std::string &row : render_rows(console, indent)) text += row;
  return text;
}

void FieldList::add(std::string name, std::string text, Mark mark) {
  text.erase(text.find_last_not_of('\n') + 1);
  fields_.push_back({printable(name), printable(text, true), mark});
}

std::string FieldList::render(const Console &console, size_t indent) const {
  size_t width = 0;
  for (const Field &field : fields_) width = std::max(width, display_width(field.name));
  const size_t left = indent + width + 2, columns = terminal_columns().value_or(page_columns);
  std::string text;
  for (const Field &field : fields_) {
    std::vector<std::string> lines = wrap_words(field.text, columns > left + 20 ? columns - left : 20);
    for (size_t i = 0; i < lines.size(); ++i) {
      std::string name =
          i == 0 ? console.paint(Mark::faint, padded(field.name, width, Align::left)) : std::string(width, ' ');
      text += fmt::format("{:{}}{}  {}\n", "", indent, name, console.paint(field.mark, lines[i]));
    }
  }
  return text;
}

std::vector<std::string> wrap_words(std::string_view text, size_t columns) {
  std::vector<std::string> lines;
  for (const std::string &paragraph : split_lines(text)) {
    std::string line;
    size_t begin = paragraph.find_first_not_of(' ');
    while (begin != std::string::npos) {
      size_t end = std::min(paragraph.find(' ', begin), paragraph.size());
      std::string word = paragraph.substr(begin, end - begin);
      if (!line.empty() && display_width(line) + 1 + display_width(word) > columns) {
        lines.push_back(std::move(line));
        line.clear();
      }
      line += (line.empty() ? "" : " ") + word;
      begin = paragraph.find_first_not_of(' ', end);
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

std::optional<size_t> terminal_columns() {
  constexpr size_t least = 40, most = 1000;
  if (const char *given = std::getenv("COLUMNS"); given != nullptr) {
    size_t columns = 0;
    const auto [end, code] = std::from_chars(given, given + std::strlen(given), columns);
    if (code == std::errc() && *end == '\0' && columns > 0) return std::clamp(columns, least, most);
  }
  winsize size{};
  if (isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return std::clamp<size_t>(size.ws_col, least, most);
  return std::nullopt;
}

size_t display_width(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string group_digits(int64_t value) {
  const std::string digits = std::to_string(value);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t behind = digits.size() - i;
    if (i > 0 && behind % 3 == 0 && digits[i - 1] != '-') text += ',';
    text += digits[i];
  }
  return text;
}

std::string format_bytes(int64_t bytes) {
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  double value = static_cast<double>(bytes) / 1024;
  for (const char *unit : {"KiB", "MiB", "GiB"}) {
    if (value < 1024) return fmt::format("{:.1f} {}", value, unit);
    value /= 1024;
  }
  return fmt::format("{:.1f} TiB", value);
}

std::string format_duration_us(double microseconds) {
  double value = microseconds;
  const char *unit = "us";
  if (microseconds >= 1e6) {
    value = microseconds / 1e6;
    unit = "s";
  } else if (microseconds >= 1e3) {
    value = microseconds / 1e3;
    unit = "ms";
  }
  return fmt::format("{:.{}f} {}", value, value < 10 ? 2 : value < 100 ? 1 : 0, unit);
}

// --- Progress ------------------------------------------------------------------------------------------------------

Progress::Progress(const Console &console, std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1) {
  if (!console.quiet()) shower_ = std::thread([this] { show_until_stopped(); });
}

Progress::~Progress() {
  if (!shower_.joinable()) return;
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  shower_.join();
}

void Progress::update(int64_t done, int64_t total, std::string detail) {
  std::lock_guard lock(mutex_);
  done_ = done;
  total_ = total;
  detail_ = std::move(detail);
}

std::string Progress::line(double seconds) const {
  std::string text = fmt::format("{}: {:.0f} s", what_, seconds);
  if (total_ > 0) text += fmt::format(", {} of {}", done_, total_);
  if (total_ > 0 && done_ > 0 && done_ < total_)
    text += fmt::format(", about {:.0f} s left",
                        seconds * static_cast<double>(total_ - done_) / static_cast<double>(done_));
  if (!detail_.empty()) text += fmt::format(" ({})", detail_);
  winsize size{};
  const bool known = terminal_ && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
  return cut_text(printable(text), known ? size.ws_col - 1u : page_columns);  // a full line would break
}

void Progress::show_until_stopped() {
  using namespace std::chrono_literals;
  auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  bool shown = false;
  for (auto pause = std::chrono::milliseconds(2000); !stopped_.wait_for(lock, pause, [this] { return stop_; });
       pause = terminal_ ? 500ms : 10000ms) {
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::string text = terminal_ ? fmt::format("\r\x1b[K{}", line(seconds)) : fmt::format("{}\n", line(seconds));
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
    shown = true;
  }
  if (shown && terminal_) std::fputs("\r\x1b[K", stderr);
}

}  // namespace flashcore::tools
