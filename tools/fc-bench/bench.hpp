// SPDX-License-Identifier: Apache-2.0
//
// fc-bench, step by step: a request (the command line), shapes (files), a measurement (the library on a device), a
// check (against float64), a report, a comparison with an older report. Each step is one file; this header is what they
// hand to each other. What the numbers mean is docs/MEASURING.md's business.
//
// Glossary (and that of measuring.hpp)
//   row       one shape, one kernel, one mode: what one line of the table says
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/context_info.hpp"
#include "../common/measuring.hpp"
#include "../common/outcome.hpp"

namespace flashcore::tools {

inline constexpr const char *tool_name = "fc-bench";
extern const char *const build_commit;  // git commit of the sources, "-dirty" behind it with changes, or "unknown"

// --- bench_request.cpp: what the command line asks for -------------------------------------------------------------

enum class Action { measure, compare_files, startup, host_cost };

// One process of --startup; Action::startup with a case is what the parent starts.
enum class StartupCase { driver_alone, compile, user_cache, shipped, cpu };

struct Request {
  Action action = Action::measure;
  std::vector<Shape> shapes;
  std::vector<std::string> kernels;              // "" is the library's own choice
  std::vector<Mode> modes;                       // empty: the device's default
  std::optional<int64_t> samples, warmup, sets;  // empty: chosen for each row
  int64_t seed = 1;
  flashcore_context_options context = FLASHCORE_CONTEXT_OPTIONS_INIT;
  std::string json;     // file, "-" for stdout, empty for none
  std::string compare;  // an older result
  std::string load;     // results to compare instead of measuring
  double threshold = 0.03;
  std::optional<StartupCase> startup_child;
  Words child_options;  // what --startup hands on to its processes
  Words notes;

  bool json_on_stdout() const { return json == "-"; }
};

boost::program_options::options_description all_options();  // also those that --help does not show
std::vector<boost::program_options::options_description> shown_option_groups();
Outcome<Request> make_request(const Options &options);

// --- results -------------------------------------------------------------------------------------------------------

enum class RowStatus { ok, refused, failed };
const char *status_word(RowStatus status);

struct Row {
  Shape shape;
  std::string kernel_asked;  // "auto" for the library's choice
  std::string kernel, module;
  std::string mode;  // empty where nothing could be measured
  RowStatus status = RowStatus::ok;
  std::string reason;  // of a refusal or a failure
  std::string clock;   // "gpu events" or "host"
  int64_t sets = 0, calls_per_sample = 1, warmup = 0;
  double model_us = 0;  // what the library's cost model says of the module; 0: nothing, as on the CPU device
  std::vector<double> samples_us;
  std::vector<double>
      host_us;  // wall time of the call itself; empty on the CPU device, where it is the time of the work
  CheckResult check;
};

struct StartupRun {
  double start_us = 0, create_us = 0, buffers_us = 0, first_us = 0, second_us = 0, compile_us = 0;
  double total_us() const { return start_us + create_us + buffers_us + first_us; }
};
struct StartupResult {
  StartupCase what = StartupCase::cpu;
  std::vector<StartupRun> runs;
  std::string served_by;  // which layer gave the module, by the context's counters
  std::string module;
  std::string problem;  // why the case could not be measured, or is not what it should be
};

struct HostCostRow {
  Shape shape;
  std::string kernel_asked, kernel, module;
  RowStatus status = RowStatus::ok;
  std::string reason;
  std::vector<double> call_us, launch_us;  // flashcore_attention_fwd, and cuLaunchKernel of the same kernel
};

struct Results {
  Action action = Action::measure;
  bool interrupted = false;
  std::string stopped;  // why the run ended before its last row; empty: it did not
  std::string date_utc, commit = build_commit, host_cpu;
  uint32_t library_version = 0;
  ContextInfo context{};  // struct_size 0: no device was opened
  GpuState before, after;
  int64_t seed = 0, flush_bytes = 0;
  std::optional<double> event_pair_us;  // what the events alone cost: the time between two with nothing in between
  std::vector<Row> rows;
  std::vector<StartupResult> startup;
  std::vector<HostCostRow> host_cost;

  bool on_gpu() const { return context.device.kind == FLASHCORE_DEVICE_CUDA; }
};

// --- measure.cpp, host_cost.cpp, startup.cpp: the three things that can be measured. They go on after a row that
// fails.
// ----

Step measure(const Request &request, const Console &console, Results &results);
Step measure_host_cost(const Request &request, const Console &console, Results &results);
Step measure_startup(const Request &request, const Console &console, Results &results);
// The process of one start: prints its times as JSON. `main_us`: clock_us() when main() began.
Outcome<int> run_startup_child(const Request &request, double main_us, const Console &console);
const char *startup_word(StartupCase what);
// --- report.cpp, results_json.cpp ----------------------------------------------------------------------------------

std::string results_text(const Results &results, const Console &console);
std::string results_json(const Results &results);
std::string shapes_json(const std::vector<Shape> &shapes);  // of --list
// Of an older run, what a comparison needs.
Outcome<Results> read_results(const std::string &path);

// --- compare.cpp ---------------------------------------------------------------------------------------------------

struct Comparison {
  std::string text;
  int64_t compared = 0, slower = 0;
};
Comparison compare_results(const Results &older, const Results &newer, double threshold, const Console &console);

}  // namespace flashcore::tools
