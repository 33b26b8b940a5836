// SPDX-License-Identifier: Apache-2.0
//
// What a run was, for people and as JSON. Every line says what was really used: a reader must never take the CPU for a
// GPU, or a module compiled a moment ago for a shipped one.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "../common/visible_scores.hpp"
#include "run.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void add_device(const ContextInfo &context, FieldList &fields) {
  const flashcore_device_info &device = context.device;
  const bool gpu = device.kind == FLASHCORE_DEVICE_CUDA;
  fields.add("device", gpu ? fmt::format("{} (cuda:{}, sm_{}, {} SMs)", device.name, device.ordinal, device.arch,
                                         device.multiprocessors)
                           : std::string(device.name));
  fields.add("because", context.device_reason);
}

const char *module_origin(const Execution &execution) {
  const ContextInfo &context = execution.context;
  if (!execution.on_gpu()) return "none";
  if (context.modules_compiled > 0) return "compiled";
  if (context.modules_from_user_cache > 0) return "user cache";
  if (context.modules_from_shipped > 0) return "shipped";
  return "none";
}

std::string module_text(const Execution &execution) {
  const ContextInfo &context = execution.context;
  const std::string origin = module_origin(execution), name = execution.explanation.module;
  if (!execution.on_gpu()) return "none; the CPU device runs code of the library itself";
  if (origin == "compiled")
    return fmt::format("{}, compiled now by NVRTC {}.{} in {}", name, context.nvrtc_version / 1000,
                       context.nvrtc_version % 1000 / 10, format_duration_us(static_cast<double>(context.compile_us)));
  if (origin == "user cache") return fmt::format("{}, from the user cache {}", name, context.cache_directory);
  if (origin == "shipped") return fmt::format("{}, a shipped module", name);
  return "none; nothing had to be computed";
}

std::string shape_text(const RunReport &report) {
  const Sizes &sizes = report.inputs.sizes;
  const Args &args = report.request.args;
  std::string text = fmt::format("batch {}, {} heads", sizes.batch, sizes.heads_q);
  if (sizes.heads_kv != sizes.heads_q) text += fmt::format(" ({} of keys)", sizes.heads_kv);
  text += fmt::format(", {} queries x {} keys, head dimension {}", sizes.seqlen_q, sizes.seqlen_kv, sizes.head_dim);
  if (sizes.head_dim_v != sizes.head_dim) text += fmt::format(" ({} of values)", sizes.head_dim_v);
  text += fmt::format(", {}", dtype_word(report.request.dtype));
  text +=
      args.causal == FLASHCORE_CAUSAL_NONE ? ", no causal mask" : fmt::format(", causal {}", causal_word(args.causal));
  return text;
}

std::string input_text(const RunReport &report) {
  if (report.request.random_seed) return fmt::format("random normal numbers, seed {}", *report.request.random_seed);
  return fmt::format("{}, {}, {}", report.request.query, report.request.key, report.request.value);
}

std::string time_text(const Execution &execution) {
  const std::vector<double> &times = execution.times_us;
  const char *clock = execution.on_gpu() ? "GPU events" : "host clock";
  if (times.size() == 1) return fmt::format("{} (one call, {})", format_duration_us(times[0]), clock);
  return fmt::format("{} median of {} calls, fastest {}, slowest {} ({})", format_duration_us(median(times)),
                     times.size(), format_duration_us(*std::min_element(times.begin(), times.end())),
                     format_duration_us(*std::max_element(times.begin(), times.end())), clock);
}

double tflops_per_second(const RunReport &report) {
  const double time_us = median(report.execution.times_us);
  return time_us > 0 ? attention_flops(report.request.args, report.inputs.sizes) / time_us / 1e6 : 0;
}

std::string check_text(const CheckResult &check) {
  const ErrorStatistics &error = check.error;
  std::string text = check.passed() ? "passed: " : "FAILED: ";
  if (error.wrong_kind > 0)
    text += fmt::format("{} of {} output numbers are NaN or infinite and should not be, or the other way round",
                        error.wrong_kind, error.compared);
  else
    text += fmt::format("error against float64 max {:.1e} (allowed {:.1e}), mean {:.1e} (allowed {:.1e})",
                        error.max_abs, check.gate.max_abs, error.mean_abs, check.gate.mean_abs);
  if (!check.gate.passes(error))
    text += fmt::format("\nat element {}: {:.7g} instead of {:.7g}", error.max_index, error.actual_at_max,
                        error.expected_at_max);
  if (check.lse_ratio > 1) return text + "\nLSE is over its gate, |LSE - expected| <= 1e-4 + 2e-6 |expected|";
  return text + fmt::format("; LSE at {:.2g} % of its gate", check.lse_ratio * 100);
}

std::string outputs_text(const RunReport &report) {
  const RunRequest &request = report.request;
  const bool kept = !report.check || report.check->passed();
  if (request.output.empty() && request.lse.empty()) return "not kept; --output FILE writes it";
  if (!kept) return "not written, because the check failed";
  std::string text = request.output;
  if (!request.lse.empty()) text += (text.empty() ? "LSE in " : ", LSE in ") + request.lse;
  return text;
}

// The library says in every explanation why this is the device; here that has a line of its own.
std::string reasons_text(const Execution &execution) {
  std::string reasons = execution.explanation.reasons;
  const std::string said = fmt::format(" ({})", execution.context.device_reason);
  for (size_t at = reasons.find(said); at != std::string::npos; at = reasons.find(said, at))
    reasons.erase(at, said.size());
  return reasons;
}

std::string explanation_text(const RunReport &report, const Console &console) {
  const flashcore_attention_explanation &explanation = report.execution.explanation;
  FieldList fields;
  add_device(report.execution.context, fields);
  fields.add("shape", shape_text(report));
  if (explanation.supported == 0) {
    fields.add("kernel", "none can do it", Mark::bad);
  } else {
    fields.add("kernel", explanation.kernel, Mark::good);
    fields.add("module", explanation.module);
    if (report.execution.on_gpu()) {
      fields.add("tile", fmt::format("{} queries x {} keys, {} warps, {} in flight", explanation.tile_q,
                                     explanation.tile_kv, explanation.warps, explanation.stages));
      fields.add("grid", fmt::format("{} x {} x {} blocks of {} threads, {} bytes of dynamic shared memory each",
                                     explanation.grid[0], explanation.grid[1], explanation.grid[2],
                                     explanation.threads_per_block, group_digits(explanation.dynamic_shared_bytes)));
      fields.add("workspace", format_bytes(explanation.workspace_bytes));
      fields.add("estimate", fmt::format("{} by the cost model", format_duration_us(explanation.cost_us)));
    }
  }
  fields.add("reasons", reasons_text(report.execution));
  return fmt::format("{}\n{}", console.paint(Mark::heading, "flashcore would compute this so; nothing was computed"),
                     fields.render(console));
}

std::string run_text(const RunReport &report, const Console &console) {
  const Execution &execution = report.execution;
  FieldList fields;
  add_device(execution.context, fields);
  fields.add("kernel", execution.explanation.kernel);
  fields.add("module", module_text(execution));
  fields.add("input", input_text(report));
  fields.add("shape", shape_text(report));
  if (execution.on_gpu())
    fields.add("prepare", format_duration_us(execution.prepare_us) + " (select, load or compile; once)");
  fields.add("time", time_text(execution));
  fields.add("speed", fmt::format("{:.3g} TFLOP/s over the visible scores", tflops_per_second(report)));
  if (report.check) fields.add("check", check_text(*report.check), report.check->passed() ? Mark::good : Mark::bad);
  fields.add("output", outputs_text(report));
  return fmt::format("{}\n{}", console.paint(Mark::heading, "flashcore attention"), fields.render(console));
}

// --- JSON ----------------------------------------------------------------------------------------------------------

Json device_json(const ContextInfo &context) {
  const flashcore_device_info &device = context.device;
  const bool gpu = device.kind == FLASHCORE_DEVICE_CUDA;
  Json json{{"kind", gpu ? "cuda" : "cpu"}, {"name", device.name}, {"reason", context.device_reason}};
  if (gpu)
    json.update(Json{{"ordinal", device.ordinal},
                     {"arch", fmt::format("sm_{}", device.arch)},
                     {"driver_version", device.driver_version}});
  json["multiprocessors"] = device.multiprocessors;
  return json;
}

Json problem_json(const RunReport &report) {
  const Sizes &sizes = report.inputs.sizes;
  return Json{{"batch", sizes.batch},
              {"heads_q", sizes.heads_q},
              {"heads_kv", sizes.heads_kv},
              {"seqlen_q", sizes.seqlen_q},
              {"seqlen_kv", sizes.seqlen_kv},
              {"head_dim", sizes.head_dim},
              {"head_dim_v", sizes.head_dim_v},
              {"dtype", dtype_word(report.request.dtype)},
              {"layout", report.request.layout == Layout::bshd ? "bshd" : "bhsd"},
              {"causal", causal_word(report.request.args.causal)}};
}

Json explanation_json(const flashcore_attention_explanation &explanation) {
  return Json{{"supported", explanation.supported != 0},
              {"tile_q", explanation.tile_q},
              {"tile_kv", explanation.tile_kv},
              {"warps", explanation.warps},
              {"stages", explanation.stages},
              {"grid", {explanation.grid[0], explanation.grid[1], explanation.grid[2]}},
              {"threads_per_block", explanation.threads_per_block},
              {"dynamic_shared_bytes", explanation.dynamic_shared_bytes},
              {"workspace_bytes", explanation.workspace_bytes},
              {"cost_us", explanation.cost_us},
              {"reasons", explanation.reasons}};
}

Json check_json(const CheckResult &check) {
  return Json{{"passed", check.passed()},
              {"max_error", check.error.max_abs},
              {"allowed_max_error", check.gate.max_abs},
              {"mean_error", check.error.mean_abs},
              {"allowed_mean_error", check.gate.mean_abs},
              {"wrong_kind", check.error.wrong_kind},
              {"lse_gate_ratio", check.lse_ratio}};
}

// The counters of flashcore_context_info.
Json cache_json(const ContextInfo &context) {
  return Json{{"directory", context.cache_directory},
              {"warning", context.cache_warning},
              {"modules_from_process", context.modules_from_process},
              {"modules_from_shipped", context.modules_from_shipped},
              {"modules_from_user_cache", context.modules_from_user_cache},
              {"modules_compiled", context.modules_compiled},
              {"rejected", context.cache_rejected},
              {"write_failures", context.cache_write_failures},
              {"compile_us", context.compile_us}};
}

void add_measurements(const RunReport &report, Json &json) {
  const Execution &execution = report.execution;
  json["module_origin"] = module_origin(execution);
  json["cache"] = execution.on_gpu() ? cache_json(execution.context) : Json();
  json["prepare_us"] = execution.prepare_us;
  json["clock"] = execution.on_gpu() ? "gpu events" : "host";
  json["times_us"] = execution.times_us;
  json["median_us"] = median(execution.times_us);
  json["flops"] = attention_flops(report.request.args, report.inputs.sizes);
  json["tflops_per_second"] = tflops_per_second(report);
  json["check"] = report.check ? check_json(*report.check) : Json();
  const bool kept = !report.check || report.check->passed();
  json["output"] = kept && !report.request.output.empty() ? Json(report.request.output) : Json();
  json["lse"] = kept && !report.request.lse.empty() ? Json(report.request.lse) : Json();
}

}  // namespace

double attention_flops(const Args &args, const Sizes &sizes) {
  Band band = causal_band(args.causal, sizes.seqlen_q, sizes.seqlen_kv);
  const int64_t diagonal = sizes.seqlen_kv - sizes.seqlen_q;  // the key at query 0's own position
  // Beyond either end of the keys a window hides nothing; held there, the sums below cannot overflow.
  const int64_t reach = sizes.seqlen_q + sizes.seqlen_kv;
  if ((args.flags & FLASHCORE_FLAG_WINDOW_LEFT) != 0) band.first = diagonal - std::min(args.window_left, reach);
  if ((args.flags & FLASHCORE_FLAG_WINDOW_RIGHT) != 0)
    band.last = std::min(band.last, diagonal + std::min(args.window_right, reach));
  return 2 * visible_scores(sizes.seqlen_q, sizes.seqlen_kv, band) * static_cast<double>(sizes.batch) *
         static_cast<double>(sizes.heads_q) * static_cast<double>(sizes.head_dim + sizes.head_dim_v);
}

std::string report_text(const RunReport &report, const Console &console) {
  return report.request.explain ? explanation_text(report, console) : run_text(report, console);
}

std::string report_json(const RunReport &report) {
  const Execution &execution = report.execution;
  Json json{{"schema", "flashcore.run/1"}};
  json["device"] = device_json(execution.context);
  json["problem"] = problem_json(report);
  json["kernel"] = execution.explanation.kernel;
  json["module"] = execution.explanation.module;
  json["explanation"] = explanation_json(execution.explanation);
  if (!report.request.explain) add_measurements(report, json);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace flashcore::tools
