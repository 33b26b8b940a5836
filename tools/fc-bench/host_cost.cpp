// SPDX-License-Identifier: Apache-2.0
//
// --host-cost: what a warm flashcore_attention_fwd costs the host beside cuLaunchKernel of the same kernel with the
// same parameters. The launch is taken from a graph that captured the call, so that nothing about it is guessed.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <new>

#include "../common/inputs.hpp"
#include "../common/output_file.hpp"
#include "../common/sampler.hpp"
#include "opened_device.hpp"

namespace flashcore::tools {
namespace {

constexpr int64_t default_bursts = 100, warmup_bursts = 5, calls_per_burst = 20;
constexpr double row_budget_us = 5e6;

// One burst: the queue holds it all, so no call waits for the device. The first one, which wakes the device, is not
// timed.
Step time_burst(const Stream &stream, const std::function<Step()> &call, std::vector<double> *taken) {
  TOOLS_TRY(call());
  double begin_us = clock_us();
  for (int64_t i = 0; i < calls_per_burst; ++i) {
    TOOLS_TRY(call());
    const double end_us = clock_us();
    if (taken != nullptr) taken->push_back(end_us - begin_us);
    begin_us = end_us;
  }
  return stream.synchronize();
}

// Both leave the same bits in the output, so that the bare launch is known to be the same work.
Step check_same_work(const Stream &stream, const Buffer &output, const std::function<Step()> &call,
                     const std::function<Step()> &launch) {
  std::vector<uint16_t> by_call(static_cast<size_t>(output.bytes()) / 2), by_launch(by_call.size());
  TOOLS_TRY(output.fill(0xff, stream.get()));
  TOOLS_TRY(call());
  TOOLS_TRY(stream.synchronize());
  TOOLS_TRY(output.download(by_call.data()));
  TOOLS_TRY(output.fill(0xff, stream.get()));
  TOOLS_TRY(launch());
  TOOLS_TRY(stream.synchronize());
  TOOLS_TRY(output.download(by_launch.data()));
  if (by_call != by_launch)
    return Failure{exit_failed_check,
                   "the captured kernel, launched by itself, leaves another output than flashcore_attention_fwd"};
  return Done{};
}

int64_t bursts_for(const Request &request, double burst_us) {
  const double affordable = row_budget_us / std::max(2 * burst_us, 1.0);
  return request.samples.value_or(
      std::clamp<int64_t>(static_cast<int64_t>(std::min(affordable, 1e6)), 5, default_bursts));
}

Step measure_row(const Request &request, const OpenedDevice &device, Sampler &sampler, HostCostRow &row) {
  const Stream &stream = sampler.stream();
  const Explained explained =
      explain_kernel(device.context, row.shape, row.kernel_asked == "auto" ? "" : row.kernel_asked);
  row.kernel = explained.kernel;
  row.module = explained.module;
  if (!explained.supported) {
    row.status = RowStatus::refused;
    row.reason = explained.reason;
    return Done{};
  }
  if (!sampler.driver().ok()) return sampler.driver().failure();
  TOOLS_TRY_ASSIGN(const Workload workload, make_workload(device.context, row.shape, 1, request.seed));
  Args args = attention_args(row.shape, row.kernel_asked == "auto" ? "" : row.kernel_asked);
  workload.sets.front().use_in(args);
  TOOLS_TRY(device.context.prepare(args));
  const std::function<Step()> call = [&] { return stream.attend(args); };
  TOOLS_TRY_ASSIGN(const Graph graph, sampler.driver().value().capture(stream.get(), call));
  TOOLS_TRY_ASSIGN(const Graph::Kernel kernel, graph.only_kernel());
  const std::function<Step()> launch = [&]() -> Step {
    if (const int32_t result = kernel.launch(stream.get()); result != 0) return graph.launch_failure(result);
    return Done{};
  };
  TOOLS_TRY(check_same_work(stream, workload.sets.front().output, call, launch));
  const double begin_us = clock_us();
  for (int64_t i = 0; i < warmup_bursts; ++i) {
    TOOLS_TRY(time_burst(stream, call, nullptr));
    TOOLS_TRY(time_burst(stream, launch, nullptr));
  }
  const int64_t bursts = bursts_for(request, (clock_us() - begin_us) / (2 * warmup_bursts));
  for (int64_t i = 0; i < bursts && !interrupted(); ++i) {
    const bool call_first = i % 2 == 0;  // each comes first as often, against drift
    TOOLS_TRY(time_burst(stream, call_first ? call : launch, call_first ? &row.call_us : &row.launch_us));
    TOOLS_TRY(time_burst(stream, call_first ? launch : call, call_first ? &row.launch_us : &row.call_us));
  }
  return Done{};
}

}  // namespace

Step measure_host_cost(const Request &request, const Console &console, Results &results) {
  TOOLS_TRY_ASSIGN(const OpenedDevice device, open_device(request, results));
  if (!device.on_gpu())
    return Failure{exit_no_device,
                   fmt::format("--host-cost needs a GPU, and this is the CPU device ({})", device.info.device_reason)};
  TOOLS_TRY_ASSIGN(Sampler sampler, Sampler::make(device.context, true));
  results.before = sampler.gpu_state();
  Progress progress(console, "measuring the host's cost");
  int64_t done = 0;
  const int64_t total = static_cast<int64_t>(request.shapes.size() * request.kernels.size());
  for (const Shape &shape : request.shapes)
    for (const std::string &kernel : request.kernels) {
      if (interrupted()) break;
      progress.update(done++, total, fmt::format("{}, {}", shape.name, kernel_word(kernel)));
      HostCostRow row;
      row.shape = shape;
      row.kernel_asked = kernel_word(kernel);
      const Step measured = [&]() -> Step {
        try {
          return measure_row(request, device, sampler, row);
        } catch (const std::bad_alloc &) {
          return Failure{exit_failed_check, "this machine has not enough memory for the inputs"};
        }
      }();
      if (!measured.ok()) row.status = RowStatus::failed, row.reason = measured.failure().message;
      if (!interrupted()) results.host_cost.push_back(std::move(row));
    }
  results.interrupted = interrupted();
  results.after = sampler.gpu_state();
  return Done{};
}

}  // namespace flashcore::tools
