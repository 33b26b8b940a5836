// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect: what the subcommands share. Each subcommand, or what belongs together, is one file; main.cpp picks it,
// module_report.cpp turns a module into rows and JSON. But for doctor everything comes from flashcore_inspect.h: no GPU, no
// driver, no CUDA.
#pragma once

#include <flashcore/flashcore_inspect.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../common/arch.hpp"
#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/outcome.hpp"

namespace flashcore::tools {

using Json = nlohmann::ordered_json;  // keys stay in the order they were written: "schema" first

struct InspectCall {
  const Options &options;
  const Console &console;
  const flashcore_context_options &context;
  JsonOutput &json;
};

// Each returns the exit code of a run that came to its end.
Outcome<int> list_modules(const InspectCall &call);
Outcome<int> show_overview(const InspectCall &call);
Outcome<int> show_module(const InspectCall &call);
Outcome<int> show_model(const InspectCall &call);  // show --model
Outcome<int> verify_modules(const InspectCall &call);
Outcome<int> compile_modules(const InspectCall &call);
Outcome<int> warm_modules(const InspectCall &call);
Outcome<int> prune_cache(const InspectCall &call);
Outcome<int> clear_cache(const InspectCall &call);
Outcome<int> export_modules(const InspectCall &call);
Outcome<int> show_environment(const InspectCall &call);

// --- module_report.cpp ---------------------------------------------------------------------------------------------

using ModuleInfos = std::vector<flashcore_module_info>;
Outcome<ModuleInfos> find_modules(const flashcore_context_options &context);

const char *origin_name(int32_t origin);  // "shipped", "user cache"
bool spills(const flashcore_module_info &module);
bool exceeds_shared_limit(const flashcore_module_info &module);

// One line for each: registers, shared memory, spills, sizes.
std::string module_table(const Console &console, const std::vector<const flashcore_module_info *> &modules);
Json module_json(const flashcore_module_info &module);
Json schema_json(const std::string &subcommand);             // {"schema": "flashcore.inspect.<subcommand>/1"}
Step write_json(const InspectCall &call, const Json &json);  // to where --json says

}  // namespace flashcore::tools
