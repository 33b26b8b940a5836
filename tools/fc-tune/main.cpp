// SPDX-License-Identifier: Apache-2.0
//
// fc-tune: finds the modules that are fastest for given shapes on this GPU, and writes the rows that the library obeys.
#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <exception>
#include <new>
#include <sstream>

#include "../common/output_file.hpp"
#include "tune.hpp"

namespace flashcore::tools {
namespace {

std::string help_text() {
  std::ostringstream text;
  text << help_paragraphs(
      "fc-tune searches the modules that the kernels allow for the fastest of each shape: evolution by mutation and crossover; what spills or does not "
      "fit is dropped from the cubin alone, what is timed is checked against float64 first. It writes rows of ptx_cache/tuned, which the library obeys. "
      "docs/MEASURING.md says how.");
  for (const auto &group : shown_option_groups()) text << "\n" << group;
  text
      << "\nExamples\n"
         "  fc-tune --shapes short --budget 10m\n"
         "  fc-tune --verify\n"
         "  fc-tune --arch sm_89 --budget 1m\n"
         "\n"
      << help_paragraphs(
             "Exit codes: 0 ok; 1 a shape could not be tuned, or a verified row is slower; 2 usage; 3 no GPU or driver; 4 bad input file; 130 stopped by "
             "Ctrl-C, with what was found until then.");
  return text.str();
}

Outcome<int> run(const Words &words, Console &console) {
  TOOLS_TRY_ASSIGN(const Options options, parse_words(words, all_options()));
  TOOLS_TRY_ASSIGN(console, make_console(tool_name, options));
  if (options.flag("help")) {
    console.print(help_text());
    return static_cast<int>(exit_ok);
  }
  if (options.flag("version")) {
    TOOLS_TRY_ASSIGN(const flashcore_context_options context, make_context_options(options));
    TOOLS_TRY_ASSIGN(const std::string text, describe_version(console, tool_name, context));
    console.print(text);
    return static_cast<int>(exit_ok);
  }
  TOOLS_TRY_ASSIGN(const Request request, make_request(options));
  for (const std::string &note : request.notes) console.note(note);
  if (request.action == Action::compile_worker)
    return run_compile_worker(request.context, request.arch, request.worker_module);
  TOOLS_TRY_ASSIGN(JsonOutput json, JsonOutput::plan(options));
  handle_interrupts(OnInterrupt::finish_step);
  switch (request.action) {
    case Action::search_statically:
      return run_static_search(request, console, json);
    case Action::verify:
      return run_verify(request, console, json);
    default:
      return run_search(request, console, json);
  }
}

}  // namespace
}  // namespace flashcore::tools

int main(int argc, char **argv) {
  using namespace flashcore::tools;
  Console console(tool_name, ColorMode::automatic, false);
  try {
    handle_interrupts(OnInterrupt::end_now);
    const Outcome<int> outcome = run(Words(argv + 1, argv + argc), console);
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
