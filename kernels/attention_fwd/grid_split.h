// SPDX-License-Identifier: Apache-2.0
//
// Keys of few query rows, shared by the thread blocks of a grid: each leaves what it has of its rows in the workspace, and a second launch
// makes one of the parts (parts/grid_split.cuh). What host and device agree on about that: shares, workspace, the second launch and its cost.
#pragma once

#include "attention_fwd/params.h"
#include "contract/cost.h"
#include "contract/plan.h"

namespace flashcore::kernels {

// Part p of a row's keys is p * keys_per_part .. + keys_per_part - 1, as far as the row sees them. In the workspace lie, in float32, O of every
// part of every row, to its reference and not divided by its sum, and behind all of these a reference and a sum for each.
struct GridSplit {
  uint64_t workspace;
  int32_t parts;  // 1: no workspace, and no second launch
  int32_t keys_per_part;
};

namespace grid_split {

inline constexpr int32_t merge_threads = 256;  // of a thread block, which merges one row
// Four columns of O a thread; as many threads have the same ones, of other parts.
constexpr int32_t merge_quads(int32_t head_dim_v) { return head_dim_v / 4; }
constexpr int32_t merge_groups(int32_t head_dim_v) { return merge_threads / merge_quads(head_dim_v); }
inline constexpr int32_t merge_batch = 8;  // parts that a thread reads at once
constexpr int32_t merge_shared_bytes(int32_t head_dim_v) { return merge_groups(head_dim_v) * (head_dim_v * 4 + 8); }

constexpr int64_t rows(const ProblemKey &key) { return key.batch * key.heads_q * key.seqlen_q; }

// As many parts as are asked for, or fewer, of whole steps of `step_keys` keys.
constexpr GridSplit shares(const ProblemKey &key, int64_t parts, int64_t step_keys) {
  constexpr GridSplit whole = {0, 1, 0x7fffffff};
  // The last query sees the most.
  const int64_t keys = key.seqlen_q > 0 ? visibility_of(key).keys_of(key.seqlen_q - 1).end : 0;
  if (parts <= 1 || keys <= step_keys || rows(key) > 0x7fffffff) return whole;
  const int64_t per_part = ceil_div(ceil_div(keys, parts), step_keys) * step_keys, count = ceil_div(keys, per_part);
  return count <= 1 ? whole : GridSplit{0, static_cast<int32_t>(count), static_cast<int32_t>(per_part)};
}

constexpr int64_t workspace_bytes(const ProblemKey &key, int32_t parts) {
  return parts == 1 ? 0 : rows(key) * parts * (key.head_dim_v + 2) * 4;
}

// Predicted: the second launch, which begins under the end of the first where it may; what is written, and read again, at the rate of the L2
// cache; and the parts that a thread reads one after the other.
inline constexpr double merge_launch_us = 2.0, merge_turn_us = 0.7;
constexpr double merge_us(const ProblemKey &key, int32_t parts, int32_t head_dim_v, const DeviceLimits &device) {
  if (parts == 1) return 0;
  const Rates rates = rates_of(device.arch);
  const double traffic_us = 2.0 * static_cast<double>(workspace_bytes(key, parts)) /
                            (rates.l2_bytes * rates.clock_mhz * device.multiprocessors);
  const int64_t turns = ceil_div(parts, int64_t{merge_batch} * merge_groups(head_dim_v));
  return merge_launch_us + merge_turn_us * static_cast<double>(turns) + traffic_us;
}

// The plan of one launch, with that of the merge behind it. more_shared_bytes: behind those of merge_shared_bytes.
constexpr Plan with_merge(Plan plan, const GridSplit &split, const ProblemKey &key, int32_t head_dim_v,
                          const DeviceLimits &device, int64_t more_shared_bytes = 0) {
  if (split.parts == 1) return plan;
  plan.stages[1] = {{rows(key), 1, 1},
                    merge_threads,
                    1,
                    merge_shared_bytes(head_dim_v) + more_shared_bytes,
                    device.arch >= 90 ? uint32_t{programmatic_dependent} : 0u,
                    1};
  plan.stage_count = 2;
  plan.workspace_bytes = workspace_bytes(key, split.parts);
  return plan;
}

}  // namespace grid_split
}  // namespace flashcore::kernels
