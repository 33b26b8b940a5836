// SPDX-License-Identifier: Apache-2.0
#include "sampler.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "output_file.hpp"
#include "statistics.hpp"

namespace flashcore::tools {
namespace {

// More than twice the largest L2 cache that a GPU has today (126 MB).
constexpr int64_t flush_size = 256 << 20;
constexpr size_t replays_per_burst = 10;
constexpr size_t calls_per_burst = 20;  // a stream's queue holds about a thousand
constexpr double wake_us = 5e4;
constexpr size_t most_wake_calls = 10000;

}  // namespace

const char *mode_word(Mode mode) {
  switch (mode) {
    case Mode::graph:
      return "graph";
    case Mode::warm:
      return "warm";
    case Mode::cold:
      return "cold";
  }
  return "";
}

Outcome<Sampler> Sampler::make(const Context &context, bool on_gpu) {
  TOOLS_TRY_ASSIGN(Stream stream, Stream::make(context, replays_per_burst + 1));
  Sampler sampler(context, on_gpu, std::move(stream));
  if (!on_gpu) return sampler;
  Outcome<GraphDriver> driver = GraphDriver::load();
  if (driver.ok()) TOOLS_TRY(driver.value().make_current(sampler.stream_.get()));
  sampler.driver_ = std::move(driver);
  TOOLS_TRY(sampler.make_flush_buffer());
  return sampler;
}

GpuState Sampler::gpu_state() const {
  if (!driver_.ok()) return {{}, driver_.failure().message};
  const Outcome<std::string> bus_id = driver_.value().pci_bus_id();
  return bus_id.ok() ? read_gpu_state(bus_id.value()) : GpuState{{}, bus_id.failure().message};
}

Step Sampler::make_flush_buffer() {
  if (flush_) return Done{};
  TOOLS_TRY_ASSIGN(Buffer buffer, Buffer::make(context_, flush_size));
  flush_.emplace(std::move(buffer));
  return Done{};
}

Step Sampler::flush() {
  TOOLS_TRY(make_flush_buffer());
  return flush_->fill(0, stream_.get());
}

// On a GPU every sample begins with the flush, the warm ones too: while the device is busy with it, the host puts the
// rest into the queue, so that no gap of the host's making falls between the two events.
Step Sampler::one_call(Mode mode, const Args &args, Samples &samples) {
  if (on_gpu_ || mode == Mode::cold) TOOLS_TRY(flush());
  if (on_gpu_ && mode == Mode::warm) TOOLS_TRY(stream_.attend(args));
  TOOLS_TRY(stream_.record(0));
  const double begin_us = clock_us();
  TOOLS_TRY(stream_.attend(args));
  const double end_us = clock_us();
  TOOLS_TRY(stream_.record(1));
  TOOLS_TRY(stream_.synchronize());
  TOOLS_TRY_ASSIGN(const double elapsed_us, stream_.elapsed_us(0, 1));
  samples.us.push_back(elapsed_us);
  if (on_gpu_) samples.host_us.push_back(end_us - begin_us);
  return Done{};
}

Outcome<Samples> Sampler::calls(Mode mode, const std::vector<Args> &args, int64_t warmup, int64_t samples) {
  Samples unused, taken;
  for (int64_t i = 0; i < warmup + samples && !interrupted(); ++i)
    TOOLS_TRY(one_call(mode, args[static_cast<size_t>(i) % args.size()], i < warmup ? unused : taken));
  return taken;
}

// A burst is one replay that is not timed and then events and replays in turn: the device never waits for the host.
Outcome<Samples> Sampler::replays(const std::vector<Args> &args, int64_t calls, int64_t warmup, int64_t samples) {
  if (!driver_.ok()) return driver_.failure();
  TOOLS_TRY_ASSIGN(const Graph graph, driver_.value().capture(stream_.get(), [&]() -> Step {
    for (int64_t i = 0; i < calls; ++i) TOOLS_TRY(stream_.attend(args[static_cast<size_t>(i) % args.size()]));
    return Done{};
  }));
  Samples taken;
  int64_t done = 0;
  while (done < warmup + samples && !interrupted()) {
    const size_t burst = std::min(replays_per_burst, static_cast<size_t>(warmup + samples - done));
    TOOLS_TRY(graph.launch(stream_.get()));
    TOOLS_TRY(stream_.record(0));
    for (size_t i = 1; i <= burst; ++i) {
      TOOLS_TRY(graph.launch(stream_.get()));
      TOOLS_TRY(stream_.record(i));
    }
    TOOLS_TRY(stream_.synchronize());
    for (size_t i = 1; i <= burst; ++i, ++done) {
      TOOLS_TRY_ASSIGN(const double elapsed_us, stream_.elapsed_us(i - 1, i));
      if (done >= warmup) taken.us.push_back(elapsed_us / static_cast<double>(calls));
    }
  }
  return taken;
}

Step Sampler::wake_device(const Args &args) {
  const double end_us = clock_us() + wake_us;
  for (size_t done = 0; done < most_wake_calls && clock_us() < end_us && !interrupted(); done += calls_per_burst) {
    for (size_t i = 0; i < calls_per_burst; ++i) TOOLS_TRY(stream_.attend(args));
    TOOLS_TRY(stream_.synchronize());
  }
  return Done{};
}

Outcome<std::vector<double>> Sampler::host_cost(const std::vector<Args> &args, int64_t samples) {
  std::vector<double> taken;
  while (static_cast<int64_t>(taken.size()) < samples && !interrupted()) {
    TOOLS_TRY(stream_.attend(args.front()));  // the first call after a wait also wakes the device
    double begin_us = clock_us();
    for (size_t i = 0; i < calls_per_burst; ++i) {
      TOOLS_TRY(stream_.attend(args[i % args.size()]));
      const double end_us = clock_us();
      taken.push_back(end_us - begin_us);
      begin_us = end_us;
    }
    TOOLS_TRY(stream_.synchronize());
  }
  return taken;
}

Outcome<double> Sampler::event_pair_us() {
  std::vector<double> taken;
  for (int i = 0; i < 25; ++i) {
    TOOLS_TRY(flush());
    TOOLS_TRY(stream_.record(0));
    TOOLS_TRY(stream_.record(1));
    TOOLS_TRY(stream_.synchronize());
    TOOLS_TRY_ASSIGN(const double elapsed_us, stream_.elapsed_us(0, 1));
    if (i >= 5) taken.push_back(elapsed_us);
  }
  return median(std::move(taken));
}

}  // namespace flashcore::tools
