// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect prune, clear and export: what becomes of the modules that the user cache has gathered. Removing is the library's, which
// goes through checked folders only.
#include <fmt/format.h>

#include "inspect.hpp"

namespace flashcore::tools {
namespace {

std::string files_text(int64_t files, int64_t bytes) {
  return fmt::format("{} module{}, {}", files, files == 1 ? "" : "s", format_bytes(bytes));
}

Outcome<int> remove_modules(const InspectCall &call, const char *subcommand, int32_t what, int64_t most_bytes) {
  const bool dry_run = call.options.flag("dry-run");
  flashcore_removal_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_modules_remove(&call.context, what, most_bytes, dry_run ? 1 : 0, &info, &error) != FLASHCORE_OK)
    return library_failure("remove modules", error);
  if (call.json.wanted()) {
    Json json = schema_json(subcommand);
    json["dry_run"] = dry_run;
    json["removed_files"] = info.removed_files;
    json["removed_bytes"] = info.removed_bytes;
    json["kept_files"] = info.kept_files;
    json["kept_bytes"] = info.kept_bytes;
    TOOLS_TRY(write_json(call, json));
  }
  if (!call.json.on_stdout())
    call.console.print(fmt::format("{}: {}\nkept: {}\n", dry_run ? "would be removed" : "removed",
                                   files_text(info.removed_files, info.removed_bytes),
                                   files_text(info.kept_files, info.kept_bytes)));
  return static_cast<int>(exit_ok);
}

struct Exported {
  std::string module, arch, problem;  // empty: it is there now
};

Outcome<int> report_export(const InspectCall &call, const std::string &folder, const std::vector<Exported> &modules) {
  size_t failed = 0;
  Json json = schema_json("export");
  json["directory"] = folder;
  json["modules"] = Json::array();
  for (const Exported &one : modules) {
    failed += !one.problem.empty();
    Json row{{"module", one.module}, {"arch", one.arch}, {"ok", one.problem.empty()}};
    if (!one.problem.empty()) row["problem"] = one.problem;
    json["modules"].push_back(std::move(row));
  }
  if (call.json.wanted()) TOOLS_TRY(write_json(call, json));
  if (!call.json.on_stdout()) {
    for (const Exported &one : modules)
      if (!one.problem.empty())
        call.console.print(fmt::format("{}  {} {}\n     {}\n", call.console.paint(Mark::bad, "BAD"),
                                       printable(one.arch), printable(one.module), printable(one.problem)));
    const size_t good = modules.size() - failed;
    call.console.print(fmt::format("{} module{} in {}\n", good, good == 1 ? "" : "s", printable(folder)));
  }
  return static_cast<int>(failed == 0 ? exit_ok : exit_failed_check);
}

}  // namespace

Outcome<int> prune_cache(const InspectCall &call) {
  constexpr int64_t mebibyte = 1 << 20;
  TOOLS_TRY_ASSIGN(std::optional<int64_t> limit, call.options.integer("limit", 0, INT64_MAX / mebibyte));
  return remove_modules(call, "prune", FLASHCORE_REMOVE_UNUSABLE, limit ? *limit * mebibyte : -1);
}

Outcome<int> clear_cache(const InspectCall &call) { return remove_modules(call, "clear", FLASHCORE_REMOVE_ALL, -1); }

Outcome<int> export_modules(const InspectCall &call) {
  const Words folders = call.options.words("argument");
  if (folders.size() != 1 || folders[0].empty())
    return usage_failure(fmt::format("export takes one folder, but {} were given", folders.size()));
  const std::string arch = call.options.text("arch"), kernel = call.options.text("kernel");
  TOOLS_TRY(check_arch("option --arch", arch));
  TOOLS_TRY_ASSIGN(
      int32_t origin,
      call.options.choice("origin",
                          {{"any", 0}, {"shipped", FLASHCORE_ORIGIN_SHIPPED}, {"user", FLASHCORE_ORIGIN_USER_CACHE}},
                          FLASHCORE_ORIGIN_USER_CACHE));
  TOOLS_TRY_ASSIGN(ModuleInfos found, find_modules(call.context));
  std::vector<Exported> exported;
  Progress progress(call.console, "copying modules");
  for (const flashcore_module_info &module : found) {
    if (module.status != FLASHCORE_OK || module.current == 0 || (origin != 0 && module.origin != origin)) continue;
    if ((!arch.empty() && arch != module.arch) || (!kernel.empty() && kernel != module.kernel)) continue;
    flashcore_error error = FLASHCORE_ERROR_INIT;
    const bool done = flashcore_modules_export(module.path, folders[0].c_str(), &error) == FLASHCORE_OK;
    exported.push_back({module.module, module.arch, done ? "" : error.message});
    progress.update(static_cast<int64_t>(exported.size()), static_cast<int64_t>(found.size()));
  }
  return report_export(call, folders[0], exported);
}

}  // namespace flashcore::tools
