// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect: what the subcommands share. Each subcommand is one file with one function; main.cpp picks it,
// module_report.cpp turns a module into rows and JSON. Everything comes from flashcore_inspect.h: no GPU, no driver, no
// CUDA.
#pragma once

#include <flashcore/flashcore_inspect.h>

#include <boost/program_options.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/outcome.hpp"

namespace flashcore::tools {

using Json = nlohmann::ordered_json;  // keys stay in the order they were written: "schema" first

struct InspectCall {
  const Options &options;
  const Console &console;
  const flashcore_context_options &context;
};

// Each returns the exit code of a run that came to its end.
Outcome<int> list_modules(const InspectCall &call);
Outcome<int> show_module(const InspectCall &call);
Outcome<int> show_model(const InspectCall &call);  // show --model
Outcome<int> verify_modules(const InspectCall &call);
Outcome<int> compile_modules(const InspectCall &call);
Outcome<int> show_environment(const InspectCall &call);

// --- module_report.cpp
// ------------------------------------------------------------------------------------------------

using ModuleInfos = std::vector<flashcore_module_info>;
Outcome<ModuleInfos> find_modules(const flashcore_context_options &context);

const char *origin_name(int32_t origin);       // "shipped", "user cache"
int32_t arch_number(const std::string &arch);  // 89 of "sm_89", 90 of "sm_90a"
// Shared memory that a block may use on `arch` ("sm_89") after the opt-in; 0: an architecture that this table does not
// know.
int64_t shared_limit_bytes(const std::string &arch);
bool spills(const flashcore_module_info &module);
bool exceeds_shared_limit(const flashcore_module_info &module);

Json module_json(const flashcore_module_info &module);
Json schema_json(const std::string &subcommand);  // {"schema": "flashcore.inspect.<subcommand>/1"}
void print_json(const Console &console, const Json &json);

}  // namespace flashcore::tools
