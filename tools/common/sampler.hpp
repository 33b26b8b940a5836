// SPDX-License-Identifier: Apache-2.0
//
// The clock work: how one time is taken in each mode. How many, of what, and whether the results were right is
// measure.cpp's business; what the modes mean is docs/MEASURING.md's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cuda_graph.hpp"
#include "device.hpp"
#include "measuring.hpp"

namespace flashcore::tools {

struct Samples {
  std::vector<double> us, host_us;
};

class Sampler {
 public:
  static Outcome<Sampler> make(const Context &context, bool on_gpu);

  const Stream &stream() const { return stream_; }
  int64_t flush_bytes() const { return flush_ ? flush_->bytes() : 0; }
  // GPU only: the driver for graphs, or why there is none.
  const Outcome<GraphDriver> &driver() const { return driver_; }

  GpuState gpu_state() const;

  // One call per sample, of the args in turn. warm: right behind a call with the same args. cold: behind a flush of the
  // L2 cache. Stops early, with what there is, when interrupted.
  Outcome<Samples> calls(Mode mode, const std::vector<Args> &args, int64_t warmup, int64_t samples);
  // One replay of a graph of `calls` calls per sample, divided by them.
  Outcome<Samples> replays(const std::vector<Args> &args, int64_t calls, int64_t warmup, int64_t samples);
  // Calls without a clock, until the device has left the low clocks of its idle state.
  Step wake_device(const Args &args);
  // Wall time of the call itself, in bursts that the queue holds without waiting.
  Outcome<std::vector<double>> host_cost(const std::vector<Args> &args, int64_t samples);
  // The time between two events with nothing between them.
  Outcome<double> event_pair_us();

 private:
  Sampler(const Context &context, bool on_gpu, Stream stream)
      : context_(context), on_gpu_(on_gpu), stream_(std::move(stream)) {}
  Step make_flush_buffer();
  Step flush();
  Step one_call(Mode mode, const Args &args, Samples &samples);

  const Context &context_;
  bool on_gpu_;
  Stream stream_;
  std::optional<Buffer> flush_;
  Outcome<GraphDriver> driver_ = Failure{exit_usage, "graphs need a GPU; this is the CPU device"};
};

}  // namespace flashcore::tools
