// SPDX-License-Identifier: Apache-2.0
//
// Modules as data: the list from the library, rows of a table, the JSON of one module, and the two judgements that the reports mark.
#include <fmt/format.h>

#include "inspect.hpp"

namespace flashcore::tools {
namespace {

// "16/32"; "?" where the compiler left no record of its spills.
std::string spill_text(const flashcore_kernel_resources &resources) {
  if (resources.spill_store_bytes < 0) return "?";
  return fmt::format("{}/{}", resources.spill_store_bytes, resources.spill_load_bytes);
}

std::string kib_text(int64_t bytes) { return fmt::format("{:.1f}", static_cast<double>(bytes) / 1024); }

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
          {kib_text(module.cubin_bytes)},
          {kib_text(module.compressed_bytes)}};
}

}  // namespace

Outcome<ModuleInfos> find_modules(const flashcore_context_options &context) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_module_list list = nullptr;
  if (flashcore_module_list_create(&context, &list, &error) != FLASHCORE_OK)
    return library_failure("list the modules", error);
  ModuleInfos modules;
  int64_t count = flashcore_module_list_count(list);
  for (int64_t i = 0; i < count && error.status == FLASHCORE_OK; ++i) {
    flashcore_module_info info{};
    info.struct_size = sizeof(info);
    if (flashcore_module_list_get(list, i, &info, &error) == FLASHCORE_OK) modules.push_back(info);
  }
  flashcore_module_list_destroy(list);
  if (error.status != FLASHCORE_OK) return library_failure("read the list of modules", error);
  return modules;
}

const char *origin_name(int32_t origin) {
  return origin == FLASHCORE_ORIGIN_SHIPPED ? "shipped" : origin == FLASHCORE_ORIGIN_USER_CACHE ? "user cache" : "file";
}

bool spills(const flashcore_module_info &module) {
  return module.resources.spill_store_bytes > 0 || module.resources.spill_load_bytes > 0;
}

bool exceeds_shared_limit(const flashcore_module_info &module) {
  int64_t limit = shared_limit_bytes(module.arch);
  return limit > 0 && module.resources.static_shared_bytes + module.resources.dynamic_shared_bytes > limit;
}

std::string module_table(const Console &console, const std::vector<const flashcore_module_info *> &modules) {
  Table table({{"module", Align::left},
               {"regs"},
               {"static\nshared"},
               {"dynamic\nshared"},
               {"spills\nst/ld"},
               {"stack"},
               {"max\nthreads"},
               {"cubin\nKiB"},
               {"in file\nKiB"}});
  for (const flashcore_module_info *module : modules) table.add_row(module_row(*module));
  return table.render(console);
}

Json module_json(const flashcore_module_info &module) {
  Json json;
  json["path"] = module.path;
  json["origin"] = origin_name(module.origin);
  json["status"] = flashcore_status_name(module.status);
  json["file_bytes"] = module.file_bytes;
  if (module.status != FLASHCORE_OK) {
    json["problem"] = module.problem;
    return json;
  }
  const flashcore_kernel_resources &resources = module.resources;
  json["module"] = module.module;
  json["kernel"] = module.kernel;
  json["arch"] = module.arch;
  json["current"] = module.current != 0;
  json["key"] = module.key;
  json["compiler"] = module.compiler;
  json["compiler_id"] = module.compiler_id;
  json["cubin_sha256"] = module.cubin_sha256;
  json["cubin_bytes"] = module.cubin_bytes;
  json["compressed_bytes"] = module.compressed_bytes;
  json["modified_unix_seconds"] = module.modified_unix_seconds;
  json["compile_us"] = module.compile_us;
  json["registers"] = resources.registers;
  json["static_shared_bytes"] = resources.static_shared_bytes;
  json["dynamic_shared_bytes"] = resources.dynamic_shared_bytes;
  json["shared_limit_bytes"] = shared_limit_bytes(module.arch);
  json["spill_store_bytes"] = resources.spill_store_bytes;
  json["spill_load_bytes"] = resources.spill_load_bytes;
  json["stack_bytes"] = resources.stack_bytes;
  json["parameter_bytes"] = resources.parameter_bytes;
  json["constant_bytes"] = resources.constant_bytes;
  json["code_bytes"] = resources.code_bytes;
  json["max_threads_per_block"] = resources.max_threads_per_block;
  json["required_threads"] = resources.required_threads;
  json["barriers"] = resources.barriers;
  return json;
}

Json schema_json(const std::string &subcommand) {
  return Json{{"schema", fmt::format("flashcore.inspect.{}/1", subcommand)}};
}

Step write_json(const InspectCall &call, const Json &json) {
  // Paths may hold any bytes: what is not UTF-8 is replaced instead of thrown about.
  return call.json.write(call.console, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace flashcore::tools
