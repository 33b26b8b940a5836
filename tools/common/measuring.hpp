// SPDX-License-Identifier: Apache-2.0
//
// What the tools that measure share: shapes, inputs, a device with its clock, the check against float64. fc-bench and fc-tune
// measure the same way with it; docs/MEASURING.md says what the numbers mean.
//
// Glossary
//   shape     one attention problem with a name
//   set       one Q, K, V and O in device memory; measurements rotate among several
//   sample    one measured time: one call, or one replay of a graph divided by its calls
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "accuracy.hpp"
#include "command_line.hpp"
#include "float16.hpp"
#include "outcome.hpp"
#include "words.hpp"

namespace flashcore::tools {

using Args = flashcore_attention_args;

// --- shapes.cpp ----------------------------------------------------------------------------------------------------

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

// --- limits.cpp: what a problem needs and what a device has --------------------------------------------------------

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

// --- How a time is taken, and whether the result was right ---------------------------------------------------------

enum class Mode { graph, warm, cold };
const char *mode_word(Mode mode);  // sampler.cpp; "graph", "warm", "cold"

struct CheckResult {
  bool done = false;
  ErrorStatistics error;
  OutputGate gate;
  double lse_ratio = 0;  // passes at no more than 1
  int64_t rows = 0;      // query rows compared with float64
  std::string problem;   // another reason to fail: "the timed calls left other bits than the checked one"
  bool passed() const { return done && problem.empty() && gate.passes(error) && lse_ratio <= 1; }
};

// What nvidia-smi says of the GPU, "name" -> "value unit"; or why it says nothing.
struct GpuState {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string unavailable;
};

double clock_us();  // clock.cpp; CLOCK_MONOTONIC: the same in all processes

// --- gpu_state.cpp -------------------------------------------------------------------------------------------------

// `gpu`: PCI bus id. Only asks; changes nothing.
GpuState read_gpu_state(const std::string &gpu);

}  // namespace flashcore::tools
