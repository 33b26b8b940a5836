// SPDX-License-Identifier: Apache-2.0
//
// fc-bench: the one benchmark harness. This file puts the steps of bench.hpp in order, writes the results, also of a
// run that was interrupted, and turns them into an exit code.
#include <flashcore/flashcore.h>
#include <time.h>
#include <boost/program_options.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <fstream>
#include <new>
#include <sstream>

#include "../common/output_file.hpp"
#include "bench.hpp"

namespace flashcore::tools {

namespace {

std::string help_text() {
  std::ostringstream text;
  text << help_paragraphs(
      "fc-bench measures flashcore attention: GPU time of one call, what it costs the host, how long a start takes. Every result is checked against "
      "float64 in the same run. docs/MEASURING.md says what the numbers mean.");
  for (const auto &group : shown_option_groups()) text << "\n" << group;
  text
      << "\nExamples\n"
         "  fc-bench --kernel all --json=now.json\n"
         "  fc-bench --shapes sweep --compare before.json\n"
         "  fc-bench --startup\n"
         "\n"
      << help_paragraphs(
             "Exit codes: 0 ok; 1 a check or a row failed, or a row is slower than in the file compared with; 2 usage; 3 no GPU or driver; 4 bad input "
             "file; 130 stopped by Ctrl-C, with what was done until then.");
  return text.str();
}

std::string utc_now() {
  char text[32];
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string host_cpu() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name") && line.find(": ") != std::string::npos) return line.substr(line.find(": ") + 2);
  return "unknown processor";
}

std::string shapes_text(const Request &request, const Console &console) {
  FieldList fields;
  for (const Shape &shape : request.shapes) fields.add(shape.name, problem_text(shape));
  return fields.render(console);
}

Step run_action(const Request &request, const Console &console, Results &results) {
  switch (request.action) {
    case Action::measure:
      return measure(request, console, results);
    case Action::startup:
      return measure_startup(request, console, results);
    case Action::host_cost:
      return measure_host_cost(request, console, results);
    case Action::compare_files:
      break;
  }
  TOOLS_TRY_ASSIGN(results, read_results(request.load));
  return Done{};
}

bool has_failed(const Results &results) {
  const bool any_row = std::any_of(results.rows.begin(), results.rows.end(), [](const Row &row) {
    return row.status == RowStatus::failed || (row.status == RowStatus::ok && !row.check.passed());
  });
  const bool any_start = std::any_of(results.startup.begin(), results.startup.end(),
                                     [](const StartupResult &result) { return !result.problem.empty(); });
  const bool any_cost = std::any_of(results.host_cost.begin(), results.host_cost.end(),
                                    [](const HostCostRow &row) { return row.status == RowStatus::failed; });
  return any_row || any_start || any_cost;
}

// Where everything was refused nothing was measured, which is no success.
bool measured_nothing(const Results &results) {
  return results.startup.empty() &&
         std::none_of(results.rows.begin(), results.rows.end(),
                      [](const Row &row) { return row.status == RowStatus::ok; }) &&
         std::none_of(results.host_cost.begin(), results.host_cost.end(),
                      [](const HostCostRow &row) { return row.status == RowStatus::ok; });
}

Step write_json(const Results &results, OutputFile file) {
  const std::string json = results_json(results);
  const HeldInterrupts held;
  TOOLS_TRY(file.write({reinterpret_cast<const uint8_t *>(json.data()), json.size()}));
  return file.commit();
}

Outcome<int> run_request(const Request &request, const Console &console) {
  std::optional<OutputFile> file;
  if (!request.json.empty() && !request.json_on_stdout() && request.action != Action::compare_files) {
    TOOLS_TRY_ASSIGN(OutputFile planned, OutputFile::plan("json", request.json));
    file.emplace(std::move(planned));
  }
  std::optional<Results> older;
  if (!request.compare.empty()) {
    TOOLS_TRY_ASSIGN(older, read_results(request.compare));
  }
  Results results;
  results.action = request.action;
  results.date_utc = utc_now();
  results.host_cpu = host_cpu();
  results.library_version = flashcore_version();
  results.seed = request.seed;
  handle_interrupts(OnInterrupt::finish_step);
  TOOLS_TRY(run_action(request, console, results));

  const bool from_file = request.action == Action::compare_files;
  if (request.json_on_stdout())
    console.print(results_json(results));
  else if (!from_file)
    console.print(results_text(results, console));
  bool slower = false;
  if (older) {
    const Comparison comparison = compare_results(*older, results, request.threshold, console);
    if (!request.json_on_stdout()) console.print((from_file ? "" : "\n") + comparison.text);
    slower = comparison.slower > 0;
  }
  const bool failed = !from_file && (has_failed(results) || measured_nothing(results));
  const int code = results.interrupted ? exit_interrupted : failed || slower ? exit_failed_check : exit_ok;
  if (!file) return code;
  const int finished = console.finish(code);  // before the file: after an interrupt its writing ends the process
  TOOLS_TRY(write_json(results, std::move(*file)));
  return finished;
}

Outcome<int> run(const Words &words, double main_us, Console &console) {
  TOOLS_TRY_ASSIGN(const Options options, parse_words(words, all_options()));
  TOOLS_TRY_ASSIGN(console, make_console(tool_name, options));
  if (options.flag("help")) {
    console.print(help_text());
    return static_cast<int>(exit_ok);
  }
  if (options.flag("version")) {
    TOOLS_TRY_ASSIGN(const flashcore_context_options context, make_context_options(options));
    TOOLS_TRY_ASSIGN(const std::string text, describe_version(console, tool_name, context));
    console.print(text + fmt::format("  {:13}  {}\n", "commit", build_commit));
    return static_cast<int>(exit_ok);
  }
  TOOLS_TRY_ASSIGN(const Request request, make_request(options));
  for (const std::string &note : request.notes) console.note(note);
  if (options.flag("list")) {
    TOOLS_TRY_ASSIGN(JsonOutput json, JsonOutput::plan(options));
    if (json.wanted()) TOOLS_TRY(json.write(console, shapes_json(request.shapes)));
    if (!json.on_stdout()) console.print(shapes_text(request, console));
    return static_cast<int>(exit_ok);
  }
  if (request.startup_child) return run_startup_child(request, main_us, console);
  return run_request(request, console);
}

}  // namespace
}  // namespace flashcore::tools

int main(int argc, char **argv) {
  using namespace flashcore::tools;
  const double main_us = clock_us();
  Console console(tool_name, ColorMode::automatic, false);
  try {
    handle_interrupts(OnInterrupt::end_now);
    const Outcome<int> outcome = run(Words(argv + 1, argv + argc), main_us, console);
    if (outcome.ok()) return console.finish(outcome.value());
    console.complain(outcome.failure());
    return outcome.failure().exit_code;
  } catch (const std::bad_alloc &) {
    console.complain({exit_failed_check, "this machine has not enough memory for this"});
    return exit_failed_check;
  } catch (const std::exception &error) {
    console.complain({exit_failed_check, error.what()});
    return exit_failed_check;
  }
}
