// SPDX-License-Identifier: Apache-2.0
//
// Attention on a GPU, from arguments to launch: the warm path, and the cold one beside it.
#include "base/copy_text.hpp"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"
#include "runtime/device_addresses.hpp"
#include "runtime/gpu_device.hpp"
#include "runtime/pack_params.hpp"
#include "runtime/recent_launch.hpp"

namespace flashcore {
namespace {

LaunchPlan make_plan(const Selection &selection, CudaFunction function) {
  return {function,
          {{static_cast<uint32_t>(selection.grid.x), static_cast<uint32_t>(selection.grid.y),
            static_cast<uint32_t>(selection.grid.z)},
           static_cast<uint32_t>(selection.specialization.warps * 32),
           static_cast<uint32_t>(selection.dynamic_shared_bytes)}};
}

std::string module_name_of(const Selection &selection) {
  return module_name(kernel_table()[static_cast<size_t>(selection.kernel_index)].passport->name,
                     selection.specialization);
}

}  // namespace

std::optional<Status> GpuDevice::launch_again(const flashcore_attention_args *args, CudaStream stream) {
  const RecentLaunch *recent = recent_launch();
  KnownRequest::Addresses addresses;
  if (recent == nullptr || recent->device_serial != serial_ || !recent->request.matches(args, &addresses))
    return std::nullopt;
  kernels::AttentionFwdParams params = recent->params;
  params.query.data = addresses.query;
  params.key.data = addresses.key;
  params.value.data = addresses.value;
  params.output.data = addresses.output;
  params.lse.data = addresses.lse;
  const Result<CurrentContext> current = CurrentContext::enter(*this);
  if (!current.ok()) return current.error();
  return driver_.launch(recent->plan.function, recent->plan.shape, stream, &params);
}

// The plan of a shape that is not remembered. The CUDA context is current. `stream` is null for prepare.
Result<LaunchPlan> GpuDevice::cold_plan(const AttentionProblem &problem, const kernels::ProblemKey &key,
                                        const CudaStream *stream) {
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, limits_, tuned_rows_));
  CudaFunction function = loader_.find(selection);
  if (function == nullptr) {
    if (stream != nullptr) {
      FLASHCORE_TRY_ASSIGN(const bool capturing, driver_.stream_is_capturing(*stream));
      if (capturing)
        return Error{
            FLASHCORE_NOT_PREPARED,
            "the stream is being captured and " + module_name_of(selection) +
                " is not loaded; call flashcore_attention_prepare with these arguments before the capture begins"};
      if (!addresses_checked_) FLASHCORE_TRY(check_known_addresses(driver_, problem));
    }
    FLASHCORE_TRY_ASSIGN(function, loader_.load(selection));
  }
  const LaunchPlan plan = make_plan(selection, function);
  plans_.insert(key, plan);
  return plan;
}

Status GpuDevice::launch_new(const flashcore_attention_args *args, const AttentionProblem &problem,
                             const kernels::ProblemKey &key, CudaStream stream) {
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  if (addresses_checked_) FLASHCORE_TRY(check_addresses(driver_, properties_.ordinal, problem));
  LaunchPlan plan;
  if (!plans_.find(key, &plan)) {
    FLASHCORE_TRY_ASSIGN(plan, cold_plan(problem, key, &stream));
  }
  const kernels::AttentionFwdParams params = pack_params(problem, properties_.l2_cache_bytes);
  FLASHCORE_TRY(driver_.launch(plan.function, plan.shape, stream, &params));
  if (addresses_checked_) return success();  // what is not remembered is checked again
  RecentLaunch *recent = make_recent_launch();
  if (recent == nullptr) return success();
  recent->request.remember(args, problem);
  recent->device_serial = serial_, recent->plan = plan, recent->params = params;
  return success();
}

Status GpuDevice::attention_fwd(const flashcore_attention_args *args, void *stream) {
  if (std::optional<Status> again = launch_again(args, static_cast<CudaStream>(stream))) return *std::move(again);
  FLASHCORE_TRY_ASSIGN(const AttentionProblem problem, validate_attention(args, AddressRule::required));
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  if (problem.empty()) return success();
  return launch_new(args, problem, key, static_cast<CudaStream>(stream));
}

Status GpuDevice::attention_prepare(const AttentionProblem &problem) {
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  if (problem.empty()) return success();
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  LaunchPlan plan;
  if (plans_.find(key, &plan)) return success();
  FLASHCORE_TRY(cold_plan(problem, key, nullptr));
  return success();
}

Result<int64_t> GpuDevice::attention_workspace_bytes(const AttentionProblem &problem) {
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  FLASHCORE_TRY(select_kernel(key, limits_, tuned_rows_));
  return int64_t{0};  // no kernel of the table needs any
}

Status GpuDevice::attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) {
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  copy_text(explanation->reasons, explain_selection(key, limits_, tuned_rows_));
  const Result<Selection> chosen = select_kernel(key, limits_, tuned_rows_);
  if (!chosen.ok()) return success();
  const Selection &selection = chosen.value();
  explanation->supported = 1;
  copy_text(explanation->kernel, kernel_table()[static_cast<size_t>(selection.kernel_index)].passport->name);
  copy_text(explanation->module, module_name_of(selection));
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
