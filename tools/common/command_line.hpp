// SPDX-License-Identifier: Apache-2.0
//
// Options as every tool reads them: Boost.Program_options splits the line, the functions here turn the texts into
// values and say option, value and what is allowed where one does not fit. Options that every tool has are declared
// here too.
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "outcome.hpp"
#include "output_file.hpp"
#include "words.hpp"

// <boost/program_options.hpp> takes the compiler longer than most files here: only those that declare options include it.
namespace boost::program_options {
class options_description;
}

namespace flashcore::tools {

// The options of one command line, all kept as texts.
class Options {
 public:
  using Values = std::map<std::string, Words>;  // of those that were given; a flag has no word
  explicit Options(Values values) : values_(std::move(values)) {}

  bool has(const std::string &name) const { return values_.contains(name); }
  bool flag(const std::string &name) const { return values_.contains(name); }
  std::string text(const std::string &name, const std::string &absent = {}) const;
  Words words(const std::string &name) const;

  // nullopt where the option is absent.
  Outcome<std::optional<int64_t>> integer(const std::string &name, int64_t minimum, int64_t maximum) const;
  // Finite, and not beyond `largest` on either side of 0.
  Outcome<std::optional<double>> real(const std::string &name,
                                      double largest = std::numeric_limits<double>::max()) const;
  Outcome<Float16Type> dtype(const std::string &name) const;  // fp16 where it is absent
  Outcome<int32_t> causal(const std::string &name) const;     // none where it is absent
  // One of `allowed`, given as (word, value); `absent` where the option is not given.
  Outcome<int32_t> choice(const std::string &name, const std::vector<std::pair<std::string, int32_t>> &allowed,
                          int32_t absent) const;

 private:
  Values values_;
};

unsigned help_columns();  // the terminal's, else a page's
// `text` wrapped like the options below it, paragraph by paragraph.
std::string help_paragraphs(const std::string &text);
// Declares `--name PLACEHOLDER` and `--name` (a flag) with its line of help.
void add_value(boost::program_options::options_description &group, const char *name, const char *placeholder,
               const char *help);
void add_flag(boost::program_options::options_description &group, const char *name, const char *help);

// Split `words` (without the program's name). Positional words go to the option `positional_name`; empty: none are
// taken. No option takes another one as its value. --json stands alone or with =FILE; where no positional words are taken FILE may also
// follow it.
Outcome<Options> parse_words(const Words &words, const boost::program_options::options_description &known,
                             const std::string &positional_name = {});

// Where --json wants its JSON: nowhere, on stdout instead of the report, or in a file beside the report.
class JsonOutput {
 public:
  // Asked before the work is done, so that a file that cannot be written is no late surprise.
  static Outcome<JsonOutput> plan(const Options &options);
  bool wanted() const { return on_stdout_ || file_.has_value(); }
  bool on_stdout() const { return on_stdout_; }
  Step write(const Console &console, const std::string &json);

 private:
  bool on_stdout_ = false;
  std::optional<OutputFile> file_;
};

// --json, --color, --quiet, --help, --version, and where the library looks for modules and for NVRTC.
boost::program_options::options_description output_options();
boost::program_options::options_description library_options();
// --color and --quiet as a Console. Also usable before parse_words has succeeded.
Outcome<Console> make_console(const std::string &tool, const Options &options);
Outcome<flashcore_context_options> make_context_options(const Options &options);

// A device word that is none of `allowed`: the word that is near it. A GPU is called cuda here.
std::string device_hint(const std::string &given, const Words &allowed);
// A kernel or a module that the library knows; empty is allowed. The failure names the nearest kernel.
Step check_kernel_name(const std::string &option, const std::string &name);

// What the process would use, line by line (flashcore_environment_describe), and the same for people.
Outcome<std::string> describe_environment(const flashcore_context_options &options);
FieldList environment_fields(const std::string &environment);
// Version of tool and library, and where the driver and NVRTC were found or why not.
Outcome<std::string> describe_version(const Console &console, const std::string &tool,
                                      const flashcore_context_options &options);

// Does `text` fit into a field of `capacity` bytes with its zero? Copied when so, else a usage failure that names
// `option`.
Step copy_text(const std::string &option, const std::string &text, char *field, size_t capacity);
template <size_t capacity>
Step copy_text(const std::string &option, const std::string &text, char (&field)[capacity]) {
  return copy_text(option, text, field, capacity);
}

}  // namespace flashcore::tools
