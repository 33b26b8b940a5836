// SPDX-License-Identifier: Apache-2.0
//
// Boost.Program_options throws; nothing that it throws leaves this file.
#include "command_line.hpp"

#include <dlfcn.h>
#include <flashcore/flashcore_inspect.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

Words option_names(const po::options_description &known) {
  Words names;
  for (const auto &option : known.options()) names.push_back(option->long_name());
  return names;
}

std::string unknown_option_text(const std::string &given, const po::options_description &known) {
  std::string name = given.substr(std::min(given.find_first_not_of('-'), given.size()));
  name = name.substr(0, name.find('='));
  const std::string hint = did_you_mean(name, option_names(known), "--");
  return fmt::format("unknown option {}{}", given.substr(0, given.find('=')),
                     hint.empty() ? "; --help lists the options" : hint);
}

// The option of that name, "--json"; nullptr: none.
const po::option_description *option_of(const std::string &word, const po::options_description &known) {
  return word.starts_with("--") && word.size() > 2 ? known.find_nothrow(word.substr(2), false) : nullptr;
}

// Numbers may begin with a dash, and "-" alone is a file's usual name for stdout.
bool looks_like_option(const std::string &word) {
  return word.size() > 1 && word[0] == '-' && word[1] != '.' && (word[1] < '0' || word[1] > '9');
}

// The words with every option's value behind its '=': what belongs together is decided here and not by Boost, which takes whatever
// follows for a value.
Outcome<Words> joined_words(const Words &words, const po::options_description &known, bool takes_words) {
  Words joined;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string &word = words[i];
    const std::string *next = i + 1 < words.size() ? &words[i + 1] : nullptr;
    if (word == "--" && takes_words) {
      joined.insert(joined.end(), words.begin() + static_cast<std::ptrdiff_t>(i), words.end());
      break;
    }
    if (!takes_words && (word == "--" || !looks_like_option(word))) {
      const std::string hint = did_you_mean(word, option_names(known), "--");
      return usage_failure(fmt::format("the word \"{}\" belongs to no option{}", word,
                                       hint.empty() ? "; --help shows how to call this tool" : hint));
    }
    const po::option_description *option = option_of(word.substr(0, word.find('=')), known);
    if (option == nullptr && word.starts_with("--")) return usage_failure(unknown_option_text(word, known));
    if (option == nullptr || word.find('=') != std::string::npos || option->semantic()->max_tokens() == 0) {
      joined.push_back(word);
    } else if (option->long_name() == "json" && (takes_words || next == nullptr || looks_like_option(*next))) {
      joined.push_back("--json=-");
    } else if (next == nullptr) {
      return usage_failure(fmt::format("option {} needs a value", word));
    } else if (looks_like_option(*next)) {
      return usage_failure(
          fmt::format("option {0} needs a value, but the option {1} follows; {0}={1} would mean a value of that name",
                      word, *next));
    } else if (next->empty()) {
      return usage_failure(fmt::format("option {} needs a value, but an empty word follows", word));
    } else {
      joined.push_back(word + "=" + *next);
      ++i;
    }
  }
  return joined;
}

Options::Values given_values(const po::variables_map &parsed) {
  Options::Values values;
  for (const auto &[name, value] : parsed) {
    if (value.defaulted()) continue;  // a flag that is not set
    Words &words = values[name];
    if (const auto *text = boost::any_cast<std::string>(&value.value()))
      words.push_back(*text);
    else if (const auto *several = boost::any_cast<Words>(&value.value()))
      words = *several;
  }
  return values;
}

std::string bare(std::string name) { return name.substr(std::min(name.find_first_not_of('-'), name.size())); }

}  // namespace

std::string Options::text(const std::string &name, const std::string &absent) const {
  return has(name) ? values_.at(name).front() : absent;
}

Words Options::words(const std::string &name) const { return has(name) ? values_.at(name) : Words(); }

Outcome<std::optional<int64_t>> Options::integer(const std::string &name, int64_t minimum, int64_t maximum) const {
  if (!has(name)) return std::optional<int64_t>();
  std::string given = text(name);
  int64_t value = 0;
  auto [end, code] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (code != std::errc() || end != given.data() + given.size() || value < minimum || value > maximum)
    return usage_failure(
        fmt::format("option --{} is \"{}\", but must be a whole number from {} to {}", name, given, minimum, maximum));
  return std::optional<int64_t>(value);
}

Outcome<std::optional<double>> Options::real(const std::string &name, double largest) const {
  if (!has(name)) return std::optional<double>();
  std::string given = text(name);
  double value = 0;
  auto [end, code] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (code != std::errc() || end != given.data() + given.size() || !std::isfinite(value))
    return usage_failure(fmt::format("option --{} is \"{}\", but must be a finite number such as 0.125", name, given));
  if (std::fabs(value) > largest)
    return usage_failure(
        fmt::format("option --{} is \"{}\", but must lie between -{:.7g} and {:.7g}", name, given, largest, largest));
  return std::optional<double>(value);
}

Outcome<int32_t> Options::choice(const std::string &name, const std::vector<std::pair<std::string, int32_t>> &allowed,
                                 int32_t absent) const {
  if (!has(name)) return absent;
  const std::string given = text(name);
  Words words;
  for (const auto &[word, value] : allowed) {
    if (word == given) return value;
    words.push_back(word);
  }
  return usage_failure(fmt::format("option --{} is \"{}\", but must be one of: {}{}", name, given, listed(words),
                                   did_you_mean(given, words)));
}

Outcome<Float16Type> Options::dtype(const std::string &name) const {
  const std::string given = text(name, dtype_word(Float16Type::float16));
  if (const std::optional<Float16Type> type = dtype_of(given)) return *type;
  return usage_failure(fmt::format("option --{} is \"{}\", but must be one of: {}{}", name, given,
                                   listed(dtype_words()), did_you_mean(given, dtype_words())));
}

Outcome<int32_t> Options::causal(const std::string &name) const {
  const std::string given = text(name, causal_word(FLASHCORE_CAUSAL_NONE));
  if (const std::optional<int32_t> mask = causal_of(given)) return *mask;
  return usage_failure(fmt::format("option --{} is \"{}\", but must be one of: {}{}", name, given,
                                   listed(causal_words()), did_you_mean(given, causal_words())));
}

unsigned help_columns() { return static_cast<unsigned>(terminal_columns().value_or(page_columns)); }

std::string help_paragraphs(const std::string &text) {
  std::string wrapped;
  for (const std::string &line : wrap_words(text, help_columns())) wrapped += line + "\n";
  return wrapped;
}

void add_value(po::options_description &group, const char *name, const char *placeholder, const char *help) {
  group.add_options()(name, po::value<std::string>()->value_name(placeholder), help);
}

void add_flag(po::options_description &group, const char *name, const char *help) {
  group.add_options()(name, po::bool_switch(), help);
}

Outcome<Options> parse_words(const Words &words, const po::options_description &known,
                             const std::string &positional_name) {
  TOOLS_TRY_ASSIGN(const Words joined, joined_words(words, known, !positional_name.empty()));
  po::positional_options_description positional;
  if (!positional_name.empty()) positional.add(positional_name.c_str(), -1);
  try {
    po::variables_map values;
    // Without abbreviations: a script that says --seq must not change its meaning when an option is added.
    auto style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(joined).options(known).positional(positional).style(style).run(), values);
    po::notify(values);
    return Options(given_values(values));
  } catch (const po::unknown_option &error) {
    return usage_failure(unknown_option_text(error.get_option_name(), known));
  } catch (const po::multiple_occurrences &error) {
    return usage_failure(fmt::format("option --{} was given more than once", bare(error.get_option_name())));
  } catch (const po::invalid_command_line_syntax &error) {
    if (error.kind() == po::invalid_syntax::extra_parameter)
      return usage_failure(fmt::format("option --{} takes no value", bare(error.get_option_name())));
    return usage_failure(fmt::format("option --{} needs a value", bare(error.get_option_name())));
  } catch (const po::error &error) {
    return usage_failure(error.what());
  }
}

po::options_description output_options() {
  po::options_description group("Output", help_columns());
  add_value(
      group, "json", "[=FILE]",
      "print JSON on stdout instead of the report, or with =FILE write it there beside the report; its first key is \"schema\"");
  add_value(group, "color", "WHEN", "auto (on a terminal without NO_COLOR), always or never");
  add_flag(group, "quiet,q", "no notes and no progress on stderr");
  add_flag(group, "help,h", "print this text");
  add_flag(group, "version", "print versions, and where driver and NVRTC were found");
  return group;
}

po::options_description library_options() {
  po::options_description group("Where the library looks", help_columns());
  add_value(group, "module-path", "FOLDERS",
            "read-only module folders, separated by ':' (else FLASHCORE_MODULE_PATH, else the shipped ones)");
  add_value(group, "cache-dir", "FOLDER",
            "folder of the user cache (else FLASHCORE_CACHE_DIR, else ~/.cache/flashcore)");
  add_value(group, "nvrtc", "FILE", "path of libnvrtc (else FLASHCORE_LIBNVRTC, else the usual places)");
  return group;
}

Outcome<JsonOutput> JsonOutput::plan(const Options &options) {
  JsonOutput output;
  const std::string path = options.text("json");
  output.on_stdout_ = path == "-";
  if (!path.empty() && path != "-") {
    TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("json", path));
    output.file_.emplace(std::move(file));
  }
  return output;
}

Step JsonOutput::write(const Console &console, const std::string &json) {
  if (on_stdout_) console.print(json);
  if (!file_) return Done{};
  const HeldInterrupts held;
  TOOLS_TRY(file_->write({reinterpret_cast<const uint8_t *>(json.data()), json.size()}));
  return file_->commit();
}

std::string device_hint(const std::string &given, const Words &allowed) {
  const bool gpu = given == "gpu" || given == "GPU" || given.starts_with("gpu:");
  return gpu ? "; did you mean cuda?" : did_you_mean(given, allowed);
}

Step check_kernel_name(const std::string &option, const std::string &name) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (name.empty() || flashcore_kernel_check_name(name.c_str(), &error) == FLASHCORE_OK) return Done{};
  Words kernels;
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info info{};
    info.struct_size = sizeof(info);
    if (flashcore_kernel_describe(index, &info, nullptr) == FLASHCORE_OK) kernels.emplace_back(info.name);
  }
  Failure failure = library_failure(fmt::format("use the kernel of option --{}", option), error);
  failure.message += did_you_mean(name, kernels);
  return failure;
}

Outcome<Console> make_console(const std::string &tool, const Options &options) {
  TOOLS_TRY_ASSIGN(int32_t color, options.choice("color",
                                                 {{"auto", static_cast<int32_t>(ColorMode::automatic)},
                                                  {"always", static_cast<int32_t>(ColorMode::always)},
                                                  {"never", static_cast<int32_t>(ColorMode::never)}},
                                                 static_cast<int32_t>(ColorMode::automatic)));
  return Console(tool, static_cast<ColorMode>(color), options.flag("quiet"));
}

Outcome<flashcore_context_options> make_context_options(const Options &options) {
  flashcore_context_options context = FLASHCORE_CONTEXT_OPTIONS_INIT;
  TOOLS_TRY(copy_text("module-path", options.text("module-path"), context.module_path));
  std::string cache = options.text("cache-dir");
  if (!cache.empty())
    cache = std::filesystem::absolute(cache).lexically_normal().string();  // the library takes no other
  TOOLS_TRY(copy_text("cache-dir", cache, context.cache_directory));
  TOOLS_TRY(copy_text("nvrtc", options.text("nvrtc"), context.nvrtc_library));
  return context;
}

Outcome<std::string> describe_environment(const flashcore_context_options &options) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  std::string text(16384, '\0');
  if (flashcore_environment_describe(&options, text.data(), static_cast<int64_t>(text.size()), &error) != FLASHCORE_OK)
    return library_failure("describe the environment", error);
  text.resize(std::strlen(text.c_str()));
  if (!text.empty() && text.back() != '\n') text += '\n';
  return text;
}

// "name: text" lines; a line without a name goes on with the field above it.
FieldList environment_fields(const std::string &environment) {
  FieldList fields;
  size_t begin = 0;
  while (begin < environment.size()) {
    const size_t end = std::min(environment.find('\n', begin), environment.size());
    const std::string line = environment.substr(begin, end - begin);
    const size_t colon = line.find(": ");
    if (colon == std::string::npos || line.starts_with(' '))
      fields.add("", line);
    else
      fields.add(line.substr(0, colon), line.substr(colon + 2));
    begin = end + 1;
  }
  return fields;
}

Outcome<std::string> describe_version(const Console &console, const std::string &tool,
                                      const flashcore_context_options &options) {
  const uint32_t version = flashcore_version();
  Dl_info where{};
  const bool known =
      dladdr(reinterpret_cast<const void *>(&flashcore_version), &where) != 0 && where.dli_fname != nullptr;
  const std::string place = known ? std::filesystem::path(where.dli_fname).lexically_normal().string() : "unknown";
  TOOLS_TRY_ASSIGN(const std::string environment, describe_environment(options));
  const std::string library =
      fmt::format("library: {}.{}.{}, {}\n", version / 10000, version / 100 % 100, version % 100, place);
  return fmt::format("{} of flashcore {}.{}.{}\n{}", tool, FLASHCORE_VERSION_MAJOR, FLASHCORE_VERSION_MINOR,
                     FLASHCORE_VERSION_PATCH, environment_fields(library + environment).render(console));
}

Step copy_text(const std::string &option, const std::string &text, char *field, size_t capacity) {
  if (text.size() >= capacity)
    return usage_failure(
        fmt::format("option --{} has {} characters, but at most {} are allowed", option, text.size(), capacity - 1));
  std::memcpy(field, text.c_str(), text.size() + 1);
  return Done{};
}

}  // namespace flashcore::tools
