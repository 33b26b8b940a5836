// SPDX-License-Identifier: Apache-2.0
//
// LaunchPlan: a selection whose functions are loaded, as the driver takes it. What is remembered of a shape, for all calls of it.
#pragma once

#include "append_kv/append_params.h"
#include "base/error.hpp"
#include "driver/cuda_driver.hpp"
#include "plan/select_kernel.hpp"
#include "runtime/module_loader.hpp"

namespace flashcore {

// The launches of a call, one after another, and whose parameters they take.
struct LaunchPlan {
  struct Stage {
    CudaFunction function = nullptr;
    LaunchShape shape{};
  };
  int32_t stage_count = 0;
  int32_t kernel_index = -1;  // in kernel_table()
  kernels::Specialization specialization{};
  int64_t workspace_bytes = 0;  // device memory that the stages share
  Stage stages[kernels::most_stages]{};
  // Ahead of them, in calls that append to their cache or rotate: a launch with parameters of its own, and what it leaves in the workspace.
  Stage ahead{};  // without a function: there is none
  kernels::append_kv::Places places{};

  bool has_several_launches() const { return workspace_bytes != 0 || ahead.function != nullptr; }
};

LaunchShape launch_shape(const kernels::Launch &launch);
LaunchPlan make_launch_plan(const Selection &selection, const ModuleFunctions &functions);

// `parameters` are those of the plan's kernel, `ahead` those of the launch ahead of it, if there is one. What fails leaves the stages after it
// unlaunched.
inline Status launch(const CudaDriver &driver, const LaunchPlan &plan, CudaStream stream, const void *parameters,
                     const kernels::AppendParams &ahead) {
  if (plan.ahead.function != nullptr)
    FLASHCORE_TRY(driver.launch(plan.ahead.function, plan.ahead.shape, stream, &ahead));
  for (int32_t i = 0; i + 1 < plan.stage_count; ++i)
    FLASHCORE_TRY(driver.launch(plan.stages[i].function, plan.stages[i].shape, stream, parameters));
  const LaunchPlan::Stage &last = plan.stages[plan.stage_count - 1];
  return driver.launch(last.function, last.shape, stream, parameters);
}

}  // namespace flashcore
