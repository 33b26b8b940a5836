// SPDX-License-Identifier: Apache-2.0
//
// fc-bench, step by step: a request (the command line), shapes (files), a measurement (the library on a device), a
// check (against float64), a report, a comparison with an older report. Each step is one file; this header is what they
// hand to each other. What the numbers mean is docs/MEASURING.md's business.
//
// Glossary
//   shape     one attention problem with a name
//   row       one shape, one kernel, one mode: what one line of the table says
//   set       one Q, K, V and O in device memory; a row rotates among several
//   sample    one measured time: one call, or one replay of a graph divided by its calls
#pragma once

#include <flashcore/flashcore.h>

#include <boost/program_options.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../common/accuracy.hpp"
#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/float16.hpp"
#include "../common/outcome.hpp"

namespace flashcore::tools {

using Args = flashcore_attention_args;

inline constexpr const char *tool_name = "fc-bench";
extern const char *const build_commit;  // git commit of the sources, "-dirty" behind it with changes, or "unknown"

std::string listed(const Words &words);  // shapes.cpp; "a, b, c"

// --- shapes.cpp
// -----------------------------------------------------------------------------------------------------------

struct Shape {
  std::string name;
  int64_t batch = 1, heads_q = 1, heads_kv = 1, seqlen_q = 1, seqlen_kv = 1, head_dim = 64;
  Float16Type dtype = Float16Type::float16;
  int32_t causal = FLASHCORE_CAUSAL_NONE;

  bool same_problem(const Shape &other) const;
};

// "[name] batch heads_q heads_kv seqlen_q seqlen_kv head_dim dtype causal", separated by blanks or commas. `where`
// opens the failure: a file and line, or an option.
Outcome<Shape> parse_shape(const std::string &text, const std::string &where);
// Lines of a file; '#' begins a comment.
Outcome<std::vector<Shape>> parse_shapes(const std::string &content, const std::string &file);
// A file by its path, or by its bare name in the folders where shapes lie.
Outcome<std::vector<Shape>> read_shapes(const std::string &name_or_path);
std::string problem_text(const Shape &shape);  // "1 x 8 heads, 512 x 512, d 64, fp16, causal top-left"
const char *dtype_word(Float16Type type);      // "fp16", "bf16"
const char *causal_word(int32_t causal);       // "none", "top-left", "bottom-right"

// --- limits.cpp: what a problem needs and what a device has
// ---------------------------------------------------------------

double attention_flop(const Shape &shape);   // two products per visible score
double attention_bytes(const Shape &shape);  // Q, K, V read once, O written once
Args attention_args(const Shape &shape, const std::string &kernel);

// As the vendor states it, for dense 16-bit tensor products with float32 sums at boost clock.
struct VendorPeak {
  const char *device_name;  // exactly as the driver says it
  int32_t arch;
  double tensor_tflops, memory_gbytes;
  const char *source;
};
const VendorPeak *find_vendor_peak(const flashcore_device_info &device);  // null: not in the table

// --- bench_request.cpp: what the command line asks for
// ---------------------------------------------------------------------

enum class Mode { graph, warm, cold };
const char *mode_word(Mode mode);

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

// --- results
// --------------------------------------------------------------------------------------------------------------

struct CheckResult {
  bool done = false;
  ErrorStatistics error;
  OutputGate gate;
  double lse_ratio = 0;  // passes at no more than 1
  int64_t rows = 0;      // query rows compared with float64
  std::string problem;   // another reason to fail: "the timed calls left other bits than the checked one"
  bool passed() const { return done && problem.empty() && gate.passes(error) && lse_ratio <= 1; }
};

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
  std::vector<double> samples_us;
  std::vector<double>
      host_us;  // wall time of the call itself; empty on the CPU device, where it is the time of the work
  CheckResult check;
};

// What nvidia-smi says of the GPU, "name" -> "value unit"; or why it says nothing.
struct GpuState {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string unavailable;
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
  flashcore_context_info context{};  // struct_size 0: no device was opened
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
double clock_us();  // clock.cpp; CLOCK_MONOTONIC: the same in all processes

// --- gpu_state.cpp
// --------------------------------------------------------------------------------------------------------

// `gpu`: PCI bus id. Only asks; changes nothing.
GpuState read_gpu_state(const std::string &gpu);

// --- report.cpp, results_json.cpp
// -----------------------------------------------------------------------------------------

std::string results_text(const Results &results, const Console &console);
std::string results_json(const Results &results);
// Of an older run, what a comparison needs.
Outcome<Results> read_results(const std::string &path);

// --- compare.cpp
// ----------------------------------------------------------------------------------------------------------

enum class Verdict { same, faster, slower, unclear };
struct Comparison {
  std::string text;
  int64_t compared = 0, slower = 0;
};
Verdict judge(const std::vector<double> &older, const std::vector<double> &newer, double threshold);
Comparison compare_results(const Results &older, const Results &newer, double threshold, const Console &console);

}  // namespace flashcore::tools
