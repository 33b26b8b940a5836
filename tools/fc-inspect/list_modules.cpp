// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect list: one line per module, in one table per architecture, place and compiler, so that what is the same for
// all rows is said once above them. Files that cannot be used follow with the check that they failed.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct Filter {
  std::string arch, kernel;
  int32_t origin = 0;  // 0: any
  bool all = false;    // also what this version of the library does not ask for
};

bool passes(const Filter &filter, const flashcore_module_info &module) {
  if (filter.origin != 0 && module.origin != filter.origin) return false;
  if (module.status != FLASHCORE_OK) return filter.arch.empty() && filter.kernel.empty();
  return (filter.arch.empty() || filter.arch == module.arch) &&
         (filter.kernel.empty() || filter.kernel == module.kernel) && (filter.all || module.current != 0);
}

// The folder that holds the modules of one origin: the part of the path before the architecture's own folder.
std::string root_of(const flashcore_module_info &module) {
  std::string path = std::filesystem::path(module.path).lexically_normal().string();
  size_t at = path.rfind(fmt::format("/{}/", module.arch));
  return at == std::string::npos ? path.substr(0, path.rfind('/')) : path.substr(0, at);
}

// "16/32"; "?" where the compiler left no record of its spills.
std::string spill_text(const flashcore_kernel_resources &resources) {
  if (resources.spill_store_bytes < 0) return "?";
  return fmt::format("{}/{}", resources.spill_store_bytes, resources.spill_load_bytes);
}

std::vector<Cell> module_row(const flashcore_module_info &module) {
  const flashcore_kernel_resources &resources = module.resources;
  Mark shared = exceeds_shared_limit(module) ? Mark::bad : Mark::plain;
  bool spilled = spills(module);
  int32_t threads = resources.max_threads_per_block > 0 ? resources.max_threads_per_block : resources.required_threads;
  return {{module.module},
          {std::to_string(resources.registers)},
          {group_digits(resources.static_shared_bytes), shared},
          {group_digits(resources.dynamic_shared_bytes) + (shared == Mark::bad ? " !" : ""), shared},
          {spill_text(resources) + (spilled ? " !" : ""), spilled ? Mark::bad : Mark::plain},
          {std::to_string(resources.stack_bytes)},
          {threads > 0 ? std::to_string(threads) : "-"},
          {group_digits(module.cubin_bytes)},
          {group_digits(module.compressed_bytes)}};
}

std::string group_table(const Console &console, const std::vector<const flashcore_module_info *> &modules) {
  Table table({{"module", Align::left},
               {"regs"},
               {"static\nshared"},
               {"dynamic\nshared"},
               {"spills\nst/ld"},
               {"stack"},
               {"max\nthreads"},
               {"cubin"},
               {"cubin\nin file"}});
  for (const flashcore_module_info *module : modules) table.add_row(module_row(*module));
  return table.render(console);
}

void print_group(const Console &console, const std::vector<const flashcore_module_info *> &modules) {
  const flashcore_module_info &first = *modules.front();
  int64_t file_bytes = 0;
  bool spilled = false, too_large = false;
  for (const flashcore_module_info *module : modules) {
    file_bytes += module->file_bytes;
    spilled |= spills(*module);
    too_large |= exceeds_shared_limit(*module);
  }
  std::string title =
      fmt::format("{}: {} {}module{}, {}", first.arch, modules.size(), first.current != 0 ? "" : "other version's ",
                  modules.size() == 1 ? "" : "s", format_bytes(file_bytes));
  console.print(console.paint(Mark::heading, title) + fmt::format(", compiled by {}\n  {}: {}\n  sizes in bytes\n\n",
                                                                  first.compiler, origin_name(first.origin),
                                                                  root_of(first)));
  console.print(group_table(console, modules));
  if (spilled) console.print(console.paint(Mark::bad, "! spills registers to memory (bytes stored/loaded)") + "\n");
  if (too_large)
    console.print(console.paint(Mark::bad, "! needs more shared memory than a block of its architecture may have") +
                  "\n");
}

// What the rows of one table have in common, in the order of the tables.
using Group = std::tuple<int32_t, int32_t, int32_t, std::string, std::string, std::string>;
Group group_of(const flashcore_module_info &module) {
  return {-module.current, module.origin, arch_number(module.arch), module.arch, root_of(module), module.compiler};
}

void print_summary(const Console &console, const ModuleInfos &shown, size_t unusable) {
  int64_t file_bytes = 0;
  size_t spilled = 0, too_large = 0;
  for (const flashcore_module_info &module : shown) {
    file_bytes += module.file_bytes;
    spilled += spills(module);
    too_large += exceeds_shared_limit(module);
  }
  const bool good = spilled + too_large + unusable == 0;
  std::string text = fmt::format(
      "{} files, {}: {} spill registers, {} need more shared memory than their architecture has, {} are not usable",
      shown.size(), format_bytes(file_bytes), spilled, too_large, unusable);
  console.print(fmt::format("\n{}\n", console.paint(good ? Mark::good : Mark::bad, text)));
}

void print_report(const InspectCall &call, const ModuleInfos &shown, size_t hidden) {
  std::map<Group, std::vector<const flashcore_module_info *>> groups;
  std::vector<const flashcore_module_info *> unusable;
  for (const flashcore_module_info &module : shown) {
    if (module.status != FLASHCORE_OK)
      unusable.push_back(&module);
    else
      groups[group_of(module)].push_back(&module);
  }
  bool first = true;
  for (const auto &[group, modules] : groups) {
    if (!first) call.console.print("\n");
    first = false;
    print_group(call.console, modules);
  }
  if (!unusable.empty())
    call.console.print(std::string(first ? "" : "\n") + call.console.paint(Mark::heading, "not usable") + "\n");
  for (const flashcore_module_info *module : unusable)
    call.console.print(fmt::format("  {}\n    {}\n", module->path, call.console.paint(Mark::bad, module->problem)));
  if (!shown.empty()) print_summary(call.console, shown, unusable.size());
  if (hidden > 0)
    call.console.note(fmt::format("{} module{} of another version of flashcore not shown; --all shows them", hidden,
                                  hidden == 1 ? "" : "s"));
}

}  // namespace

Outcome<int> list_modules(const InspectCall &call) {
  Filter filter;
  filter.arch = call.options.text("arch");
  filter.kernel = call.options.text("kernel");
  filter.all = call.options.flag("all");
  TOOLS_TRY_ASSIGN(
      filter.origin,
      call.options.choice(
          "origin", {{"any", 0}, {"shipped", FLASHCORE_ORIGIN_SHIPPED}, {"user", FLASHCORE_ORIGIN_USER_CACHE}}, 0));
  TOOLS_TRY_ASSIGN(ModuleInfos found, find_modules(call.context));
  Filter with_stale = filter;
  with_stale.all = true;
  ModuleInfos shown;
  size_t hidden = 0;
  for (const flashcore_module_info &module : found) {
    if (passes(filter, module))
      shown.push_back(module);
    else if (passes(with_stale, module))
      ++hidden;
  }
  if (call.options.flag("json")) {
    Json json = schema_json("list");
    json["hidden_modules"] = hidden;
    json["modules"] = Json::array();
    for (const flashcore_module_info &module : shown) json["modules"].push_back(module_json(module));
    print_json(call.console, json);
  } else if (shown.empty() && hidden > 0) {
    call.console.print(fmt::format(
        "{} of the {} modules found are for another version of flashcore; --all shows them.\n", hidden, found.size()));
  } else if (shown.empty() && !found.empty()) {
    call.console.print(fmt::format("None of the {} modules found fits these options.\n", found.size()));
  } else if (shown.empty()) {
    call.console.print("No module was found. fc-inspect doctor says where the library looks and what to do.\n");
  } else {
    print_report(call, shown, hidden);
  }
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
