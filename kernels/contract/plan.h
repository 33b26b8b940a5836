// SPDX-License-Identifier: Apache-2.0
//
// What a call of a kernel is: launches, one after another on a stream, the memory that they hand on to each other, and what
// all of it costs by the model. Passports make it of a problem and a device (passport.h).
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

struct Grid {
  int64_t x, y, z;
};

// What the cost model and the checks know about a device.
struct DeviceLimits {
  int32_t arch;
  int32_t multiprocessors;
  int32_t shared_bytes_per_block;  // after the opt-in
  int32_t shared_bytes_per_multiprocessor;
  int64_t l2_cache_bytes = 0;
  // For who tries others: in how many parts the keys of a row are split over the grid, as far as a kernel can; 0: in as many as cost least.
  int32_t key_parts = 0;
};

// What a call costs by the model, in microseconds, and the bounds that it follows from (cost.h): the busiest multiprocessor's
// time if only that unit were slow. A kernel leaves the units at 0 that it has no figures for.
struct Cost {
  double launch_us;
  double tensor_us, mufu_us, issue_us, shared_us, l2_us;
  double throughput_us;              // all units together, with what they cost each other
  double latency_us;                 // the steps one after the other
  double merge_us;                   // a second launch, of what several blocks have of the same rows; 0: there is none
  double total_us;                   // launch, the larger of throughput and latency, and the merge
  double waves;                      // of thread blocks
  double blocks_per_multiprocessor;  // resident at once
};

enum LaunchAttribute : uint32_t {
  // The kernel's code fixes the size of its clusters (__cluster_dims__): the launch says nothing of it, which is the plain call
  // of the driver. Without it Launch::cluster is what the launch asks for.
  cluster_in_code = 1,
  // It may begin before the launch ahead of it on the stream has ended, and waits by itself for what that one writes
  // (programmatic dependent launch, from sm_90 on).
  programmatic_dependent = 2,
};

struct Launch {
  Grid grid;
  int32_t threads;  // of a thread block
  int32_t cluster;  // thread blocks that share a cluster, along x; 1: none
  int64_t dynamic_shared_bytes;
  uint32_t attributes;  // LaunchAttribute
  int32_t entry_point;  // index in Passport::entry_points
};

inline constexpr int32_t most_stages = 3;  // what goes before, the work, what goes after

struct Plan {
  int32_t stage_count;
  Launch stages[most_stages];
  int64_t workspace_bytes;  // device memory that the stages share; no call expects anything in it
  Cost cost;

  // The launch of the kernel's own name, which does the work.
  constexpr const Launch &main_stage() const {
    int32_t stage = 0;
    while (stage + 1 < stage_count && stages[stage].entry_point != 0) ++stage;
    return stages[stage];
  }
};

// Most kernels: one launch of a one-dimensional grid of independent thread blocks, and no workspace.
constexpr Plan single_launch(int64_t blocks, int32_t threads, int64_t dynamic_shared_bytes, const Cost &cost) {
  Plan plan{};
  plan.stage_count = 1;
  plan.stages[0] = {{blocks, 1, 1}, threads, 1, dynamic_shared_bytes, 0, 0};
  plan.cost = cost;
  return plan;
}

}  // namespace flashcore::kernels
