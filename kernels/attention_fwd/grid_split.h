// SPDX-License-Identifier: Apache-2.0
//
// Keys of few query rows, shared by the thread blocks of a grid: each leaves what it has of its rows in the workspace, and a second launch
// makes one of the parts (parts/grid_split.cuh). What host and device agree on about that: shares, workspace, the second launch and its cost.
#pragma once

#include "attention_fwd/params.h"
#include "contract/cost.h"
#include "contract/pieces.h"
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

inline constexpr GridSplit whole = {0, 1, 0x7fffffff};

// As many parts as are asked for, or fewer, of whole steps of `step_keys` keys.
constexpr GridSplit shares(const ProblemKey &key, int64_t parts, int64_t step_keys) {
  const int64_t keys = end_of_keys(key);
  if (parts <= 1 || keys <= step_keys || rows(key) > 0x7fffffff) return whole;
  const int64_t per_part = ceil_div(ceil_div(keys, parts), step_keys) * step_keys, count = ceil_div(keys, per_part);
  return count <= 1 ? whole : GridSplit{0, static_cast<int32_t>(count), static_cast<int32_t>(per_part)};
}

// Parts of so many keys each.
constexpr GridSplit parts_of(const ProblemKey &key, int64_t keys_per_part) {
  const int64_t count = ceil_div(end_of_keys(key), keys_per_part);
  return count <= 1 || rows(key) > 0x7fffffff
             ? whole
             : GridSplit{0, static_cast<int32_t>(count), static_cast<int32_t>(keys_per_part)};
}

// What else than the cost says how keys are cut: the caller, or that no other row may have a say.
constexpr bool is_given(const ProblemKey &key) {
  return key.split_count != 0 || key.split_tokens != 0 || key.batch_invariant != 0;
}
// The most parts that a limit of multiprocessors leaves for so many blocks; neither launch may have more blocks than that.
constexpr int64_t parts_within(const ProblemKey &key, int64_t blocks) {
  return rows(key) > key.multiprocessor_limit || blocks == 0 ? 1 : key.multiprocessor_limit / blocks;
}
// As it says; invariant_keys: of a part, where nothing is said but that.
constexpr GridSplit given(const ProblemKey &key, int64_t step_keys, int64_t invariant_keys) {
  if (key.split_count == 0 && key.split_tokens == 0) return parts_of(key, invariant_keys);
  return key.split_tokens != 0 ? parts_of(key, key.split_tokens) : shares(key, key.split_count, step_keys);
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
                    // Beside the launch ahead of it, it would take multiprocessors of its own.
                    device.arch >= 90 && key.multiprocessor_limit == 0 ? uint32_t{programmatic_dependent} : 0u,
                    1};
  plan.stage_count = 2;
  plan.workspace_bytes = workspace_bytes(key, split.parts);
  return plan;
}

}  // namespace grid_split
}  // namespace flashcore::kernels
