// SPDX-License-Identifier: Apache-2.0
#include "runtime/attention.hpp"

#include <cstring>
#include <tuple>

#include "cpu/cpu_attention.hpp"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/device_addresses.hpp"
#include "runtime/recent_launch.hpp"

namespace flashcore {
namespace {

constexpr std::string_view cpu_kernel_name = "cpu";

Status check_cpu_kernel(const AttentionProblem &problem) {
  const std::string_view name = problem.kernel;
  if (name.empty() || name == cpu_kernel_name) return success();
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, name));
  return Error{FLASHCORE_UNSUPPORTED,
               "kernel is \"" + std::string(name) +
                   "\", which runs on a GPU; this context is the CPU "
                   "device, whose only kernel is \"cpu\"",
               "kernel"};
}

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

LaunchPlan make_plan(const Selection &selection, const ModuleFunctions &functions) {
  const kernels::Plan &plan = selection.plan;
  LaunchPlan made{plan.stage_count, selection.kernel_index, selection.specialization};
  for (int32_t i = 0; i < plan.stage_count; ++i)
    made.stages[i] = {functions[static_cast<size_t>(plan.stages[i].entry_point)], launch_shape(plan.stages[i])};
  return made;
}

Status launch_stages(const CudaDriver &driver, const LaunchPlan &plan, CudaStream stream, const void *params) {
  for (int32_t i = 0; i + 1 < plan.stage_count; ++i)
    FLASHCORE_TRY(driver.launch(plan.stages[i].function, plan.stages[i].shape, stream, params));
  const LaunchPlan::Stage &last = plan.stages[plan.stage_count - 1];
  return driver.launch(last.function, last.shape, stream, params);
}

// The plan of a shape that is not remembered. The CUDA context is current. `stream` is null for prepare.
Result<LaunchPlan> cold_plan(GpuState &gpu, const AttentionProblem &problem, const kernels::ProblemKey &key,
                             const CudaStream *stream) {
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, gpu.limits, gpu.tuned_rows));
  if (selection.plan.workspace_bytes != 0)
    return Error{FLASHCORE_INTERNAL, "the plan asks for a workspace, and nothing gives it one"};
  std::optional<ModuleFunctions> functions = gpu.loader.find(selection);
  if (!functions) {
    if (stream != nullptr) {
      FLASHCORE_TRY_ASSIGN(const bool capturing, gpu.driver.stream_is_capturing(*stream));
      if (capturing)
        return Error{
            FLASHCORE_NOT_PREPARED,
            "the stream is being captured and " +
                module_name(passport_at(selection.kernel_index), selection.specialization) +
                " is not loaded; call flashcore_attention_prepare with these arguments before the capture begins"};
      if (!gpu.addresses_checked) FLASHCORE_TRY(check_known_addresses(gpu.driver, problem));
    }
    FLASHCORE_TRY_ASSIGN(functions, gpu.loader.load(selection));
  }
  const LaunchPlan plan = make_plan(selection, *functions);
  gpu.plans.insert(key, plan);
  return plan;
}

Status launch_on_gpu(GpuState &gpu, const flashcore_attention_args *args, const AttentionProblem &problem,
                     const kernels::ProblemKey &key, CudaStream stream) {
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(gpu));
  if (gpu.addresses_checked) FLASHCORE_TRY(check_addresses(gpu, problem));
  LaunchPlan plan;
  if (!gpu.plans.find(key, &plan)) {
    FLASHCORE_TRY_ASSIGN(plan, cold_plan(gpu, problem, key, &stream));
  }
  const kernels::Passport &passport = passport_at(plan.kernel_index);
  alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
  passport.pack(plan.specialization, problem.key, attention_call(problem), gpu.limits, parameters);
  FLASHCORE_TRY(launch_stages(gpu.driver, plan, stream, parameters));
  if (gpu.addresses_checked) return success();  // what is not remembered is checked again
  RecentLaunch *recent = make_recent_launch();
  if (recent == nullptr) return success();
  recent->request.remember(args, problem);
  recent->gpu_serial = gpu.serial, recent->plan = plan, recent->patches = passport.patches;
  std::memcpy(recent->parameters, parameters, static_cast<size_t>(passport.parameter_bytes));
  return success();
}

}  // namespace

std::optional<Status> attention_fwd_again(Context &context, const flashcore_attention_args *args, void *stream) {
  if (!context.gpu) return std::nullopt;
  RecentLaunch *recent = recent_launch();
  KnownRequest::Addresses addresses;
  if (recent == nullptr || recent->gpu_serial != context.gpu->serial || !recent->request.matches(args, &addresses))
    return std::nullopt;
  // Every call writes all of them, so that what a call leaves there which fails does no harm.
  static_assert(std::tuple_size_v<KnownRequest::Addresses> == kernels::operand_count);
  for (const kernels::AddressPatch &patch : recent->patches)
    std::memcpy(recent->parameters + patch.byte_offset, &addresses[patch.operand], sizeof(uint64_t));
  const Result<CurrentContext> current = CurrentContext::enter(*context.gpu);
  if (!current.ok()) return current.error();
  return launch_stages(context.gpu->driver, recent->plan, static_cast<CudaStream>(stream), recent->parameters);
}

Status attention_fwd(Context &context, const flashcore_attention_args *args, const AttentionProblem &problem,
                     void *stream) {
  if (!context.gpu) {
    FLASHCORE_TRY(check_cpu_kernel(problem));
    if (problem.empty()) return success();
    FLASHCORE_TRY(check_host_addresses(problem));
    return cpu_attention(problem, context.cpu_threads);
  }
  kernels::ProblemKey key = problem.key;
  if (!problem.kernel.empty()) FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  if (problem.empty()) return success();
  return launch_on_gpu(*context.gpu, args, problem, key, static_cast<CudaStream>(stream));
}

Status attention_prepare(Context &context, const AttentionProblem &problem) {
  if (!context.gpu) return check_cpu_kernel(problem);
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  if (problem.empty()) return success();
  GpuState &gpu = *context.gpu;
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(gpu));
  LaunchPlan plan;
  if (gpu.plans.find(key, &plan)) return success();
  FLASHCORE_TRY(cold_plan(gpu, problem, key, nullptr));
  return success();
}

Result<int64_t> attention_workspace_bytes(Context &context, const AttentionProblem &problem) {
  if (!context.gpu) {
    FLASHCORE_TRY(check_cpu_kernel(problem));
    return int64_t{0};
  }
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, context.gpu->limits, context.gpu->tuned_rows));
  return selection.plan.workspace_bytes;
}

Status attention_explain(Context &context, const AttentionProblem &problem,
                         flashcore_attention_explanation *explanation) {
  if (!context.gpu) {
    FLASHCORE_TRY(check_cpu_kernel(problem));
    explanation->supported = 1;
    copy_text(explanation->kernel, cpu_kernel_name);
    copy_text(explanation->module, cpu_kernel_name);
    copy_text(explanation->reasons, "cpu: chosen, the only kernel of the CPU device (" + context.device_reason + ")\n");
    return success();
  }
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  copy_text(explanation->reasons, explain_selection(key, context.gpu->limits, context.gpu->tuned_rows));
  const Result<Selection> chosen = select_kernel(key, context.gpu->limits, context.gpu->tuned_rows);
  if (!chosen.ok()) return success();
  const Selection &selection = chosen.value();
  const kernels::Passport &passport = passport_at(selection.kernel_index);
  explanation->supported = 1;
  copy_text(explanation->kernel, passport.name);
  copy_text(explanation->module, module_name(passport, selection.specialization));
  const auto choice = [&](const char *name, int32_t otherwise) {
    return passport.value(selection.specialization, name, otherwise);
  };
  explanation->tile_q = choice("tile_q", 0);
  explanation->tile_kv = choice("tile_kv", 0);
  explanation->warps = choice("warps", selection.plan.main_stage().threads / 32);
  explanation->stages = choice("stages", 1);
  const kernels::Launch &launch = selection.plan.main_stage();
  explanation->grid[0] = static_cast<int32_t>(launch.grid.x);
  explanation->grid[1] = static_cast<int32_t>(launch.grid.y);
  explanation->grid[2] = static_cast<int32_t>(launch.grid.z);
  explanation->threads_per_block = launch.threads;
  explanation->dynamic_shared_bytes = launch.dynamic_shared_bytes;
  explanation->cost_us = selection.plan.cost.total_us;
  return success();
}

}  // namespace flashcore
