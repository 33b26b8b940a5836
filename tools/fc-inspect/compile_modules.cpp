// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect compile: every module of the named architectures, or those of one kernel, into a folder, with NVRTC and without a
// GPU. The build makes the shipped modules with it; anyone can make them for another architecture. fc-inspect warm: the same for the user
// cache, as far as no folder has them.
#include <fmt/format.h>

#include <algorithm>

#include "../common/output_file.hpp"
#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct CompiledModule {
  flashcore_module_info info;
  int64_t compile_us;  // 0: it was there
};

struct Compilation {
  std::string arch;
  std::vector<CompiledModule> modules;
  int64_t compile_us = 0;
  Progress *progress = nullptr;
};

int32_t on_module(void *user, int32_t done, int32_t total, const flashcore_module_info *module, int64_t compile_us) {
  auto *compilation = static_cast<Compilation *>(user);
  compilation->modules.push_back({*module, compile_us});
  compilation->compile_us += compile_us;
  compilation->progress->update(done, total, module->module);
  return interrupted() ? 1 : 0;
}

// No directory: the user cache.
Outcome<Compilation> compile_arch(const InspectCall &call, const std::string &arch, const char *directory) {
  Compilation compilation;
  compilation.arch = arch;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  Progress progress(call.console, fmt::format("compiling for {}", arch));
  compilation.progress = &progress;
  const std::string kernel = call.options.text("kernel");
  flashcore_status status = flashcore_modules_compile(&call.context, kernel.c_str(), arch.c_str(), directory, on_module,
                                                      &compilation, &error);
  compilation.progress = nullptr;
  if (interrupted())
    return Failure{exit_interrupted,
                   fmt::format("stopped; {} modules for {} are complete in {}", compilation.modules.size(), arch,
                               directory == nullptr ? "the user cache" : directory)};
  if (status != FLASHCORE_OK) return library_failure(fmt::format("compile the modules of {}", arch), error);
  return compilation;
}

Json compilation_json(const Compilation &compilation) {
  Json json{{"arch", compilation.arch}, {"compile_us", compilation.compile_us}, {"modules", Json::array()}};
  for (const CompiledModule &module : compilation.modules) {
    Json one = module_json(module.info);
    one["compile_us"] = module.compile_us;
    json["modules"].push_back(std::move(one));
  }
  return json;
}

// Of one kernel, or of one module: what a person who tunes it looks at.
std::string table(const InspectCall &call, const Compilation &compilation) {
  if (!call.options.has("kernel") || compilation.modules.empty()) return "";
  std::vector<const flashcore_module_info *> modules;
  for (const CompiledModule &module : compilation.modules) modules.push_back(&module.info);
  return module_table(call.console, modules);
}

std::string summary(const InspectCall &call, const Compilation &compilation) {
  if (compilation.modules.empty())  // a whole module's name is refused there
    return fmt::format("{}: no modules of {}, which does not run there", compilation.arch, call.options.text("kernel"));
  const std::string time = compilation.compile_us == 0
                               ? "all there before"
                               : format_duration_us(static_cast<double>(compilation.compile_us)) + " in the compiler";
  const std::string place = call.options.has("output")
                                ? fmt::format("{}/{}", printable(call.options.text("output")), compilation.arch)
                                : "folders and user cache";
  return fmt::format("{}: {} module{} in {}, {}", compilation.arch, compilation.modules.size(),
                     compilation.modules.size() == 1 ? "" : "s", place, time);
}

Step check_words(const InspectCall &call, const Words &archs) {
  for (const std::string &arch : archs)  // all of them before the first is compiled
    if (Step known = check_arch("architecture", arch); !known.ok())
      return usage_failure(known.failure().message + " (INVALID_ARGUMENT)");
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (call.options.has("kernel") &&
      flashcore_kernel_check_name(call.options.text("kernel").c_str(), &error) != FLASHCORE_OK)
    return usage_failure(error.message);
  return Done{};
}

Outcome<int> compile_archs(const InspectCall &call, Json json, const Words &archs, const char *directory) {
  handle_interrupts(OnInterrupt::finish_step);
  json["architectures"] = Json::array();
  for (const std::string &arch : archs) {
    TOOLS_TRY_ASSIGN(Compilation compilation, compile_arch(call, arch, directory));
    json["architectures"].push_back(compilation_json(compilation));
    if (!call.json.on_stdout()) call.console.print(table(call, compilation) + summary(call, compilation) + "\n");
  }
  if (call.json.wanted()) TOOLS_TRY(write_json(call, json));
  return static_cast<int>(exit_ok);
}

// What the GPUs of this machine run, each once.
Words archs_here() {
  Words archs;
  int32_t count = 0;
  if (flashcore_device_count(&count, nullptr) != FLASHCORE_OK) return archs;
  for (int32_t ordinal = 0; ordinal < count; ++ordinal) {
    flashcore_device_info info{};
    info.struct_size = sizeof(info);
    if (flashcore_device_describe(ordinal, &info, nullptr) != FLASHCORE_OK) continue;
    const std::string arch = module_arch(info.arch);
    if (std::find(archs.begin(), archs.end(), arch) == archs.end()) archs.push_back(arch);
  }
  return archs;
}

}  // namespace

Outcome<int> compile_modules(const InspectCall &call) {
  Words archs = call.options.words("argument");
  std::string directory = call.options.text("output");
  if (archs.empty()) return usage_failure("compile needs at least one architecture, such as sm_89");
  TOOLS_TRY(check_words(call, archs));
  if (directory.empty()) return usage_failure("compile needs --output FOLDER; the modules go to FOLDER/<architecture>");
  Json json = schema_json("compile");
  json["directory"] = directory;
  return compile_archs(call, std::move(json), archs, directory.c_str());
}

Outcome<int> warm_modules(const InspectCall &call) {
  Words archs = call.options.words("argument");
  TOOLS_TRY(check_words(call, archs));
  if (archs.empty()) archs = archs_here();
  if (archs.empty())
    return Failure{exit_no_device,
                   "there is no GPU here to compile modules for; name an architecture, as in fc-inspect warm sm_89"};
  return compile_archs(call, schema_json("warm"), archs, nullptr);
}

}  // namespace flashcore::tools
