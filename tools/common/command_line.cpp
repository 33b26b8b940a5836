// SPDX-License-Identifier: Apache-2.0
//
// Boost.Program_options throws; nothing that it throws leaves this file.
#include "command_line.hpp"

#include <dlfcn.h>
#include <flashcore/flashcore_inspect.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <filesystem>

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

// Single changes (insert, drop, replace a letter) between two words.
size_t edit_distance(const std::string &a, const std::string &b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

std::string unknown_option_text(const std::string &given, const po::options_description &known) {
  std::string name = given.substr(std::min(given.find_first_not_of('-'), given.size()));
  name = name.substr(0, name.find('='));
  std::string nearest;
  size_t best = 3;
  for (const auto &option : known.options()) {
    size_t distance = edit_distance(name, option->long_name());
    if (distance < best) {
      best = distance;
      nearest = option->long_name();
    }
  }
  std::string hint =
      nearest.empty() ? std::string("--help lists the options") : fmt::format("did you mean --{}?", nearest);
  return fmt::format("unknown option {}; {}", given, hint);
}

std::string bare(std::string name) { return name.substr(std::min(name.find_first_not_of('-'), name.size())); }

}  // namespace

std::string Options::text(const std::string &name, const std::string &absent) const {
  return has(name) ? values_[name].as<std::string>() : absent;
}

Words Options::words(const std::string &name) const { return has(name) ? values_[name].as<Words>() : Words(); }

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

Outcome<std::optional<double>> Options::real(const std::string &name) const {
  if (!has(name)) return std::optional<double>();
  std::string given = text(name);
  double value = 0;
  auto [end, code] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (code != std::errc() || end != given.data() + given.size() || !std::isfinite(value))
    return usage_failure(fmt::format("option --{} is \"{}\", but must be a finite number such as 0.125", name, given));
  return std::optional<double>(value);
}

Outcome<int32_t> Options::choice(const std::string &name, const std::vector<std::pair<std::string, int32_t>> &allowed,
                                 int32_t absent) const {
  if (!has(name)) return absent;
  std::string given = text(name), words;
  for (const auto &[word, value] : allowed) {
    if (word == given) return value;
    words += (words.empty() ? "" : ", ") + word;
  }
  return usage_failure(fmt::format("option --{} is \"{}\", but must be one of: {}", name, given, words));
}

void add_value(po::options_description &group, const char *name, const char *placeholder, const char *help) {
  group.add_options()(name, po::value<std::string>()->value_name(placeholder), help);
}

void add_flag(po::options_description &group, const char *name, const char *help) {
  group.add_options()(name, po::bool_switch(), help);
}

Outcome<Options> parse_words(const Words &words, const po::options_description &known,
                             const std::string &positional_name) {
  po::positional_options_description positional;
  if (!positional_name.empty()) positional.add(positional_name.c_str(), -1);
  try {
    po::variables_map values;
    // Without abbreviations: a script that says --seq must not change its meaning when an option is added.
    auto style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    po::store(po::command_line_parser(words).options(known).positional(positional).style(style).run(), values);
    po::notify(values);
    return Options(std::move(values));
  } catch (const po::unknown_option &error) {
    return usage_failure(unknown_option_text(error.get_option_name(), known));
  } catch (const po::multiple_occurrences &error) {
    return usage_failure(fmt::format("option --{} was given more than once", bare(error.get_option_name())));
  } catch (const po::too_many_positional_options_error &) {
    return usage_failure("there is a word that belongs to no option; --help shows how to call this tool");
  } catch (const po::invalid_command_line_syntax &error) {
    if (error.kind() == po::invalid_syntax::extra_parameter)
      return usage_failure(fmt::format("option --{} takes no value", bare(error.get_option_name())));
    return usage_failure(fmt::format("option --{} needs a value", bare(error.get_option_name())));
  } catch (const po::error &error) {
    return usage_failure(error.what());
  }
}

po::options_description output_options() {
  po::options_description group("Output", help_columns);
  add_flag(group, "json", "print JSON on stdout; the first key is \"schema\"");
  add_value(group, "color", "WHEN", "auto (on a terminal without NO_COLOR), always or never");
  add_flag(group, "quiet,q", "no notes and no progress on stderr");
  add_flag(group, "help,h", "print this text");
  add_flag(group, "version", "print versions, and where driver and NVRTC were found");
  return group;
}

po::options_description library_options() {
  po::options_description group("Where the library looks", help_columns);
  add_value(group, "module-path", "FOLDERS",
            "read-only module folders, separated by ':' (else FLASHCORE_MODULE_PATH, else the shipped ones)");
  add_value(group, "cache-dir", "FOLDER",
            "folder of the user cache (else FLASHCORE_CACHE_DIR, else ~/.cache/flashcore)");
  add_value(group, "nvrtc", "FILE", "path of libnvrtc (else FLASHCORE_LIBNVRTC, else the usual places)");
  return group;
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
