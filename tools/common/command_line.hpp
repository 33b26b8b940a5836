// SPDX-License-Identifier: Apache-2.0
//
// Options as every tool reads them: Boost.Program_options splits the line, the functions here turn the texts into
// values and say option, value and what is allowed where one does not fit. Options that every tool has are declared
// here too.
#pragma once

#include <flashcore/flashcore.h>

#include <boost/program_options.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "console.hpp"
#include "outcome.hpp"

namespace flashcore::tools {

using Words = std::vector<std::string>;

// The options of one command line, all kept as texts.
class Options {
 public:
  explicit Options(boost::program_options::variables_map values) : values_(std::move(values)) {}

  bool has(const std::string &name) const { return values_.count(name) != 0 && !values_[name].defaulted(); }
  bool flag(const std::string &name) const { return values_.count(name) != 0 && values_[name].as<bool>(); }
  std::string text(const std::string &name, const std::string &absent = {}) const;
  Words words(const std::string &name) const;

  // nullopt where the option is absent.
  Outcome<std::optional<int64_t>> integer(const std::string &name, int64_t minimum, int64_t maximum) const;
  Outcome<std::optional<double>> real(const std::string &name) const;  // finite
  // One of `allowed`, given as (word, value); `absent` where the option is not given.
  Outcome<int32_t> choice(const std::string &name, const std::vector<std::pair<std::string, int32_t>> &allowed,
                          int32_t absent) const;

 private:
  boost::program_options::variables_map values_;
};

inline constexpr unsigned help_columns = 110;
// Declares `--name PLACEHOLDER` and `--name` (a flag) with its line of help.
void add_value(boost::program_options::options_description &group, const char *name, const char *placeholder,
               const char *help);
void add_flag(boost::program_options::options_description &group, const char *name, const char *help);

// Split `words` (without the program's name). Positional words go to the option `positional_name`; empty: none are
// taken.
Outcome<Options> parse_words(const Words &words, const boost::program_options::options_description &known,
                             const std::string &positional_name = {});

// --json, --color, --quiet, --help, --version, and where the library looks for modules and for NVRTC.
boost::program_options::options_description output_options();
boost::program_options::options_description library_options();
// --color and --quiet as a Console. Also usable before parse_words has succeeded.
Outcome<Console> make_console(const std::string &tool, const Options &options);
Outcome<flashcore_context_options> make_context_options(const Options &options);

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
