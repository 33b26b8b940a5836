// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect compile: every module of the named architectures into a folder, with NVRTC and without a GPU. The build
// makes the shipped modules with it; anyone can make them for another architecture.
#include <fmt/format.h>

#include "../common/output_file.hpp"
#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct CompiledModule {
  std::string name;
  int64_t compile_us;
};

struct Compilation {
  std::string arch;
  std::vector<CompiledModule> modules;
  int64_t compile_us = 0;
  Progress *progress = nullptr;
};

int32_t on_module(void *user, int32_t done, int32_t total, const char *module, int64_t compile_us) {
  auto *compilation = static_cast<Compilation *>(user);
  compilation->modules.push_back({module, compile_us});
  compilation->compile_us += compile_us;
  compilation->progress->update(done, total, module);
  return interrupted() ? 1 : 0;
}

Outcome<Compilation> compile_arch(const InspectCall &call, const std::string &arch, const std::string &directory) {
  Compilation compilation;
  compilation.arch = arch;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  Progress progress(call.console, fmt::format("compiling for {}", arch));
  compilation.progress = &progress;
  flashcore_status status =
      flashcore_modules_compile(&call.context, arch.c_str(), directory.c_str(), on_module, &compilation, &error);
  compilation.progress = nullptr;
  if (interrupted())
    return Failure{exit_interrupted, fmt::format("stopped; {} modules for {} are complete in {}",
                                                 compilation.modules.size(), arch, directory)};
  if (status != FLASHCORE_OK) return library_failure(fmt::format("compile the modules of {}", arch), error);
  return compilation;
}

Json compilation_json(const Compilation &compilation) {
  Json json{{"arch", compilation.arch}, {"compile_us", compilation.compile_us}, {"modules", Json::array()}};
  for (const CompiledModule &module : compilation.modules)
    json["modules"].push_back(Json{{"module", module.name}, {"compile_us", module.compile_us}});
  return json;
}

}  // namespace

Outcome<int> compile_modules(const InspectCall &call) {
  Words archs = call.options.words("argument");
  std::string directory = call.options.text("output");
  if (archs.empty()) return usage_failure("compile needs at least one architecture, such as sm_89");
  for (const std::string &arch : archs)  // all of them before the first is compiled
    if (Step known = check_arch("architecture", arch); !known.ok())
      return usage_failure(known.failure().message + " (INVALID_ARGUMENT)");
  if (directory.empty()) return usage_failure("compile needs --output FOLDER; the modules go to FOLDER/<architecture>");
  handle_interrupts(OnInterrupt::finish_step);
  Json json = schema_json("compile");
  json["directory"] = directory;
  json["architectures"] = Json::array();
  for (const std::string &arch : archs) {
    TOOLS_TRY_ASSIGN(Compilation compilation, compile_arch(call, arch, directory));
    json["architectures"].push_back(compilation_json(compilation));
    if (!call.json.on_stdout())
      call.console.print(fmt::format("{}: {} modules in {}/{}, {} in the compiler\n", arch, compilation.modules.size(),
                                     printable(directory), arch,
                                     format_duration_us(static_cast<double>(compilation.compile_us))));
  }
  if (call.json.wanted()) TOOLS_TRY(write_json(call, json));
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
