// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect verify: every check that the library makes before it trusts a module file, on all modules it would find or
// on the files and folders that were named.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct Verdict {
  std::string path, module, arch;
  std::string problem;      // empty: OK
  bool unreadable = false;  // it could not even be opened
};

Verdict verify_file(const std::string &path) {
  flashcore_module_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  Verdict verdict;
  verdict.path = path;
  flashcore_status status = flashcore_module_read(path.c_str(), &info, nullptr, nullptr, &error);
  if (status == FLASHCORE_OK) {
    verdict.module = info.module;
    verdict.arch = info.arch;
  } else {
    verdict.problem = error.message[0] != '\0' ? error.message : flashcore_status_sentence(status);
    verdict.unreadable = status != FLASHCORE_MODULE_CORRUPT;
  }
  return verdict;
}

// The .fcm files that `path` names: itself, or all below it. Sorted.
Outcome<Words> files_of(const std::string &path) {
  namespace fs = std::filesystem;
  std::error_code code;
  fs::file_status status = fs::status(path, code);
  if (!fs::exists(status))
    return input_failure(fmt::format("{}: {}", path, code ? code.message() : "no such file or folder"));
  if (!fs::is_directory(status)) return Words{path};
  Words files;
  fs::recursive_directory_iterator walk(path, code), end;
  while (!code && walk != end) {
    if (walk->path().extension() == ".fcm") files.push_back(walk->path().string());
    walk.increment(code);
  }
  if (code) return input_failure(fmt::format("{}: the folder cannot be read: {}", path, code.message()));
  std::sort(files.begin(), files.end());
  return files;
}

Outcome<Words> files_to_verify(const InspectCall &call) {
  Words files;
  if (call.options.has("argument")) {
    for (const std::string &path : call.options.words("argument")) {
      TOOLS_TRY_ASSIGN(Words found, files_of(path));
      if (found.empty()) return input_failure(fmt::format("{}: the folder holds no .fcm file", path));
      files.insert(files.end(), found.begin(), found.end());
    }
    return files;
  }
  TOOLS_TRY_ASSIGN(ModuleInfos modules, find_modules(call.context));
  for (const flashcore_module_info &module : modules) files.push_back(module.path);
  return files;
}

Step report_verdicts(const InspectCall &call, const std::vector<Verdict> &verdicts, size_t bad) {
  if (call.json.wanted()) {
    Json json = schema_json("verify");
    json["checked"] = verdicts.size();
    json["bad"] = bad;
    json["files"] = Json::array();
    for (const Verdict &verdict : verdicts) {
      Json row{{"path", verdict.path}, {"ok", verdict.problem.empty()}};
      if (verdict.problem.empty())
        row.update(Json{{"module", verdict.module}, {"arch", verdict.arch}});
      else
        row["problem"] = verdict.problem;
      json["files"].push_back(row);
    }
    TOOLS_TRY(write_json(call, json));
  }
  if (call.json.on_stdout()) return Done{};
  for (const Verdict &verdict : verdicts) {
    if (verdict.problem.empty())
      call.console.print(fmt::format("{}   {:6}  {}\n", call.console.paint(Mark::good, "OK"), printable(verdict.arch),
                                     printable(verdict.module)));
    else
      call.console.print(fmt::format("{}  {}\n     {}\n", call.console.paint(Mark::bad, "BAD"), printable(verdict.path),
                                     printable(verdict.problem)));
  }
  if (verdicts.empty())
    call.console.print("No module was found, so none was checked. fc-inspect doctor says where the library looks.\n");
  else
    call.console.print(
        fmt::format("{} module file{} checked, {} bad\n", verdicts.size(), verdicts.size() == 1 ? "" : "s", bad));
  return Done{};
}

}  // namespace

Outcome<int> verify_modules(const InspectCall &call) {
  TOOLS_TRY_ASSIGN(Words files, files_to_verify(call));
  std::vector<Verdict> verdicts;
  {
    Progress progress(call.console, "checking modules");
    for (const std::string &path : files) {
      verdicts.push_back(verify_file(path));
      progress.update(static_cast<int64_t>(verdicts.size()), static_cast<int64_t>(files.size()));
    }
  }
  auto is_bad = [](const Verdict &verdict) { return !verdict.problem.empty(); };
  auto is_unreadable = [](const Verdict &verdict) { return verdict.unreadable; };
  size_t bad = static_cast<size_t>(std::count_if(verdicts.begin(), verdicts.end(), is_bad));
  TOOLS_TRY(report_verdicts(call, verdicts, bad));
  // A file that was named and cannot be opened says nothing about modules: that is bad input, not a failed check.
  bool only_unreadable =
      bad > 0 && static_cast<size_t>(std::count_if(verdicts.begin(), verdicts.end(), is_unreadable)) == bad;
  return static_cast<int>(bad == 0 ? exit_ok : only_unreadable ? exit_bad_input : exit_failed_check);
}

}  // namespace flashcore::tools
