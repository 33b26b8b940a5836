// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect show: everything about one module. It may be named by path, by name (an architecture after '@' or --arch),
// by the beginning of either, or by the beginning of its key.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <optional>
#include <span>

#include "../common/output_file.hpp"
#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct FreeMemory {
  void operator()(void *memory) const { flashcore_inspect_free(memory); }
};

struct LoadedModule {
  flashcore_module_info info{};
  std::unique_ptr<void, FreeMemory> cubin;
  Json record;
  size_t other_copies = 0;  // files that hold the same module and were not taken
};

bool is_file(const std::string &path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0;
}

bool is_path(const std::string &name) {
  return name.find('/') != std::string::npos || name.ends_with(".fcm") || is_file(name);
}

bool is_key_prefix(const std::string &name) {
  return name.size() >= 4 &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isxdigit(c) != 0; });
}

std::string identity(const flashcore_module_info &module) { return fmt::format("{}@{}", module.module, module.arch); }

bool answers_to(const flashcore_module_info &module, const std::string &name) {
  return identity(module).starts_with(name) || (is_key_prefix(name) && std::string(module.key).starts_with(name));
}

// Identities that `name` may mean, in the order of the list; an exact name beats the beginnings of longer ones.
std::vector<const flashcore_module_info *> candidates_for(const ModuleInfos &modules, const std::string &name,
                                                          const std::string &arch) {
  std::vector<const flashcore_module_info *> exact, begun;
  for (const flashcore_module_info &module : modules) {
    if (module.status != FLASHCORE_OK || (!arch.empty() && arch != module.arch) || !answers_to(module, name)) continue;
    begun.push_back(&module);
    if (name == module.module || name == identity(module) || name == module.key) exact.push_back(&module);
  }
  return exact.empty() ? begun : exact;
}

Failure ambiguous(const std::string &name, const Words &identities) {
  std::string text =
      fmt::format("\"{}\" may mean {} modules; give more of the name, or --arch:", name, identities.size());
  for (size_t i = 0; i < std::min<size_t>(identities.size(), 8); ++i) text += fmt::format("\n  {}", identities[i]);
  if (identities.size() > 8) text += fmt::format("\n  and {} more", identities.size() - 8);
  return usage_failure(text);
}

// The path of the module meant by `name`, and how many other files hold the same module.
Outcome<std::pair<std::string, size_t>> find_path(const InspectCall &call, const std::string &name) {
  if (is_path(name)) return std::pair<std::string, size_t>(name, 0);
  TOOLS_TRY_ASSIGN(ModuleInfos modules, find_modules(call.context));
  auto candidates = candidates_for(modules, name, call.options.text("arch"));
  if (candidates.empty()) {
    return usage_failure(fmt::format(
        "no module is called \"{}\"{}: give a name, its beginning, four or more digits of a key, or "
        "the path of a .fcm file; fc-inspect list --all shows the names",
        name, call.options.has("arch") ? fmt::format(" for {}", call.options.text("arch")) : std::string()));
  }
  Words identities;
  for (const auto *module : candidates)
    if (std::find(identities.begin(), identities.end(), identity(*module)) == identities.end())
      identities.push_back(identity(*module));
  if (identities.size() > 1) return ambiguous(name, identities);
  // Copies of one module: what this version asks for comes first, then the shipped one.
  auto better = [](const auto *a, const auto *b) {
    return std::pair(-a->current, a->origin) < std::pair(-b->current, b->origin);
  };
  const auto *best = *std::min_element(candidates.begin(), candidates.end(), better);
  return std::pair<std::string, size_t>(best->path, candidates.size() - 1);
}

Outcome<LoadedModule> load_module(const InspectCall &call, const std::string &name) {
  TOOLS_TRY_ASSIGN(auto found, find_path(call, name));
  LoadedModule module;
  module.info.struct_size = sizeof(module.info);
  module.other_copies = found.second;
  void *cubin = nullptr;
  char *record = nullptr;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_module_read(found.first.c_str(), &module.info, &cubin, &record, &error) != FLASHCORE_OK)
    return library_failure(fmt::format("read the module {}", found.first), error);
  module.cubin.reset(cubin);
  module.record = Json::parse(record, nullptr, false);
  flashcore_inspect_free(record);
  if (!module.record.is_object()) return input_failure(fmt::format("{}: its record is no JSON object", found.first));
  return module;
}

std::string record_text(const LoadedModule &module, const char *name) {
  auto at = module.record.find(name);
  return at != module.record.end() && at->is_string() ? at->get<std::string>() : std::string();
}

std::string shared_text(const flashcore_module_info &info) {
  const flashcore_kernel_resources &resources = info.resources;
  std::string text = fmt::format("{} bytes static, {} dynamic", group_digits(resources.static_shared_bytes),
                                 group_digits(resources.dynamic_shared_bytes));
  int64_t limit = shared_limit_bytes(info.arch);
  if (limit > 0) text += fmt::format("; a block of {} may have {}", info.arch, group_digits(limit));
  return text;
}

std::string utc_time(int64_t unix_seconds) {
  std::time_t time = static_cast<std::time_t>(unix_seconds);
  std::tm parts{};
  char text[32] = "";
  if (gmtime_r(&time, &parts) != nullptr) std::strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &parts);
  return text;
}

std::string options_text(const LoadedModule &module) {
  std::string text;
  auto at = module.record.find("options");
  if (at == module.record.end() || !at->is_array()) return text;
  for (const auto &option : *at)
    if (option.is_string()) text.append(text.empty() ? "" : " ").append(option.get<std::string>());
  return text;
}

void add_resources(const flashcore_module_info &info, FieldList &fields) {
  const flashcore_kernel_resources &resources = info.resources;
  fields.add("kernel", fmt::format("{}, {} bytes of code", resources.name, group_digits(resources.code_bytes)));
  fields.add("registers", fmt::format("{} per thread, {} barriers", resources.registers, resources.barriers));
  fields.add("shared memory", shared_text(info), exceeds_shared_limit(info) ? Mark::bad : Mark::plain);
  fields.add("spills",
             resources.spill_store_bytes < 0 ? std::string("unknown: the compiler left no record of them")
                                             : fmt::format("{} bytes stored, {} bytes loaded",
                                                           resources.spill_store_bytes, resources.spill_load_bytes),
             spills(info) ? Mark::bad : Mark::plain);
  fields.add("stack", fmt::format("{} bytes", resources.stack_bytes));
  fields.add("threads", fmt::format("at most {} per block", resources.max_threads_per_block > 0
                                                                ? std::to_string(resources.max_threads_per_block)
                                                                : std::string("1024")));
  if (resources.required_threads > 0)
    fields.add("", fmt::format("exactly {} are required", resources.required_threads));
  fields.add("parameters", fmt::format("{} bytes, in {} bytes of constant memory", resources.parameter_bytes,
                                       resources.constant_bytes));
}

// Who made it, from what, and where it lies.
void add_provenance(const LoadedModule &module, FieldList &fields) {
  const flashcore_module_info &info = module.info;
  fields.add("cubin", fmt::format("{} bytes, {} in the file; SHA-256 {}", group_digits(info.cubin_bytes),
                                  group_digits(info.compressed_bytes), info.cubin_sha256));
  fields.add("compiler",
             fmt::format("{}, in {}", info.compiler, format_duration_us(static_cast<double>(info.compile_us))));
  fields.add("options", options_text(module));
  fields.add("key", fmt::format("{}, made by {}", info.key, info.compiler_id));
  fields.add(
      "current",
      info.current != 0 ? "yes, this library asks for it" : "no, this library does not ask for it: another version's",
      info.current != 0 ? Mark::plain : Mark::warning);
  fields.add("file", fmt::format("{} ({} bytes, {})", info.path, group_digits(info.file_bytes),
                                 utc_time(info.modified_unix_seconds)));
}

void print_fields(const Console &console, const LoadedModule &module) {
  FieldList fields;
  add_resources(module.info, fields);
  add_provenance(module, fields);
  const std::string title = printable(fmt::format("{} for {}", module.info.module, module.info.arch));
  console.print(fmt::format("{}\n{}", console.paint(Mark::heading, title), fields.render(console)));
}

// nullopt: a kernel without tensor cores, or not in this form.
std::optional<flashcore_loop_info> steady_loop(const LoadedModule &module) {
  flashcore_loop_info loop{};
  loop.struct_size = sizeof(loop);
  if (flashcore_module_loop(module.info.path, &loop, nullptr) != FLASHCORE_OK) return std::nullopt;
  return loop;
}

struct LoopClass {
  const char *name, *key;
  int32_t flashcore_loop_info::*count;
};
constexpr LoopClass loop_classes[] = {
    {"HMMA", "hmma", &flashcore_loop_info::hmma},    {"HGMMA", "hgmma", &flashcore_loop_info::hgmma},
    {"LDSM", "ldsm", &flashcore_loop_info::ldsm},    {"MUFU", "mufu", &flashcore_loop_info::mufu},
    {"FFMA", "ffma", &flashcore_loop_info::ffma},    {"FMNMX", "fmnmx", &flashcore_loop_info::fmnmx},
    {"other", "other", &flashcore_loop_info::other},
};

Json loop_json(const flashcore_loop_info &loop) {
  Json json{{"score_tiles", loop.score_tiles}};
  for (const LoopClass &one : loop_classes) json[one.key] = loop.*one.count;
  json["skipped"] = loop.skipped;
  json["first_byte"] = loop.first_byte;
  json["bytes"] = loop.bytes;
  return json;
}

std::string loop_text(const std::optional<flashcore_loop_info> &loop) {
  if (!loop) return "this kernel has no loop with mma.sync or wgmma instructions";
  std::string text = fmt::format("{:<8}{:>8}{:>18}\n", "class", "a pass", "per 16x8 scores");
  int32_t total = 0;
  for (const LoopClass &one : loop_classes) {
    total += (*loop).*one.count;
    text += fmt::format("{:<8}{:>8}{:>18.2f}\n", one.name, (*loop).*one.count,
                        static_cast<double>((*loop).*one.count) / loop->score_tiles);
  }
  return text +
         fmt::format(
             "{:<8}{:>8}{:>18.2f}\n{} tiles of scores a pass; {} more instructions are jumped over in most passes\n",
             "all", total, static_cast<double>(total) / loop->score_tiles, loop->score_tiles, loop->skipped);
}

Step export_cubin(const InspectCall &call, const LoadedModule &module) {
  if (!call.options.has("cubin")) return Done{};
  std::string path = call.options.text("cubin");
  std::span<const uint8_t> bytes(static_cast<const uint8_t *>(module.cubin.get()),
                                 static_cast<size_t>(module.info.cubin_bytes));
  TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("cubin", path));
  const HeldInterrupts held;
  TOOLS_TRY(file.write(bytes));
  TOOLS_TRY(file.commit());
  call.console.note(fmt::format("{} bytes of cubin written to {}", group_digits(module.info.cubin_bytes), path));
  return Done{};
}

void print_section(const Console &console, const char *title, const std::string &raw) {
  const std::string text = printable(raw, true);
  console.print(fmt::format("\n{}\n{}{}", console.paint(Mark::heading, title), text, text.ends_with('\n') ? "" : "\n"));
}

}  // namespace

Outcome<int> show_module(const InspectCall &call) {
  if (call.options.has("model")) return show_model(call);
  if (call.options.has("shape")) return usage_failure("option --shape goes with --model");
  Words names = call.options.words("argument");
  if (names.size() != 1)
    return usage_failure(
        fmt::format("show takes one module, but {} were given; fc-inspect list shows the names", names.size()));
  if (const Step known = check_arch("option --arch", call.options.text("arch")); !known.ok())
    call.console.note(known.failure().message);
  TOOLS_TRY_ASSIGN(LoadedModule module, load_module(call, names[0]));
  TOOLS_TRY(export_cubin(call, module));
  if (call.json.wanted()) {
    Json json = schema_json("show");
    json["module"] = module_json(module.info);
    json["other_copies"] = module.other_copies;
    json["record"] = module.record;
    const std::optional<flashcore_loop_info> loop = steady_loop(module);
    json["steady_loop"] = loop ? loop_json(*loop) : Json();
    TOOLS_TRY(write_json(call, json));
  }
  if (call.json.on_stdout()) return static_cast<int>(exit_ok);
  print_fields(call.console, module);
  if (call.options.flag("specialization"))
    print_section(call.console, "specialization.h", record_text(module, "specialization"));
  if (call.options.flag("sass-classes"))
    print_section(call.console, "instructions of the steady loop, in each warp", loop_text(steady_loop(module)));
  if (call.options.flag("ptxas")) print_section(call.console, "log of ptxas", record_text(module, "ptxas_log"));
  if (module.other_copies > 0)
    call.console.note(
        fmt::format("{} other file{} hold{} the same module; fc-inspect list --all --json shows the paths",
                    module.other_copies, module.other_copies == 1 ? "" : "s", module.other_copies == 1 ? "s" : ""));
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
