// SPDX-License-Identifier: Apache-2.0
#include "runtime/attention.hpp"

#include "cpu/cpu_attention.hpp"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"
#include "runtime/device_addresses.hpp"
#include "runtime/pack_params.hpp"
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

LaunchPlan make_plan(const Selection &selection, CudaFunction function) {
  return {function,
          {{static_cast<uint32_t>(selection.grid.x), static_cast<uint32_t>(selection.grid.y),
            static_cast<uint32_t>(selection.grid.z)},
           static_cast<uint32_t>(selection.specialization.warps * 32),
           static_cast<uint32_t>(selection.dynamic_shared_bytes)}};
}

// The plan of a shape that is not remembered. The CUDA context is current. `stream` is null for prepare.
Result<LaunchPlan> cold_plan(GpuState &gpu, const AttentionProblem &problem, const kernels::ProblemKey &key,
                             const CudaStream *stream) {
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, gpu.limits, gpu.tuned_rows));
  CudaFunction function = gpu.loader.find(selection);
  if (function == nullptr) {
    if (stream != nullptr) {
      FLASHCORE_TRY_ASSIGN(const bool capturing, gpu.driver.stream_is_capturing(*stream));
      if (capturing)
        return Error{
            FLASHCORE_NOT_PREPARED,
            "the stream is being captured and " +
                module_name(kernel_table()[static_cast<size_t>(selection.kernel_index)].passport->name,
                            selection.specialization) +
                " is not loaded; call flashcore_attention_prepare with these arguments before the capture begins"};
      if (!gpu.addresses_checked) FLASHCORE_TRY(check_known_addresses(gpu.driver, problem));
    }
    FLASHCORE_TRY_ASSIGN(function, gpu.loader.load(selection));
  }
  const LaunchPlan plan = make_plan(selection, function);
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
  const kernels::AttentionFwdParams params = pack_params(problem, gpu.properties.l2_cache_bytes);
  FLASHCORE_TRY(gpu.driver.launch(plan.function, plan.shape, stream, &params));
  if (gpu.addresses_checked) return success();  // what is not remembered is checked again
  RecentLaunch *recent = make_recent_launch();
  if (recent == nullptr) return success();
  recent->request.remember(args, problem);
  recent->gpu_serial = gpu.serial, recent->plan = plan, recent->params = params;
  return success();
}

}  // namespace

std::optional<Status> attention_fwd_again(Context &context, const flashcore_attention_args *args, void *stream) {
  if (!context.gpu) return std::nullopt;
  const RecentLaunch *recent = recent_launch();
  KnownRequest::Addresses addresses;
  if (recent == nullptr || recent->gpu_serial != context.gpu->serial || !recent->request.matches(args, &addresses))
    return std::nullopt;
  kernels::AttentionFwdParams params = recent->params;
  set_addresses(params, addresses);
  const Result<CurrentContext> current = CurrentContext::enter(*context.gpu);
  if (!current.ok()) return current.error();
  return context.gpu->driver.launch(recent->plan.function, recent->plan.shape, static_cast<CudaStream>(stream),
                                    &params);
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
  FLASHCORE_TRY(select_kernel(key, context.gpu->limits, context.gpu->tuned_rows));
  return int64_t{0};  // no kernel of the table needs any
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
  const char *name = kernel_table()[static_cast<size_t>(selection.kernel_index)].passport->name;
  explanation->supported = 1;
  copy_text(explanation->kernel, name);
  copy_text(explanation->module, module_name(name, selection.specialization));
  explanation->tile_q = selection.specialization.tile_q;
  explanation->tile_kv = selection.specialization.tile_kv;
  explanation->warps = selection.specialization.warps;
  explanation->stages = selection.specialization.stages;
  explanation->grid[0] = static_cast<int32_t>(selection.grid.x);
  explanation->grid[1] = static_cast<int32_t>(selection.grid.y);
  explanation->grid[2] = static_cast<int32_t>(selection.grid.z);
  explanation->threads_per_block = selection.specialization.warps * 32;
  explanation->dynamic_shared_bytes = selection.dynamic_shared_bytes;
  explanation->cost_us = selection.cost.total_us;
  return success();
}

}  // namespace flashcore
