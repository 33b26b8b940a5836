// SPDX-License-Identifier: Apache-2.0
//
// The cost model that passports share: a roofline of one multiprocessor. What the thread blocks on the busiest one need of
// tensor cores, exponential units, issue slots, shared memory and L2 bounds the call from below, and so does the time that
// a block alone takes for its steps one after the other. It ranks candidates; it is a model, fitted on an H200
// (tests/cli/test_cost_model.py holds it to what was measured there) and a prediction everywhere else.
#pragma once

#include "contract/arch.h"
#include "contract/passport.h"
#include "contract/visibility.h"

namespace flashcore::kernels {

constexpr Rates rates_of(int32_t arch) { return arch_like(arch).rates; }

// Fitted on the H200. Units that are not the bound still cost a share of their time: their instructions compete for issue,
// and a warp that waits for one cannot feed another.
inline constexpr double overlap_loss = 0.28;  // of what the other units need beside the busiest one
inline constexpr double chain_share = 0.74;   // of the sum of all units' times, which a block alone needs for a step
inline constexpr double launch_us = 1.2;
inline constexpr double prologue_clocks = 2050;     // before the first step and after the last, of a block alone
inline constexpr double occupied_clocks = 2650;     // the same, of a block among others: masked tiles cost more too
inline constexpr double clocks_per_io_byte = 0.03;  // of Q and O

// mma.sync kernels: what one thread block does.
struct MmaWork {
  int32_t tile_q, tile_kv, head_dim, head_dim_v, warps;
  int32_t groups;     // of warps that have key tiles of their own: a step takes as many tiles
  int32_t row_tiles;  // a warp's query rows / 16
  bool q_in_registers;
  int64_t shared_bytes;
  double thread_blocks;
  KeySteps steps;
  double merge_clocks;  // of the groups' partial outputs, per block
};

// Registers of a thread, estimated: O, S and half as many for P, Q, and what addresses and the softmax state take.
constexpr int32_t mma_registers(const MmaWork &work) {
  const int32_t accumulators = work.row_tiles * (work.head_dim_v / 2 + work.tile_kv * 3 / 4);
  const int32_t all = accumulators + (work.q_in_registers ? work.row_tiles * work.head_dim / 4 : 0) + 60;
  return all > 255 ? 255 : (all + 7) / 8 * 8;
}

// Blocks that are resident on a multiprocessor at once; 0: not one.
constexpr int32_t resident_blocks(int32_t registers, int32_t threads, int64_t shared_bytes,
                                  const DeviceLimits &device) {
  const int64_t by_registers = 65536 / (int64_t{threads} * ((registers + 7) / 8 * 8));
  const int64_t by_shared = device.shared_bytes_per_multiprocessor / (shared_bytes + 1024);
  const int64_t by_threads = arch_like(device.arch).resident_threads / threads;
  const int64_t fewest = by_registers < by_shared ? by_registers : by_shared;
  return static_cast<int32_t>(fewest < by_threads ? fewest : by_threads);
}

constexpr double larger_of(double a, double b) { return a > b ? a : b; }

// Clocks of the units for one step of one block, and what follows for the call.
struct StepClocks {
  double tensor, mufu, issue, shared, l2;
};

constexpr Cost cost_of_steps(const StepClocks &clocks, double thread_blocks, const KeySteps &steps, double warps,
                             double resident, double prologue, double occupied, const DeviceLimits &device) {
  const double clock_mhz = rates_of(device.arch).clock_mhz;
  const double sum = clocks.tensor + clocks.mufu + clocks.issue + clocks.shared;
  const double busiest_unit = larger_of(larger_of(clocks.tensor, clocks.mufu), larger_of(clocks.issue, clocks.shared));
  const double step_clocks = larger_of(busiest_unit + overlap_loss * (sum - busiest_unit), clocks.l2);
  // Fewer warps than the four parts of a multiprocessor use only their parts' units.
  const double chain_clocks = larger_of(chain_share * sum * (warps < 4 ? 4 / warps : 1), clocks.l2);
  const auto blocks = static_cast<int64_t>(thread_blocks);
  const double on_busiest = static_cast<double>(ceil_div(blocks, device.multiprocessors));
  Cost cost{};
  cost.blocks_per_multiprocessor = resident;
  cost.waves = thread_blocks / (resident * device.multiprocessors);
  const double whole_waves =
      larger_of(1, static_cast<double>(ceil_div(blocks, static_cast<int64_t>(resident) * device.multiprocessors)));
  const double us_of_all_steps = on_busiest * steps.mean / clock_mhz;
  cost.launch_us = launch_us;
  cost.tensor_us = us_of_all_steps * clocks.tensor;
  cost.mufu_us = us_of_all_steps * clocks.mufu;
  cost.issue_us = us_of_all_steps * clocks.issue;
  cost.shared_us = us_of_all_steps * clocks.shared;
  cost.l2_us = us_of_all_steps * clocks.l2;
  cost.throughput_us = on_busiest * (steps.mean * step_clocks + occupied) / clock_mhz;
  cost.latency_us =
      ((whole_waves - 1) * (steps.mean * chain_clocks + prologue) + steps.longest * chain_clocks + prologue) /
      clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  return cost;
}

constexpr Cost mma_cost(const MmaWork &work, const DeviceLimits &device) {
  const Rates rates = rates_of(device.arch);
  const double keys = static_cast<double>(work.tile_kv) * work.groups;  // of a step
  const double dims = static_cast<double>(work.head_dim) + work.head_dim_v;
  const double score_tiles = work.tile_q / 16.0 * keys / 8.0;
  // ldmatrix of four 8x8 tiles: K and V once for each warp, Q again where it does not stay.
  const double loads = work.warps * (work.tile_kv / 16.0 * dims / 16.0 +
                                     (work.q_in_registers ? 0.0 : work.row_tiles * work.head_dim / 16.0));
  // Counted in the steady loop (fc-inspect show --sass-classes): 20 for the softmax of a 16x8 tile, 50 around it in each warp.
  const double instructions = score_tiles * (dims / 16.0 + 20.0) + loads + 50.0 * work.warps;
  const double key_bytes = keys * dims * 2.0;
  const StepClocks clocks = {2.0 * work.tile_q * keys * dims / rates.tensor_flop,
                             work.tile_q * keys / rates.exponentials, instructions / rates.instructions,
                             (loads * 512.0 + key_bytes) / rates.shared_bytes, key_bytes / rates.l2_bytes};
  const int32_t resident = resident_blocks(mma_registers(work), work.warps * 32, work.shared_bytes, device);
  const double io_clocks = clocks_per_io_byte * work.tile_q * dims * 2.0 + work.merge_clocks;
  return cost_of_steps(clocks, work.thread_blocks, work.steps, work.warps, resident < 1 ? 1 : resident,
                       prologue_clocks + io_clocks, occupied_clocks + io_clocks, device);
}

// No call is faster than what it takes to read every key and value that a query sees from memory once.
constexpr double memory_us(const ProblemKey &key, const DeviceLimits &device) {
  const Rates rates = rates_of(device.arch);
  const double bytes = 2.0 * static_cast<double>(key.batch) * key.heads_kv *
                       static_cast<double>(visibility_of(key).keys_of_all()) * (key.head_dim + key.head_dim_v);
  return bytes / (rates.memory_bytes * rates.clock_mhz * device.multiprocessors);
}
constexpr Cost with_memory(Cost cost, const ProblemKey &key, const DeviceLimits &device) {
  cost.total_us = larger_of(cost.total_us, cost.launch_us + memory_us(key, device));
  return cost;
}

// Kernels that nothing was fitted for: a share of the tensor rate, and what a block alone takes for a step.
constexpr Cost tile_cost(double flop_per_step, const KeySteps &steps, double thread_blocks, double resident,
                         double efficiency, double step_latency_us, const DeviceLimits &device) {
  const Rates rates = rates_of(device.arch);
  const double step_clocks = flop_per_step / (rates.tensor_flop * efficiency),
               chain_clocks = step_latency_us * rates.clock_mhz;
  const double on_busiest = static_cast<double>(ceil_div(static_cast<int64_t>(thread_blocks), device.multiprocessors));
  const double slots = resident * device.multiprocessors;
  const double whole_waves =
      larger_of(1, static_cast<double>(ceil_div(static_cast<int64_t>(thread_blocks), static_cast<int64_t>(slots))));
  Cost cost{};
  cost.launch_us = launch_us;
  cost.blocks_per_multiprocessor = resident;
  cost.waves = thread_blocks / slots;
  cost.tensor_us = on_busiest * steps.mean * step_clocks * efficiency / rates.clock_mhz;
  cost.throughput_us = on_busiest * steps.mean * step_clocks / rates.clock_mhz;
  cost.latency_us = ((whole_waves - 1) * steps.mean + steps.longest) * chain_clocks / rates.clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  return cost;
}

}  // namespace flashcore::kernels
