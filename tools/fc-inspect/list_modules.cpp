// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect list: one line per module, in one table per architecture, place and compiler, so that what is the same for
// all rows is said once above them. fc-inspect overview: one line per kernel and architecture instead. Files that cannot be used follow
// with the check that they failed.
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

// What the modules of a kernel, architecture and place have in common.
struct KernelRow {
  size_t modules = 0, spilled = 0, too_large = 0;
  int32_t fewest_registers = INT32_MAX, most_registers = 0;
  int64_t most_shared_bytes = 0, file_bytes = 0;

  void add(const flashcore_module_info &module) {
    const flashcore_kernel_resources &resources = module.resources;
    ++modules;
    spilled += spills(module);
    too_large += exceeds_shared_limit(module);
    fewest_registers = std::min(fewest_registers, resources.registers);
    most_registers = std::max(most_registers, resources.registers);
    most_shared_bytes =
        std::max<int64_t>(most_shared_bytes, resources.static_shared_bytes + resources.dynamic_shared_bytes);
    file_bytes += module.file_bytes;
  }
};
using KernelKey = std::tuple<int32_t, int32_t, std::string, std::string, int32_t>;  // in the order of the rows
using KernelRows = std::map<KernelKey, KernelRow>;

KernelRows kernel_rows(const ModuleInfos &shown) {
  KernelRows rows;
  for (const flashcore_module_info &module : shown)
    if (module.status == FLASHCORE_OK)
      rows[{-module.current, arch_number(module.arch), module.arch, module.kernel, module.origin}].add(module);
  return rows;
}

std::string kernel_table(const Console &console, const KernelRows &rows) {
  Table table({{"arch", Align::left},
               {"kernel", Align::left},
               {"modules"},
               {"regs"},
               {"largest\nshared"},
               {"spilling"},
               {"files"},
               {"from", Align::left}});
  for (const auto &[key, row] : rows) {
    const auto &[stale, number, arch, kernel, origin] = key;
    const std::string registers = row.fewest_registers == row.most_registers
                                      ? fmt::format("{}", row.most_registers)
                                      : fmt::format("{} to {}", row.fewest_registers, row.most_registers);
    table.add_row({{arch},
                   {kernel},
                   {fmt::format("{}", row.modules)},
                   {registers},
                   {group_digits(row.most_shared_bytes) + (row.too_large > 0 ? " !" : ""),
                    row.too_large > 0 ? Mark::bad : Mark::plain},
                   {fmt::format("{}", row.spilled), row.spilled > 0 ? Mark::bad : Mark::plain},
                   {format_bytes(row.file_bytes)},
                   {fmt::format("{}{}", origin_name(origin), stale == 0 ? ", another version's" : "")}});
  }
  return table.render(console);
}

Json kernel_rows_json(const KernelRows &rows) {
  Json json = Json::array();
  for (const auto &[key, row] : rows) {
    const auto &[stale, number, arch, kernel, origin] = key;
    json.push_back(Json{{"arch", arch},
                        {"kernel", kernel},
                        {"origin", origin_name(origin)},
                        {"current", stale != 0},
                        {"modules", row.modules},
                        {"fewest_registers", row.fewest_registers},
                        {"most_registers", row.most_registers},
                        {"most_shared_bytes", row.most_shared_bytes},
                        {"spilling_modules", row.spilled},
                        {"too_large_modules", row.too_large},
                        {"file_bytes", row.file_bytes}});
  }
  return json;
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
  std::string title = fmt::format("{}: {} {}module{}, {}", printable(first.arch), modules.size(),
                                  first.current != 0 ? "" : "other version's ", modules.size() == 1 ? "" : "s",
                                  format_bytes(file_bytes));
  console.print(console.paint(Mark::heading, title) + fmt::format(", compiled by {}\n  {}: {}\n  sizes in bytes\n\n",
                                                                  printable(first.compiler), origin_name(first.origin),
                                                                  printable(root_of(first))));
  console.print(module_table(console, modules));
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
  console.print("\n");
  for (const std::string &line : wrap_words(text, terminal_columns().value_or(SIZE_MAX)))
    console.print(console.paint(good ? Mark::good : Mark::bad, line) + "\n");
}

void print_tables(const InspectCall &call, const ModuleInfos &shown) {
  std::map<Group, std::vector<const flashcore_module_info *>> groups;
  for (const flashcore_module_info &module : shown)
    if (module.status == FLASHCORE_OK) groups[group_of(module)].push_back(&module);
  bool first = true;
  for (const auto &[group, modules] : groups) {
    if (!first) call.console.print("\n");
    first = false;
    print_group(call.console, modules);
  }
}

void print_end(const InspectCall &call, const ModuleInfos &shown, size_t hidden) {
  size_t unusable = 0;
  for (const flashcore_module_info &module : shown) {
    if (module.status == FLASHCORE_OK) continue;
    if (unusable++ == 0)
      call.console.print(std::string(shown.size() == 1 ? "" : "\n") + call.console.paint(Mark::heading, "not usable") +
                         "\n");
    call.console.print(fmt::format("  {}\n    {}\n", printable(module.path),
                                   call.console.paint(Mark::bad, printable(module.problem))));
  }
  print_summary(call.console, shown, unusable);
  if (hidden > 0)
    call.console.note(fmt::format("{} module{} of another version of flashcore not shown; --all shows them", hidden,
                                  hidden == 1 ? "" : "s"));
}

struct Found {
  ModuleInfos shown;
  size_t all = 0, hidden = 0;  // hidden: they would be shown with --all
};

Outcome<Found> find_wanted(const InspectCall &call) {
  Filter filter;
  filter.arch = call.options.text("arch");
  filter.kernel = call.options.text("kernel");
  filter.all = call.options.flag("all");
  // A folder may hold modules of an architecture to come, so that this is no error here.
  if (const Step known = check_arch("option --arch", filter.arch); !known.ok())
    call.console.note(known.failure().message);
  TOOLS_TRY_ASSIGN(
      filter.origin,
      call.options.choice(
          "origin", {{"any", 0}, {"shipped", FLASHCORE_ORIGIN_SHIPPED}, {"user", FLASHCORE_ORIGIN_USER_CACHE}}, 0));
  TOOLS_TRY_ASSIGN(const ModuleInfos modules, find_modules(call.context));
  Filter with_stale = filter;
  with_stale.all = true;
  Found found;
  found.all = modules.size();
  for (const flashcore_module_info &module : modules) {
    if (passes(filter, module))
      found.shown.push_back(module);
    else if (passes(with_stale, module))
      ++found.hidden;
  }
  return found;
}

// Said instead of a table that would be empty.
void print_nothing(const Console &console, const Found &found) {
  if (found.hidden > 0)
    console.print(fmt::format("{} of the {} modules found are for another version of flashcore; --all shows them.\n",
                              found.hidden, found.all));
  else if (found.all > 0)
    console.print(fmt::format("None of the {} modules found fits these options.\n", found.all));
  else
    console.print("No module was found. fc-inspect doctor says where the library looks and what to do.\n");
}

}  // namespace

Outcome<int> list_modules(const InspectCall &call) {
  TOOLS_TRY_ASSIGN(const Found found, find_wanted(call));
  if (call.json.wanted()) {
    Json json = schema_json("list");
    json["hidden_modules"] = found.hidden;
    json["modules"] = Json::array();
    for (const flashcore_module_info &module : found.shown) json["modules"].push_back(module_json(module));
    TOOLS_TRY(write_json(call, json));
  }
  if (call.json.on_stdout()) return static_cast<int>(exit_ok);
  if (found.shown.empty()) {
    print_nothing(call.console, found);
  } else {
    print_tables(call, found.shown);
    print_end(call, found.shown, found.hidden);
  }
  return static_cast<int>(exit_ok);
}

Outcome<int> show_overview(const InspectCall &call) {
  TOOLS_TRY_ASSIGN(const Found found, find_wanted(call));
  const KernelRows rows = kernel_rows(found.shown);
  if (call.json.wanted()) {
    Json json = schema_json("overview");
    json["hidden_modules"] = found.hidden;
    json["unusable_files"] = std::count_if(found.shown.begin(), found.shown.end(),
                                           [](const auto &module) { return module.status != FLASHCORE_OK; });
    json["kernels"] = kernel_rows_json(rows);
    TOOLS_TRY(write_json(call, json));
  }
  if (call.json.on_stdout()) return static_cast<int>(exit_ok);
  if (found.shown.empty()) {
    print_nothing(call.console, found);
    return static_cast<int>(exit_ok);
  }
  if (!rows.empty()) call.console.print(kernel_table(call.console, rows));
  print_end(call, found.shown, found.hidden);
  call.console.print("fc-inspect list has a line for each of them.\n");
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
