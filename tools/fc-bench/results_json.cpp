// SPDX-License-Identifier: Apache-2.0
//
// Results as JSON, schema flashcore.bench/1, and back. A file from outside is believed in nothing: what is missing or
// of another type is named.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "../common/statistics.hpp"
#include "bench.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;
constexpr const char *schema = "flashcore.bench/1";
constexpr const char *summary_schema = "flashcore.bench.summary/1";  // benchmarks/summarize_results.py writes it

// --- Writing -------------------------------------------------------------------------------------------------------

const char *action_word(Action action) {
  switch (action) {
    case Action::startup:
      return "startup";
    case Action::host_cost:
      return "host-cost";
    default:
      return "measure";
  }
}

Json device_json(const Results &results) {
  if (results.context.struct_size == 0) return Json();
  const flashcore_device_info &device = results.context.device;
  Json json{
      {"kind", results.on_gpu() ? "cuda" : "cpu"}, {"name", device.name}, {"reason", results.context.device_reason}};
  if (results.on_gpu()) {
    json["ordinal"] = device.ordinal;
    json["arch"] = fmt::format("sm_{}", device.arch);
    json["cuda_driver_version"] = device.driver_version;
    json["memory_bytes"] = device.memory_bytes;
    json["nvrtc_version"] = results.context.nvrtc_version;
    json["modules_shipped"] = results.context.modules_from_shipped;
    json["modules_from_user_cache"] = results.context.modules_from_user_cache;
    json["modules_compiled"] = results.context.modules_compiled;
  }
  json["multiprocessors"] = device.multiprocessors;
  return json;
}

Json peak_json(const Results &results) {
  const VendorPeak *peak = results.on_gpu() ? find_vendor_peak(results.context.device) : nullptr;
  if (peak == nullptr) return Json();
  return Json{{"tensor_tflops_per_second", peak->tensor_tflops},
              {"memory_gbytes_per_second", peak->memory_gbytes},
              {"source", peak->source}};
}

Json state_json(const GpuState &state) {
  if (state.fields.empty()) return state.unavailable.empty() ? Json() : Json{{"unavailable", state.unavailable}};
  Json json = Json::object();
  for (const auto &[name, value] : state.fields) json[name] = value;
  return json;
}

Json shape_json(const Shape &shape) {
  return Json{{"name", shape.name},
              {"batch", shape.batch},
              {"heads_q", shape.heads_q},
              {"heads_kv", shape.heads_kv},
              {"seqlen_q", shape.seqlen_q},
              {"seqlen_kv", shape.seqlen_kv},
              {"head_dim", shape.head_dim},
              {"dtype", dtype_word(shape.dtype)},
              {"causal", causal_word(shape.causal)}};
}

Json summary_json(const std::vector<double> &samples) {
  const SampleSummary summary = summarise(samples);
  return Json{{"min", summary.minimum}, {"p10", summary.p10}, {"p50", summary.p50},
              {"p90", summary.p90},     {"p99", summary.p99}, {"mean", summary.mean}};
}

Json check_json(const CheckResult &check) {
  if (!check.done) return Json();
  return Json{{"passed", check.passed()},
              {"rows_compared", check.rows},
              {"max_error", check.error.max_abs},
              {"allowed_max_error", check.gate.max_abs},
              {"mean_error", check.error.mean_abs},
              {"allowed_mean_error", check.gate.mean_abs},
              {"wrong_kind", check.error.wrong_kind},
              {"lse_gate_ratio", check.lse_ratio},
              {"problem", check.problem}};
}

void add_rates(const Row &row, const VendorPeak *peak, Json &json) {
  const double time_us = median(row.samples_us), flop = attention_flop(row.shape), bytes = attention_bytes(row.shape);
  json["flop"] = flop;
  json["bytes"] = bytes;
  json["tflops_per_second"] = flop / time_us / 1e6;
  json["gbytes_per_second"] = bytes / time_us / 1e3;
  json["share_of_vendor_tensor_peak"] = peak == nullptr ? Json() : Json(flop / time_us / 1e6 / peak->tensor_tflops);
  json["share_of_vendor_memory_peak"] = peak == nullptr ? Json() : Json(bytes / time_us / 1e3 / peak->memory_gbytes);
}

Json row_json(const Row &row, const VendorPeak *peak) {
  Json json{{"shape", shape_json(row.shape)},
            {"kernel_asked", row.kernel_asked},
            {"kernel", row.kernel},
            {"module", row.module},
            {"mode", row.mode},
            {"status", status_word(row.status)},
            {"reason", row.reason}};
  if (row.status != RowStatus::ok) return json;
  json["clock"] = row.clock;
  json["sets"] = row.sets;
  json["calls_per_sample"] = row.calls_per_sample;
  json["warmup"] = row.warmup;
  json["time_us"] = summary_json(row.samples_us);
  add_rates(row, peak, json);
  json["host_us"] = row.host_us.empty() ? Json() : summary_json(row.host_us);
  json["model_us"] = row.model_us > 0 ? Json(row.model_us) : Json();
  json["check"] = check_json(row.check);
  json["samples_us"] = row.samples_us;
  json["host_samples_us"] = row.host_us;
  return json;
}

Json startup_json(const StartupResult &result) {
  Json runs = Json::array();
  for (const StartupRun &run : result.runs)
    runs.push_back(Json{{"process_start_us", run.start_us},
                        {"context_create_us", run.create_us},
                        {"buffers_us", run.buffers_us},
                        {"first_call_us", run.first_us},
                        {"second_call_us", run.second_us},
                        {"compile_us", run.compile_us},
                        {"first_result_us", run.total_us()}});
  return Json{{"case", startup_word(result.what)},
              {"served_by", result.served_by},
              {"module", result.module},
              {"problem", result.problem},
              {"runs", std::move(runs)}};
}

Json host_cost_json(const HostCostRow &row) {
  Json json{{"shape", shape_json(row.shape)}, {"kernel_asked", row.kernel_asked},  {"kernel", row.kernel},
            {"module", row.module},           {"status", status_word(row.status)}, {"reason", row.reason}};
  if (row.status != RowStatus::ok) return json;
  json["call_us"] = summary_json(row.call_us);
  json["bare_launch_us"] = summary_json(row.launch_us);
  json["difference_of_medians_us"] = median(row.call_us) - median(row.launch_us);
  json["call_samples_us"] = row.call_us;
  json["bare_launch_samples_us"] = row.launch_us;
  return json;
}

// --- Reading -------------------------------------------------------------------------------------------------------

// Looks things up in a file's JSON; the first thing that is not as it must be becomes the failure.
class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}
  bool failed() const { return !problem_.empty(); }
  Failure failure() const { return input_failure(fmt::format("{} is no result of fc-bench: {}", path_, problem_)); }
  void complain(const std::string &problem) {
    if (problem_.empty()) problem_ = problem;
  }

  std::string text(const Json &json, const char *key) { return get<std::string>(json, key, "text", &Json::is_string); }
  int64_t integer(const Json &json, const char *key) {
    return get<int64_t>(json, key, "a whole number", &Json::is_number_integer);
  }
  std::vector<double> numbers(const Json &json, const char *key) {
    std::vector<double> values;
    const Json list = get<Json>(json, key, "a list", &Json::is_array);
    for (const Json &item : list) {
      if (!item.is_number()) complain(fmt::format("\"{}\" holds something that is no number", key));
      values.push_back(item.is_number() ? item.get<double>() : 0);
    }
    return values;
  }
  Json object(const Json &json, const char *key) { return get<Json>(json, key, "an object", &Json::is_object); }

 private:
  template <typename T>
  T get(const Json &json, const char *key, const char *what, bool (Json::*is)() const noexcept) {
    const auto found = json.is_object() ? json.find(key) : json.end();
    if (json.is_object() && found != json.end() && (*found.*is)()) return found->get<T>();
    complain(fmt::format("\"{}\" is not there or is not {}", key, what));
    return T();
  }
  std::string path_, problem_;
};

Shape read_shape(Reader &reader, const Json &json) {
  const std::string line =
      fmt::format("{} {} {} {} {} {} {} {} {}", reader.text(json, "name"), reader.integer(json, "batch"),
                  reader.integer(json, "heads_q"), reader.integer(json, "heads_kv"), reader.integer(json, "seqlen_q"),
                  reader.integer(json, "seqlen_kv"), reader.integer(json, "head_dim"), reader.text(json, "dtype"),
                  reader.text(json, "causal"));
  Outcome<Shape> shape = parse_shape(line, "a shape");
  if (shape.ok()) return std::move(shape).value();
  reader.complain(shape.failure().message);
  return {};
}

Row read_row(Reader &reader, const Json &json) {
  Row row;
  row.shape = read_shape(reader, reader.object(json, "shape"));
  row.kernel_asked = reader.text(json, "kernel_asked");
  row.kernel = reader.text(json, "kernel");
  row.mode = reader.text(json, "mode");
  const std::string status = reader.text(json, "status");
  row.status = status == "ok" ? RowStatus::ok : status == "refused" ? RowStatus::refused : RowStatus::failed;
  if (row.status != RowStatus::ok) return row;
  row.samples_us = reader.numbers(json, "samples_us");
  if (row.samples_us.empty()) reader.complain("a row has no samples");
  return row;
}

}  // namespace

const char *status_word(RowStatus status) {
  switch (status) {
    case RowStatus::ok:
      return "ok";
    case RowStatus::refused:
      return "refused";
    case RowStatus::failed:
      return "failed";
  }
  return "";
}

std::string results_json(const Results &results) {
  const VendorPeak *peak = results.on_gpu() ? find_vendor_peak(results.context.device) : nullptr;
  Json json{{"schema", schema}, {"action", action_word(results.action)}, {"interrupted", results.interrupted}};
  json["stopped"] = results.stopped.empty() ? Json() : Json(results.stopped);
  json["date_utc"] = results.date_utc;
  json["commit"] = results.commit;
  json["library_version"] = results.library_version;
  json["device"] = device_json(results);
  json["host_cpu"] = results.host_cpu;
  json["vendor_peak"] = peak_json(results);
  json["gpu_before"] = state_json(results.before);
  json["gpu_after"] = state_json(results.after);
  json["seed"] = results.seed;
  json["flush_bytes"] = results.flush_bytes;
  json["event_pair_us"] = results.event_pair_us ? Json(*results.event_pair_us) : Json();
  Json rows = Json::array(), startup = Json::array(), host_cost = Json::array();
  for (const Row &row : results.rows) rows.push_back(row_json(row, peak));
  for (const StartupResult &result : results.startup) startup.push_back(startup_json(result));
  for (const HostCostRow &row : results.host_cost) host_cost.push_back(host_cost_json(row));
  if (results.action == Action::startup)
    json["startup"] = std::move(startup);
  else if (results.action == Action::host_cost)
    json["host_cost"] = std::move(host_cost);
  else
    json["results"] = std::move(rows);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string shapes_json(const std::vector<Shape> &shapes) {
  Json json{{"schema", "flashcore.bench.shapes/1"}, {"shapes", Json::array()}};
  for (const Shape &shape : shapes) json["shapes"].push_back(shape_json(shape));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Outcome<Results> read_results(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf()))
    return input_failure(fmt::format("{} cannot be read, or holds nothing", path));
  const Json json = Json::parse(content.str(), nullptr, false);
  Reader reader(path);
  if (json.is_discarded()) reader.complain("it is not JSON");
  const std::string found = reader.text(json, "schema");
  if (!reader.failed() && found == summary_schema)
    reader.complain("it is a summary without samples, which the rank test needs; compare what --json has written");
  if (!reader.failed() && found != schema)
    reader.complain(fmt::format("its schema is \"{}\", but must be \"{}\"", found, schema));
  if (!reader.failed() && reader.text(json, "action") != "measure") reader.complain("it holds no rows of shapes");
  if (reader.failed()) return reader.failure();
  Results results;
  results.commit = reader.text(json, "commit");
  const std::string device = reader.text(reader.object(json, "device"), "name");
  results.context.device.name[device.copy(results.context.device.name, sizeof(results.context.device.name) - 1)] = '\0';
  const auto rows = json.find("results");
  if (rows == json.end() || !rows->is_array()) reader.complain("\"results\" is not there or is not a list");
  for (size_t i = 0; !reader.failed() && i < rows->size(); ++i) results.rows.push_back(read_row(reader, (*rows)[i]));
  if (reader.failed()) return reader.failure();
  return results;
}

}  // namespace flashcore::tools
