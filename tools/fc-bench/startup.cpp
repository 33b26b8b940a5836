// SPDX-License-Identifier: Apache-2.0
//
// --startup, the parent's side: starts this program again for each case, with module folders that leave one layer only,
// and collects the times that the processes print. It opens no device itself, which would keep the driver warm for
// them. Their side is startup_child.cpp.
#include <stdlib.h>

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "../common/child_process.hpp"
#include "../common/output_file.hpp"
#include "../common/statistics.hpp"
#include "opened_device.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t default_runs = 5;
constexpr int timeout_seconds = 300;

// A folder of our own that is gone afterwards.
class TemporaryFolder {
 public:
  static Outcome<TemporaryFolder> make() {
    std::error_code code;
    std::string path = (std::filesystem::temp_directory_path(code) / "fc-bench-XXXXXX").string();
    if (code || mkdtemp(path.data()) == nullptr)
      return Failure{exit_failed_check, fmt::format("no temporary folder {} could be made", path)};
    return TemporaryFolder(path);
  }
  TemporaryFolder(TemporaryFolder &&other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder &operator=(TemporaryFolder &&) = delete;
  ~TemporaryFolder() {
    std::error_code code;
    if (!path_.empty()) std::filesystem::remove_all(path_, code);
  }
  std::string make_inside(const std::string &name) const {
    const std::filesystem::path folder = std::filesystem::path(path_) / name;
    std::error_code code;
    std::filesystem::create_directory(folder, code);
    std::filesystem::permissions(folder, std::filesystem::perms::owner_all, code);  // the library insists
    return folder.string();
  }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

struct Case {
  StartupCase what;
  const char *served_by;  // what the counters must say
};
constexpr Case gpu_cases[] = {{StartupCase::compile, "compiled"},
                              {StartupCase::user_cache, "user cache"},
                              {StartupCase::shipped, "shipped"},
                              {StartupCase::driver_alone, ""}};
constexpr Case cpu_cases[] = {{StartupCase::cpu, ""}};

// Where a process may find modules. The one folder that case compile fills is what case user_cache reads.
struct Folders {
  const TemporaryFolder &root;
  std::string none, filled;
};

Words child_words(const Request &request, const Case &startup, const Folders &folders, int64_t run) {
  Words words = {"/proc/self/exe", "--startup-child", startup_word(startup.what), "--seed",
                 std::to_string(request.seed)};
  words.insert(words.end(), request.child_options.begin(), request.child_options.end());
  const auto add = [&](const char *option, const std::string &value) {
    words.push_back(option);
    words.push_back(value);
  };
  switch (startup.what) {
    case StartupCase::driver_alone:
    case StartupCase::cpu:
      break;
    case StartupCase::compile:  // the first run fills the folder that the next case reads
      add("--cache-dir", run == 0 ? folders.filled : folders.root.make_inside(fmt::format("compile-{}", run)));
      add("--module-path", folders.none);
      add("--cache", "rw");
      add("--jit", "on");
      break;
    case StartupCase::user_cache:
      add("--cache-dir", folders.filled);
      add("--module-path", folders.none);
      add("--cache", "ro");
      add("--jit", "off");
      break;
    case StartupCase::shipped:
      add("--cache-dir", folders.root.make_inside("empty"));
      add("--cache", "rw");  // looked into, as users have it
      if (request.context.module_path[0] != '\0') add("--module-path", request.context.module_path);
      add("--jit", "off");
      break;
  }
  return words;
}

// What the process complained about, without its own name in front.
std::string complaint_of(const FinishedProcess &finished) {
  std::string text = finished.err.substr(0, finished.err.find_last_not_of('\n') + 1);
  const std::string opening = std::string(tool_name) + ": error: ";
  const size_t begin = text.rfind(opening);
  if (begin != std::string::npos) text = text.substr(begin + opening.size());
  return text.empty() ? fmt::format("the process ended with {} and said nothing", finished.exit_code) : text;
}

double number(const Json &json, const char *key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number() ? found->get<double>() : 0;
}

std::string text(const Json &json, const char *key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

void read_device(const Json &json, ContextInfo &info) {
  const auto copy = [](const std::string &from, char *to, size_t capacity) { to[from.copy(to, capacity - 1)] = '\0'; };
  info.struct_size = sizeof(info);
  info.device.kind = static_cast<int32_t>(number(json, "device_kind"));
  info.device.ordinal = static_cast<int32_t>(number(json, "device_ordinal"));
  info.device.arch = static_cast<int32_t>(number(json, "device_arch"));
  info.device.multiprocessors = static_cast<int32_t>(number(json, "device_multiprocessors"));
  info.device.driver_version = static_cast<int32_t>(number(json, "device_driver_version"));
  info.nvrtc_version = static_cast<int32_t>(number(json, "nvrtc_version"));
  copy(text(json, "device_name"), info.device.name, sizeof(info.device.name));
  copy(text(json, "device_reason"), info.device_reason, sizeof(info.device_reason));
}

// What one process said, or why it said nothing.
Outcome<Json> run_case(const Words &words, double &started_us) {
  TOOLS_TRY_ASSIGN(const FinishedProcess finished, run_process(words, timeout_seconds));
  started_us = finished.started_us;
  if (finished.timed_out)
    return Failure{exit_failed_check, fmt::format("the process did not end within {} s", timeout_seconds)};
  if (finished.exit_code != exit_ok) return Failure{finished.exit_code, complaint_of(finished)};
  Json json = Json::parse(finished.out, nullptr, false);
  if (!json.is_object()) return Failure{exit_failed_check, "the process printed no result"};
  return json;
}

void add_run(const Case &startup, const Json &json, double started_us, StartupResult &result) {
  result.runs.push_back({number(json, "main_us") - started_us, number(json, "create_us"), number(json, "buffers_us"),
                         number(json, "first_us"), number(json, "second_us"), number(json, "compile_us")});
  result.served_by = text(json, "served_by");
  result.module = text(json, "module");
  if (startup.served_by[0] != '\0' && result.served_by != startup.served_by)
    result.problem =
        fmt::format("this case must be served by: {}; the counters say: {}", startup.served_by, result.served_by);
  if (const std::string wrong = text(json, "problem"); !wrong.empty()) result.problem = wrong;
}

}  // namespace

const char *startup_word(StartupCase what) {
  switch (what) {
    case StartupCase::driver_alone:
      return "driver-alone";
    case StartupCase::compile:
      return "compile";
    case StartupCase::user_cache:
      return "user-cache";
    case StartupCase::shipped:
      return "shipped";
    case StartupCase::cpu:
      return "cpu";
  }
  return "";
}

// The cases take turns. The first turn is not counted: it brings libraries and modules into the system's file cache.
Step measure_startup(const Request &request, const Console &console, Results &results) {
  const bool on_cpu = request.context.device_kind == FLASHCORE_DEVICE_CPU;
  const std::vector<Case> cases = on_cpu ? std::vector<Case>(std::begin(cpu_cases), std::end(cpu_cases))
                                         : std::vector<Case>(std::begin(gpu_cases), std::end(gpu_cases));
  TOOLS_TRY_ASSIGN(const TemporaryFolder root, TemporaryFolder::make());
  const Folders folders{root, root.make_inside("none"), root.make_inside("filled")};
  for (const Case &startup : cases) {
    results.startup.emplace_back();
    results.startup.back().what = startup.what;
  }
  const int64_t runs = request.samples.value_or(default_runs);
  Progress progress(console, "starting processes");
  std::string bus_id;
  for (int64_t run = 0; run <= runs && !interrupted(); ++run) {
    for (size_t i = 0; i < cases.size() && !interrupted(); ++i) {
      StartupResult &result = results.startup[i];
      if (!result.problem.empty()) continue;
      progress.update(run, runs + 1, startup_word(cases[i].what));
      double started_us = 0;
      const Outcome<Json> said = run_case(child_words(request, cases[i], folders, run), started_us);
      if (interrupted()) break;
      if (!said.ok() && said.failure().exit_code == exit_no_device)
        return Failure{exit_no_device,
                       fmt::format("option --startup starts processes on a GPU: {}", said.failure().message)};
      if (!said.ok()) {
        result.problem = said.failure().message;
        continue;
      }
      if (cases[i].what != StartupCase::driver_alone) read_device(said.value(), results.context);
      bus_id = bus_id.empty() ? text(said.value(), "bus_id") : bus_id;
      if (run > 0) add_run(cases[i], said.value(), started_us, result);
    }
    if (run == 0 && !bus_id.empty()) results.before = read_gpu_state(bus_id);
  }
  results.interrupted = interrupted();
  if (!bus_id.empty()) results.after = read_gpu_state(bus_id);
  return Done{};
}

}  // namespace flashcore::tools
