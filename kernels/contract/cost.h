// SPDX-License-Identifier: Apache-2.0
//
// The cost model that passports share: waves of thread blocks, each bound by the tensor cores or by its own latency. It
// ranks candidates; it is a model and every figure derived from it is called one.
#pragma once

#include "contract/passport.h"

namespace flashcore::kernels {

// Dense 16-bit tensor-core flop per clock and multiprocessor that mma.sync reaches, and a typical clock.
struct TensorRate {
  double flop_per_clock;
  double clock_mhz;
};

constexpr TensorRate tensor_rate(int32_t arch) {
  if (arch == 80) return {2048, 1410};               // A100: 312 TFLOP/s on 108 SMs
  if (arch >= 90 && arch < 120) return {2560, 1830};  // mma.sync reaches about 62 % of the wgmma rate
  return {1024, 2040};                                // Ada and its neighbours: L4 121 TFLOP/s on 58 SMs
}

struct TileCost {
  double flop_per_step;   // of one thread block and one K/V tile
  double steps;           // of the longest thread block
  double mean_steps;      // over all thread blocks (causal blocks are shorter)
  double thread_blocks;
  double blocks_per_multiprocessor;  // resident at once
  double efficiency;      // share of the tensor rate that the inner loop reaches when the multiprocessor is full
  double step_latency_us; // a thread block alone needs at least this per step
};

constexpr double tile_cost_us(const TileCost &tile, const DeviceLimits &device) {
  constexpr double launch_us = 2.0;    // launch, prologue and epilogue
  const TensorRate rate = tensor_rate(device.arch);
  const double us_per_step = tile.flop_per_step / (rate.flop_per_clock * rate.clock_mhz * tile.efficiency);
  const double slots = tile.blocks_per_multiprocessor * device.multiprocessors;
  const double waves = static_cast<double>(ceil_div(static_cast<int64_t>(tile.thread_blocks), static_cast<int64_t>(slots)));
  // Blocks on the busiest multiprocessor share its tensor cores.
  const double busiest = static_cast<double>(ceil_div(static_cast<int64_t>(tile.thread_blocks), device.multiprocessors));
  const double throughput_us = busiest * tile.mean_steps * us_per_step;
  const double latency_us = (waves - 1) * tile.mean_steps * tile.step_latency_us + tile.steps * tile.step_latency_us;
  return launch_us + (throughput_us > latency_us ? throughput_us : latency_us);
}

}  // namespace flashcore::kernels
