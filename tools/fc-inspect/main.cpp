// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect: the modules that flashcore finds, what they hold and what they need. This file reads the command line and
// picks the subcommand; each subcommand has its own file.
#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <exception>
#include <sstream>

#include "../common/output_file.hpp"
#include "inspect.hpp"

namespace flashcore::tools {
namespace {
namespace po = boost::program_options;

constexpr const char *tool_name = "fc-inspect";

struct Subcommand {
  const char *name, *arguments, *summary;
  Outcome<int> (*run)(const InspectCall &);
  void (*declare)(po::options_description &);
};

void declare_list(po::options_description &group) {
  add_value(group, "arch", "ARCH", "modules of this architecture only, such as sm_89");
  add_value(group, "kernel", "NAME", "modules of this kernel only");
  add_value(group, "origin", "WHERE", "any, shipped or user (the user cache)");
  add_flag(group, "all", "also modules that this version of the library does not ask for");
}

void declare_show(po::options_description &group) {
  add_value(group, "arch", "ARCH", "the module of this architecture, such as sm_89");
  add_flag(group, "ptxas", "also print what ptxas said when the module was compiled");
  add_flag(group, "sass-classes", "also count the instructions of the steady loop by class");
  add_flag(group, "specialization", "also print the header of compile-time choices");
  add_value(group, "model", "ARCH",
            "instead: what the cost model says, on the GPU that stands for ARCH; MODULE may be a kernel, or absent");
  add_value(group, "shape", "LINE",
            "of that problem, as a line of fc-bench's shapes: \"1 8 8 512 512 64 fp16 none\" (default)");
  add_value(group, "cubin", "FILE", "write the cubin to FILE (for nvdisasm and cuobjdump)");
}

void declare_nothing(po::options_description &) {}

void declare_compile(po::options_description &group) {
  add_value(group, "output", "FOLDER", "the modules go to FOLDER/<architecture>; current ones that are there are kept");
  add_value(group, "kernel", "NAME", "those of this kernel only, or this one module, shipped or not");
}

void declare_warm(po::options_description &group) {
  add_value(group, "kernel", "NAME", "those of this kernel only, or this one module, shipped or not");
}

void declare_prune(po::options_description &group) {
  add_value(group, "limit", "MIB", "then also the oldest, until the cache has no more than so many MiB");
  add_flag(group, "dry-run", "only say what would go");
}

void declare_clear(po::options_description &group) { add_flag(group, "dry-run", "only say what would go"); }

void declare_export(po::options_description &group) {
  add_value(group, "arch", "ARCH", "modules of this architecture only, such as sm_89");
  add_value(group, "kernel", "NAME", "modules of this kernel only");
  add_value(group, "origin", "WHERE", "any, shipped or user (the user cache, default)");
}

constexpr Subcommand subcommands[] = {
    {"list", "", "one line per module: registers, shared memory, spills, sizes", list_modules, declare_list},
    {"show", "MODULE", "all about one module, named by name, beginning of a name, key or path", show_module,
     declare_show},
    {"verify", "[PATH...]", "check all modules found, or the named files and folders", verify_modules, declare_nothing},
    {"compile", "ARCH...", "compile the modules of the named architectures into a folder", compile_modules,
     declare_compile},
    {"warm", "[ARCH...]", "compile what the user cache lacks, for the named architectures or the GPUs here",
     warm_modules, declare_warm},
    {"export", "FOLDER", "copy modules into a folder that FLASHCORE_MODULE_PATH may name", export_modules,
     declare_export},
    {"prune", "", "remove from the user cache what this library cannot use", prune_cache, declare_prune},
    {"clear", "", "remove all modules from the user cache", clear_cache, declare_clear},
    {"doctor", "", "driver, NVRTC, folders, GPUs and kernels, and what to do where one is missing", show_environment,
     declare_nothing},
    {"overview", "", "one line per kernel and architecture (default)", show_overview, declare_list},
};
constexpr const Subcommand &default_subcommand = subcommands[std::size(subcommands) - 1];

Words subcommand_names() {
  Words names;
  for (const Subcommand &subcommand : subcommands) names.emplace_back(subcommand.name);
  return names;
}

std::string help_text() {
  std::string text =
      help_paragraphs(
          "fc-inspect looks at flashcore's compiled modules. It needs no GPU and no CUDA (compile and warm need NVRTC).") +
      "\nUsage\n";
  for (const Subcommand &subcommand : subcommands)
    text += fmt::format("  fc-inspect {:<18} {}\n", fmt::format("{} {}", subcommand.name, subcommand.arguments),
                        subcommand.summary);
  std::ostringstream groups;
  for (const Subcommand &subcommand : subcommands) {
    if (subcommand.run == show_overview) continue;  // those of list
    po::options_description group(
        fmt::format("Options of {}", subcommand.run == list_modules ? "list and overview" : subcommand.name),
        help_columns());
    subcommand.declare(group);
    if (!group.options().empty()) groups << "\n" << group;
  }
  groups << "\n" << library_options() << "\n" << output_options();
  return text + groups.str() +
         "\nExamples\n"
         "  fc-inspect list --arch sm_89\n"
         "  fc-inspect compile sm_87 --output modules && fc-inspect verify modules\n"
         "\n" +
         help_paragraphs(
             "Exit codes: 0 ok, 1 a check failed, 2 usage, 3 no GPU or driver, 4 a file cannot be read, 130 stopped by Ctrl-C.");
}

// The subcommand stands first; a line that begins with an option (or is empty) means overview.
const Subcommand *find_subcommand(const Words &words) {
  if (words.empty() || words[0].starts_with('-')) return &default_subcommand;
  for (const Subcommand &subcommand : subcommands)
    if (words[0] == subcommand.name) return &subcommand;
  return nullptr;
}

Outcome<int> run_subcommand(const Subcommand &subcommand, const Options &options, const Console &console) {
  if (options.flag("help")) {
    console.print(help_text());
    return static_cast<int>(exit_ok);
  }
  TOOLS_TRY_ASSIGN(flashcore_context_options context, make_context_options(options));
  if (options.flag("version")) {
    TOOLS_TRY_ASSIGN(std::string text, describe_version(console, tool_name, context));
    console.print(text);
    return static_cast<int>(exit_ok);
  }
  if (subcommand.arguments[0] == '\0' && options.has("argument"))
    return usage_failure(
        fmt::format("\"{}\" is one word too many for {}; the subcommand must stand first, as in fc-inspect show MODULE",
                    options.words("argument")[0], subcommand.name));
  TOOLS_TRY_ASSIGN(JsonOutput json, JsonOutput::plan(options));
  return subcommand.run({options, console, context, json});
}

Outcome<int> run(Words words, Console &console) {
  const Subcommand *subcommand = find_subcommand(words);
  if (subcommand == nullptr) {
    return usage_failure(fmt::format("subcommand \"{}\" is unknown, but must be one of: {}{}", words[0],
                                     listed(subcommand_names()), did_you_mean(words[0], subcommand_names())));
  }
  if (!words.empty() && words[0] == subcommand->name) words.erase(words.begin());
  po::options_description known;
  po::options_description own;
  subcommand->declare(own);
  known.add(own).add(library_options()).add(output_options());
  known.add_options()("argument", po::value<Words>());
  TOOLS_TRY_ASSIGN(Options options, parse_words(words, known, "argument"));
  TOOLS_TRY_ASSIGN(console, make_console(tool_name, options));
  return run_subcommand(*subcommand, options, console);
}

}  // namespace
}  // namespace flashcore::tools

int main(int argc, char **argv) {
  using namespace flashcore::tools;
  Console console(tool_name, ColorMode::automatic, false);
  try {
    handle_interrupts(OnInterrupt::end_now);
    Outcome<int> outcome = run(Words(argv + 1, argv + argc), console);
    if (outcome.ok()) return console.finish(outcome.value());
    console.complain(outcome.failure());
    return outcome.failure().exit_code;
  } catch (const std::exception &error) {  // std::bad_alloc and what a library should not have thrown
    console.complain({exit_failed_check, error.what()});
    return exit_failed_check;
  }
}
