// SPDX-License-Identifier: Apache-2.0
#include "runtime/launch_plan.hpp"

namespace flashcore {

LaunchShape launch_shape(const kernels::Launch &launch) {
  LaunchShape shape{{static_cast<uint32_t>(launch.grid.x), static_cast<uint32_t>(launch.grid.y),
                     static_cast<uint32_t>(launch.grid.z)},
                    static_cast<uint32_t>(launch.threads),
                    static_cast<uint32_t>(launch.dynamic_shared_bytes)};
  if (launch.cluster > 1 && (launch.attributes & kernels::cluster_in_code) == 0)
    shape.cluster = static_cast<uint32_t>(launch.cluster);
  shape.programmatic_dependent = (launch.attributes & kernels::programmatic_dependent) != 0 ? 1 : 0;
  return shape;
}

LaunchPlan make_launch_plan(const Selection &selection, const ModuleFunctions &functions) {
  const kernels::Plan &plan = selection.plan;
  LaunchPlan made{plan.stage_count, selection.kernel_index, selection.specialization, plan.workspace_bytes};
  for (int32_t i = 0; i < plan.stage_count; ++i)
    made.stages[i] = {functions[static_cast<size_t>(plan.stages[i].entry_point)], launch_shape(plan.stages[i])};
  return made;
}

}  // namespace flashcore
