// SPDX-License-Identifier: Apache-2.0
//
// What fc-bench does without further options: for every shape and kernel a checked call, then samples in every mode. A
// row that cannot be measured says why, and the next one follows.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "../common/check.hpp"
#include "../common/inputs.hpp"
#include "../common/model.hpp"
#include "../common/output_file.hpp"
#include "../common/sampler.hpp"
#include "opened_device.hpp"

namespace flashcore::tools {
namespace {

constexpr int64_t default_samples = 100, default_warmup = 20, fewest_samples = 5;
constexpr double gpu_row_budget_us = 5e6,
                 cpu_row_budget_us = 2e6;  // a slow row takes fewer samples rather than minutes
constexpr double slow_call_us = 1e6;       // no warm-up makes such a call faster
constexpr double graph_replay_us = 600;    // calls of a graph are as many as take this long
constexpr double host_cost_budget_us = 2e5;
constexpr int64_t most_calls_per_graph = 128, most_host_samples = 200;

// Everything that the rows of one shape share.
struct ShapeWork {
  const Shape &shape;
  const Workload &workload;
  const ReferenceRows &reference;
};

struct Counts {
  int64_t samples, warmup;
};

Counts counts_for(const Request &request, double budget_us, double sample_us) {
  const double affordable = budget_us / std::max(sample_us, 1.0);
  const int64_t samples = request.samples.value_or(
      std::clamp(static_cast<int64_t>(std::min(affordable, 1e6)), fewest_samples, default_samples));
  const int64_t worthwhile = sample_us > slow_call_us ? 0 : std::max<int64_t>(1, samples / 5);
  const int64_t warmup = request.warmup.value_or(std::min(default_warmup, worthwhile));
  return {samples, warmup};
}

class Measurement {
 public:
  Measurement(const Request &request, const OpenedDevice &device, Sampler &sampler, Progress &progress,
              Results &results)
      : request_(request), device_(device), sampler_(sampler), progress_(progress), results_(results) {}

  void measure_shape(const Shape &shape);
  bool lost() const { return lost_; }

 private:
  std::vector<Mode> modes() const;
  void measure_kernel(const ShapeWork &work, const std::string &kernel);
  Outcome<double> estimate_us(const std::vector<Args> &args, double wall_us);
  Outcome<Row> measure_mode(const ShapeWork &work, const Row &base, Mode mode, const std::vector<Args> &args,
                            const std::vector<uint16_t> &checked, double call_us);
  Step compare_bits(const ShapeWork &work, const std::vector<uint16_t> &checked, CheckResult &check) const;
  void add_unmeasured(Row row, RowStatus status, const std::string &reason);

  // The progress line: `kernels` of this shape are done; `step` is what comes now.
  void show(const Shape &shape, const std::string &kernel, const char *step);

  const Request &request_;
  const OpenedDevice &device_;
  Sampler &sampler_;
  Progress &progress_;
  Results &results_;
  int64_t kernels_done_ = 0;
  bool lost_ = false;
};

void Measurement::show(const Shape &shape, const std::string &kernel, const char *step) {
  const int64_t total = static_cast<int64_t>(request_.shapes.size() * request_.kernels.size());
  progress_.update(kernels_done_, total, fmt::format("{}, {}, {}", shape.name, kernel_word(kernel), step));
}

std::vector<Mode> Measurement::modes() const {
  if (!request_.modes.empty()) return request_.modes;
  return device_.on_gpu() ? std::vector<Mode>{Mode::graph, Mode::cold} : std::vector<Mode>{Mode::warm};
}

void Measurement::add_unmeasured(Row row, RowStatus status, const std::string &reason) {
  row.status = status;
  row.reason = reason;
  results_.rows.push_back(std::move(row));
  // After some failures nothing on the device works any more, and every further row would repeat the same words.
  if (status != RowStatus::failed) return;
  const Step alive = sampler_.stream().synchronize();
  if (alive.ok()) return;
  lost_ = true;
  results_.stopped = fmt::format("the device stopped working: {}", alive.failure().message);
}

// Of one call, to choose how many to take. A slow one is not made again for that.
Outcome<double> Measurement::estimate_us(const std::vector<Args> &args, double wall_us) {
  if (wall_us > slow_call_us / 2) return wall_us;
  TOOLS_TRY_ASSIGN(const Samples samples, sampler_.calls(Mode::warm, {args.front()}, 0, device_.on_gpu() ? 3 : 1));
  return samples.us.empty() ? 1 : std::max(0.1, *std::min_element(samples.us.begin(), samples.us.end()));
}

// The timed calls wrote over NaN: they must have left what the checked call left, bit by bit.
Step Measurement::compare_bits(const ShapeWork &work, const std::vector<uint16_t> &checked, CheckResult &check) const {
  std::vector<uint16_t> timed(checked.size());
  TOOLS_TRY(work.workload.sets.front().output.download(timed.data()));
  const auto differs = std::mismatch(checked.begin(), checked.end(), timed.begin());
  if (differs.first != checked.end())
    check.problem =
        fmt::format("the timed calls left other bits than the checked call, first at [{}]: {:#06x}, checked {:#06x}",
                    differs.first - checked.begin(), *differs.second, *differs.first);
  return Done{};
}

Outcome<Row> Measurement::measure_mode(const ShapeWork &work, const Row &base, Mode mode, const std::vector<Args> &args,
                                       const std::vector<uint16_t> &checked, double call_us) {
  Row row = base;
  const int64_t sets = static_cast<int64_t>(args.size());
  row.mode = mode_word(mode);
  show(work.shape, row.kernel, mode_word(mode));
  const double budget_us = device_.on_gpu() ? gpu_row_budget_us : cpu_row_budget_us;
  TOOLS_TRY(work.workload.sets.front().output.fill(0xff, sampler_.stream().get()));
  Samples samples;
  if (mode == Mode::graph) {
    const int64_t wanted =
        std::clamp<int64_t>(static_cast<int64_t>(graph_replay_us / call_us), 1, most_calls_per_graph);
    row.calls_per_sample = (wanted + sets - 1) / sets * sets;
    const Counts counts = counts_for(request_, budget_us, call_us * static_cast<double>(row.calls_per_sample));
    row.warmup = counts.warmup;
    TOOLS_TRY_ASSIGN(samples, sampler_.replays(args, row.calls_per_sample, counts.warmup, counts.samples));
  } else {
    const Counts counts = counts_for(request_, budget_us, call_us);
    row.warmup = counts.warmup;
    TOOLS_TRY_ASSIGN(samples, sampler_.calls(mode, args, counts.warmup, counts.samples));
  }
  row.samples_us = std::move(samples.us);
  TOOLS_TRY(compare_bits(work, checked, row.check));
  return row;
}

void Measurement::measure_kernel(const ShapeWork &work, const std::string &kernel) {
  Row base;
  base.shape = work.shape;
  base.kernel_asked = kernel_word(kernel);
  base.clock = device_.on_gpu() ? "gpu events" : "host";
  base.sets = static_cast<int64_t>(work.workload.sets.size());
  const Explained explained = explain_kernel(device_.context, work.shape, kernel);
  base.kernel = explained.kernel;
  base.module = explained.module;
  if (!explained.supported) return add_unmeasured(base, RowStatus::refused, explained.reason);
  if (device_.on_gpu()) {
    const Outcome<flashcore_model_info> model = model_of(work.shape, explained.module, device_.info.device);
    if (!model.ok()) return add_unmeasured(base, RowStatus::failed, model.failure().message);
    base.model_us = model.value().total_us;
  }

  std::vector<Args> args;
  for (const TensorSet &set : work.workload.sets) {
    args.push_back(attention_args(work.shape, kernel));
    set.use_in(args.back());
  }
  std::vector<uint16_t> checked;
  double call_us = 0, wall_us = 0;
  const Step begun = [&]() -> Step {
    show(work.shape, base.kernel, "prepare and check");
    TOOLS_TRY(device_.context.prepare(args.front()));
    TOOLS_TRY_ASSIGN(CheckedCall call,
                     checked_call(sampler_.stream(), work.shape, work.workload, work.reference, args.front()));
    base.check = std::move(call.check);
    checked = std::move(call.output);
    wall_us = call.wall_us;
    TOOLS_TRY_ASSIGN(call_us, estimate_us(args, wall_us));
    if (!device_.on_gpu()) return Done{};
    if (request_.warmup.value_or(1) > 0) TOOLS_TRY(sampler_.wake_device(args.front()));
    const int64_t host_samples =
        std::clamp<int64_t>(static_cast<int64_t>(host_cost_budget_us / call_us), 20, most_host_samples);
    TOOLS_TRY_ASSIGN(base.host_us, sampler_.host_cost(args, host_samples));
    return Done{};
  }();
  if (!begun.ok()) return add_unmeasured(base, RowStatus::failed, begun.failure().message);
  for (const Mode mode : modes()) {
    if (interrupted() || lost_) return;
    Outcome<Row> row = measure_mode(work, base, mode, args, checked, call_us);
    if (interrupted()) return;  // a row with some of its samples missing is none
    if (row.ok()) {
      results_.rows.push_back(std::move(row).value());
    } else {
      base.mode = mode_word(mode);
      add_unmeasured(base, RowStatus::failed, row.failure().message);
    }
  }
}

void Measurement::measure_shape(const Shape &shape) {
  Row nothing;
  nothing.shape = shape;
  nothing.kernel_asked = "all";
  try {
    const int64_t sets = request_.sets.value_or(default_sets(shape, device_.on_gpu()));
    const Outcome<Workload> workload = make_workload(device_.context, shape, sets, request_.seed);
    if (!workload.ok())
      return add_unmeasured(nothing,
                            workload.failure().exit_code == exit_usage ? RowStatus::refused : RowStatus::failed,
                            fmt::format("no inputs: {}", workload.failure().message));
    show(shape, request_.kernels.front(), "reference");
    const ReferenceRows reference = compute_reference(shape, workload.value().host);
    for (const std::string &kernel : request_.kernels) {
      if (!interrupted() && !lost_) {
        measure_kernel({shape, workload.value(), reference}, kernel);
        ++kernels_done_;
      }
    }
  } catch (const std::bad_alloc &) {
    add_unmeasured(nothing, RowStatus::failed, "this machine has not enough memory for the inputs");
  }
}

}  // namespace

Step measure(const Request &request, const Console &console, Results &results) {
  TOOLS_TRY_ASSIGN(const OpenedDevice device, open_device(request, results));
  if (!device.on_gpu() && std::count(request.modes.begin(), request.modes.end(), Mode::graph) != 0)
    return usage_failure("option --mode asks for graph, but the CPU device has no graphs; allowed there: warm, cold");
  TOOLS_TRY_ASSIGN(Sampler sampler, Sampler::make(device.context, device.on_gpu()));
  if (device.on_gpu()) {
    TOOLS_TRY_ASSIGN(results.event_pair_us, sampler.event_pair_us());
    results.before = sampler.gpu_state();
  }
  {
    Progress progress(console, "measuring");
    Measurement measurement(request, device, sampler, progress, results);
    for (const Shape &shape : request.shapes)
      if (!interrupted() && !measurement.lost()) measurement.measure_shape(shape);
  }
  results.interrupted = interrupted();
  results.flush_bytes = sampler.flush_bytes();
  if (device.on_gpu()) results.after = sampler.gpu_state();
  const Outcome<ContextInfo> info = device.context.describe();  // again: its counters now say what was loaded
  if (info.ok()) results.context = info.value();
  return Done{};
}

}  // namespace flashcore::tools
