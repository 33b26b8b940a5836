// SPDX-License-Identifier: Apache-2.0
//
// What a call that appends to its cache or rotates launches ahead of attention (kernels/append_kv), and what of the problem attention sees
// behind it.
#pragma once

#include "append_kv/append_params.h"
#include "plan/kernel_table.hpp"
#include "problem/attention_problem.hpp"
#include "runtime/launch_plan.hpp"

namespace flashcore {

inline Selection append_selection(const kernels::ProblemKey &key) {
  Selection selection;
  selection.kernel_index = find_kernel("append_kv");
  selection.specialization = {{key.dtype}};
  return selection;
}

// The plan of attention becomes that of the call.
inline void put_ahead(LaunchPlan &plan, const kernels::ProblemKey &key, const ModuleFunctions &functions) {
  const kernels::Launch launch = kernels::append_kv::launch_of(key);
  plan.ahead = {functions[static_cast<size_t>(launch.entry_point)], launch_shape(launch)};
  plan.places = kernels::append_kv::places_of(key, plan.workspace_bytes);
  plan.workspace_bytes = plan.places.end;
}

// Attention's problem: rotated queries and the lengths after the call are where the launch ahead leaves them.
inline AttentionProblem problem_behind(const AttentionProblem &problem, const kernels::AppendParams &ahead) {
  AttentionProblem behind = problem;
  if (ahead.query_rows != 0) {
    const kernels::TensorView &query = ahead.rotated_query;
    behind.tensors[fwd::query] = {query.data, query.stride_batch, query.stride_row, query.stride_head};
  }
  if (ahead.kept_keys != 0) behind.tensors[fwd::seqused_kv].data = ahead.kept_keys;
  return behind;
}

}  // namespace flashcore
