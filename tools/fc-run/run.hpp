// SPDX-License-Identifier: Apache-2.0
//
// fc-run, step by step: a request (the command line), inputs (files or random numbers), an execution (the library), a
// check (against float64) and a report. Each step is one file; this header is what they hand to each other.
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../common/accuracy.hpp"
#include "../common/command_line.hpp"
#include "../common/console.hpp"
#include "../common/context_info.hpp"
#include "../common/float16.hpp"
#include "../common/npy.hpp"
#include "../common/outcome.hpp"
#include "../common/output_file.hpp"

namespace flashcore::tools {

using Args = flashcore_attention_args;

struct Sizes {
  int64_t batch = 1, seqlen_q = 0, seqlen_kv = 0, heads_q = 0, heads_kv = 0, head_dim = 0, head_dim_v = 0;
};

// Order of the arrays in files: [batch, sequence, head, dimension] or [batch, head, sequence, dimension].
enum class Layout { bshd, bhsd };

// --- run_request.cpp: what the command line asks for ---------------------------------------------------------------

struct RunRequest {
  std::optional<int64_t> random_seed;  // else files
  Sizes random_sizes;
  std::string query, key, value;  // paths
  std::string output, lse;        // paths, may be empty
  Layout layout = Layout::bshd;
  Float16Type dtype = Float16Type::float16;
  Args args = flashcore_attention_args_init();  // everything but sizes and tensors
  flashcore_context_options context = FLASHCORE_CONTEXT_OPTIONS_INIT;
  int64_t repeat = 1;
  bool check = false, explain = false;
};

// All options, in groups, in the order of --help.
std::vector<boost::program_options::options_description> run_option_groups();
Outcome<RunRequest> make_request(const Options &options);

// --- extra_arrays.cpp: every array of the args struct besides Q, K, V, O and LSE -----------------------------------

struct ExtraArrayRow;
struct ExtraArray {
  const ExtraArrayRow *row;
  std::string option;
  NpyArray array;
};

void declare_extra_arrays(boost::program_options::options_description &group);
// Reads the files that were named; `problems` gets a line for each that does not fit `sizes`.
Outcome<std::vector<ExtraArray>> read_extra_arrays(const Options &options, const Sizes &sizes, Words &problems);
// Put an array that lies at `address` into the arguments.
void apply_extra_array(const ExtraArray &extra, const Sizes &sizes, uint64_t address, Args &args);

// --- inputs.cpp ----------------------------------------------------------------------------------------------------

struct Inputs {
  Sizes sizes;
  std::vector<uint16_t> query, key, value;  // in the request's layout and dtype
  std::vector<ExtraArray> extras;
  Words notes;  // what was done to the numbers on the way
};

// Every mismatch between files is in the failure, not only the first.
Outcome<Inputs> load_inputs(const RunRequest &request, const Options &options);
Outcome<Inputs> random_inputs(const RunRequest &request, const Options &options);
// Is there memory for all that follows, the inputs themselves included where they are not there yet?
Step check_run_memory(const RunRequest &request, const Sizes &sizes, bool inputs_are_there);
// Element strides [batch, sequence, head, dimension] of an array of these sizes.
struct Strides {
  int64_t stride[4];
};
Strides array_strides(Layout layout, int64_t seqlen, int64_t heads, int64_t head_dim);
std::vector<int64_t> array_shape(Layout layout, int64_t batch, int64_t seqlen, int64_t heads, int64_t head_dim);

// --- execution.cpp -------------------------------------------------------------------------------------------------

struct Execution {
  ContextInfo context{};
  flashcore_attention_explanation explanation{};
  double prepare_us = 0;         // selecting, loading and, where no module was found, compiling
  std::vector<double> times_us;  // one per call
  std::vector<uint16_t> output;  // empty when only an explanation was asked for
  std::vector<float> lse;        // [batch, heads_q, seqlen_q]; empty when nobody wants it

  bool on_gpu() const { return context.device.kind == FLASHCORE_DEVICE_CUDA; }
};

Outcome<Execution> execute(const RunRequest &request, const Inputs &inputs, const Console &console);

// --- check.cpp -----------------------------------------------------------------------------------------------------

struct CheckResult {
  ErrorStatistics error;
  OutputGate gate;
  double lse_ratio = 0;  // passes at no more than 1
  bool passed() const { return gate.passes(error) && lse_ratio <= 1; }
};

// Is there a reference for this request? A usage failure names the option that it does not know.
Step check_is_possible(const Inputs &inputs);
CheckResult check_result(const RunRequest &request, const Inputs &inputs, const Execution &execution,
                         const Console &console);

// --- report.cpp ----------------------------------------------------------------------------------------------------

struct RunReport {
  const RunRequest &request;
  const Inputs &inputs;
  const Execution &execution;
  const std::optional<CheckResult> &check;
};

std::string report_text(const RunReport &report, const Console &console);
std::string report_json(const RunReport &report);
// Operations that the visible scores need: two products per score.
double attention_flops(const Args &args, const Sizes &sizes);

}  // namespace flashcore::tools
