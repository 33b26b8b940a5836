// SPDX-License-Identifier: Apache-2.0
//
// fc-run: attention on .npy files or random numbers. This file puts the steps of run.hpp in order and writes the
// results, which appear only when everything has succeeded.
#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <exception>
#include <new>
#include <sstream>

#include "run.hpp"

namespace flashcore::tools {
namespace {

constexpr const char *tool_name = "fc-run";

std::string help_text() {
  std::ostringstream text;
  text << help_paragraphs(
      "fc-run computes attention, O = softmax(scale * Q.K^T + mask) . V, on .npy files or random numbers. Without a GPU the CPU computes; the report "
      "says which it was and why.");
  for (const auto &group : run_option_groups()) text << "\n" << group;
  text
      << "\nExamples\n"
         "  fc-run --random 1 --heads 8 --seqlen 512 --head-dim 64 --check --repeat 20\n"
         "  fc-run --query q.npy --key k.npy --value v.npy --causal bottom-right --output o.npy --lse lse.npy\n"
         "\n"
      << help_paragraphs(
             "Exit codes: 0 ok, 1 the check or the work failed, 2 usage, 3 no GPU or driver, 4 bad input file, 130 stopped by Ctrl-C.");
  return text.str();
}

Outcome<std::vector<OutputFile>> plan_outputs(const RunRequest &request) {
  std::vector<OutputFile> files;
  files.reserve(2);
  if (!request.output.empty()) {
    TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("output", request.output));
    files.push_back(std::move(file));
  }
  if (!request.lse.empty()) {
    TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("lse", request.lse));
    files.push_back(std::move(file));
  }
  return files;
}

// Both files are complete before the first one gets its name.
Step write_outputs(const RunRequest &request, const Inputs &inputs, const Execution &execution,
                   std::vector<OutputFile> files) {
  const Sizes &sizes = inputs.sizes;
  std::vector<NpyArray> arrays;
  if (!request.output.empty())
    arrays.push_back(make_npy(request.dtype == Float16Type::float16 ? NpyType::float16 : NpyType::uint16,
                              array_shape(request.layout, sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v),
                              execution.output.data()));
  if (!request.lse.empty())
    arrays.push_back(make_npy(NpyType::float32, {sizes.batch, sizes.heads_q, sizes.seqlen_q}, execution.lse.data()));
  const HeldInterrupts held;
  for (size_t i = 0; i < files.size(); ++i) TOOLS_TRY(write_npy(files[i], arrays[i]));
  for (OutputFile &file : files) TOOLS_TRY(file.commit());
  return Done{};
}

Outcome<int> run_request(const Options &options, const Console &console) {
  TOOLS_TRY_ASSIGN(const RunRequest request, make_request(options));
  TOOLS_TRY_ASSIGN(std::vector<OutputFile> files, plan_outputs(request));
  TOOLS_TRY_ASSIGN(JsonOutput json, JsonOutput::plan(options));
  TOOLS_TRY_ASSIGN(const Inputs inputs,
                   request.random_seed ? random_inputs(request, options) : load_inputs(request, options));
  for (const std::string &note : inputs.notes) console.note(note);
  if (request.check && !request.explain) TOOLS_TRY(check_is_possible(inputs));
  TOOLS_TRY_ASSIGN(const Execution execution, execute(request, inputs, console));
  if (execution.context.cache_warning[0] != '\0' && execution.on_gpu()) console.note(execution.context.cache_warning);
  std::optional<CheckResult> check;
  if (request.check && !request.explain) check = check_result(request, inputs, execution, console);
  const bool passed = request.explain ? execution.explanation.supported != 0 : !check || check->passed();
  if (passed && !request.explain) TOOLS_TRY(write_outputs(request, inputs, execution, std::move(files)));
  const RunReport report{request, inputs, execution, check};
  if (json.wanted()) TOOLS_TRY(json.write(console, report_json(report)));
  if (!json.on_stdout()) console.print(report_text(report, console));
  return static_cast<int>(passed ? exit_ok : exit_failed_check);
}

Outcome<int> run(const Words &words, Console &console) {
  boost::program_options::options_description known;
  for (const auto &group : run_option_groups()) known.add(group);
  TOOLS_TRY_ASSIGN(const Options options, parse_words(words, known));
  TOOLS_TRY_ASSIGN(console, make_console(tool_name, options));
  if (options.flag("help") || words.empty()) {
    console.print(help_text());
    return static_cast<int>(words.empty() ? exit_usage : exit_ok);
  }
  if (options.flag("version")) {
    TOOLS_TRY_ASSIGN(const flashcore_context_options context, make_context_options(options));
    TOOLS_TRY_ASSIGN(const std::string text, describe_version(console, tool_name, context));
    console.print(text);
    return static_cast<int>(exit_ok);
  }
  return run_request(options, console);
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
    console.complain({exit_failed_check, "this machine has not enough memory for these sizes"});
    return exit_failed_check;
  } catch (const std::exception &error) {
    console.complain({exit_failed_check, error.what()});
    return exit_failed_check;
  }
}
