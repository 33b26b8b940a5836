// SPDX-License-Identifier: Apache-2.0
//
// Attention on a GPU, from arguments to launch: the warm path, and the cold one beside it.
#include "base/copy_text.hpp"
#include "base/deferred_cancellation.hpp"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/append_stage.hpp"
#include "runtime/device_addresses.hpp"
#include "runtime/gpu_device.hpp"
#include "runtime/recent_calls.hpp"

namespace flashcore {
namespace {

// The caller's own, if there is one, is large enough.
Status check_workspace_bytes(const AttentionProblem &problem, int64_t needed) {
  if (problem.workspace_bytes == 0 || problem.workspace_bytes >= needed) return success();
  return Error{FLASHCORE_WORKSPACE_TOO_SMALL,
               "workspace_bytes is " + std::to_string(problem.workspace_bytes) +
                   "; allowed: " + std::to_string(needed) + " or more, or 0 for the context's own workspace",
               "workspace_bytes"};
}

std::array<NamedRange, fwd::operand_count + 1> ranges_of(const AttentionProblem &problem) {
  std::array<NamedRange, fwd::operand_count + 1> ranges;
  auto next = ranges.begin();
  for (const ProblemOperand &operand : operands_of(problem)) *next++ = {operand.rule->address, operand.range};
  *next = {"workspace", {problem.workspace, problem.workspace + static_cast<uint64_t>(problem.workspace_bytes)}};
  return ranges;
}

// What nobody can compile may be missing for a feature: modules with them are not shipped.
Error with_feature(Error error, const kernels::ProblemKey &key) {
  const char *field = key.variant != 0 ? "variant"
                                       : kernels::feature_field(key.window(), key.scores,
                                                                key.rows == kernels::rows_paged, key.ragged_by);
  if (field == nullptr && key.float32_output()) field = "output.dtype";
  if (error.status != FLASHCORE_COMPILER_UNAVAILABLE || field == nullptr) return error;
  error.message += std::string(" ") + field + " needs a module that is not shipped but compiled on first need.";
  error.field = field;
  return error;
}

}  // namespace

std::optional<Status> GpuDevice::launch_again(const flashcore_attention_args *args, CudaStream stream) {
  RecentCalls *recent = RecentCalls::of_this_thread();
  PreparedCall::Addresses addresses;
  PreparedCall *call = recent == nullptr ? nullptr : recent->find(serial_, args, &addresses);
  if (call == nullptr || !call->variant_stays(variants().destroyed())) return std::nullopt;
  const Result<CurrentContext> current = CurrentContext::enter(*this);
  if (!current.ok()) return current.error();
  if (call->plan().has_several_launches()) return launch_several(*call, addresses, stream);
  FLASHCORE_TRY(call->encode_maps(driver_, addresses));
  return launch(driver_, call->plan(), stream, call->patch(addresses), call->ahead());
}

// All of them, or none: a thread that is cancelled ends after the last one.
Status GpuDevice::launch_several(PreparedCall &call, PreparedCall::Addresses &addresses, CudaStream stream) {
  const DeferredCancellation deferred;
  Workspace::Lease lease;
  if (call.plan().workspace_bytes != 0) {
    FLASHCORE_TRY_ASSIGN(lease, workspace_.lease(stream, call.plan().workspace_bytes));
    addresses[kernels::address_workspace] = lease.address();
  }
  if (call.plan().ahead.function != nullptr) call.patch_ahead(addresses);
  FLASHCORE_TRY(call.encode_maps(driver_, addresses));
  return launch(driver_, call.plan(), stream, call.patch(addresses), call.ahead());
}

// Of a module, loaded now if it is not. `stream` is null for prepare.
Result<ModuleFunctions> GpuDevice::functions_of(const Selection &selection, const AttentionProblem &problem,
                                                const CudaStream *stream) {
  if (const std::optional<ModuleFunctions> known = loader_.find(selection)) return *known;
  if (stream != nullptr) {
    FLASHCORE_TRY_ASSIGN(const bool capturing, driver_.stream_is_capturing(*stream));
    if (capturing)
      return Error{
          FLASHCORE_NOT_PREPARED,
          "the stream is being captured and " +
              module_name(passport_at(selection.kernel_index), selection.specialization, selection.variant) +
              " is not loaded; call flashcore_attention_prepare with these arguments before the capture begins"};
    if (!addresses_checked_) FLASHCORE_TRY(check_known_addresses(driver_, ranges_of(problem)));
  }
  return loader_.load(selection, selection.variant != 0 ? problem.variant : nullptr);
}

// As the selector and the passports of this device's kernels take it.
Result<kernels::ProblemKey> GpuDevice::key_of(const AttentionProblem &problem) const {
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  drop_needless_limit(key, limits_);
  return key;
}

// The plan of a shape that is not remembered. The CUDA context is current. `stream` is null for prepare.
Result<LaunchPlan> GpuDevice::cold_plan(const AttentionProblem &problem, const kernels::ProblemKey &key,
                                        const CudaStream *stream) {
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, limits_, tuned_rows_));
  Result<ModuleFunctions> functions = functions_of(selection, problem, stream);
  if (!functions.ok()) return with_feature(std::move(functions.error()), key);
  LaunchPlan plan = make_launch_plan(selection, functions.value());
  if (kernels::append_kv::is_needed(key)) {
    FLASHCORE_TRY_ASSIGN(const ModuleFunctions ahead, functions_of(append_selection(key), problem, stream));
    put_ahead(plan, key, ahead);
  }
  plans_.insert(key, plan);
  return plan;
}

Status GpuDevice::launch_new(const flashcore_attention_args *args, const AttentionProblem &problem,
                             const kernels::ProblemKey &key, CudaStream stream) {
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  if (addresses_checked_) FLASHCORE_TRY(check_addresses(driver_, properties_.ordinal, ranges_of(problem)));
  LaunchPlan plan;
  if (!plans_.find(key, &plan)) {
    FLASHCORE_TRY_ASSIGN(plan, cold_plan(problem, key, &stream));
  }
  uint64_t workspace = problem.workspace;
  Workspace::Lease lease;
  if (plan.workspace_bytes != 0) {
    FLASHCORE_TRY(check_workspace_bytes(problem, plan.workspace_bytes));
    if (workspace == 0) {
      FLASHCORE_TRY_ASSIGN(lease, workspace_.lease(stream, plan.workspace_bytes));
      workspace = lease.address();
    }
  }
  kernels::AppendParams ahead{};
  std::optional<AttentionProblem> behind;
  if (plan.ahead.function != nullptr) {
    ahead = kernels::append_kv::params_of(problem.key, attention_call(problem), plan.places, workspace);
    behind = problem_behind(problem, ahead);
  }
  const AttentionProblem &attended = behind ? *behind : problem;
  const kernels::Passport &passport = passport_at(plan.kernel_index);
  kernels::AttentionCall call = attention_call(attended);
  if (plan.workspace_bytes != 0) call.workspace = workspace;
  alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
  passport.pack(plan.specialization, key, call, limited(limits_, key), parameters);
  TensorMaps maps(passport, plan.specialization, attended);
  uint64_t addresses[kernels::operand_count];
  for (size_t i = 0; i < fwd::operand_count; ++i) addresses[i] = attended.tensors[i].data;
  FLASHCORE_TRY(maps.encode(driver_, addresses, parameters));
  FLASHCORE_TRY(launch(driver_, plan, stream, parameters, ahead));
  if (addresses_checked_) return success();  // what is not remembered is checked again
  if (RecentCalls *recent = RecentCalls::make_of_this_thread(); recent != nullptr)
    recent->remember({serial_, args, problem, plan, maps, parameters, ahead});
  return success();
}

Status GpuDevice::attention_fwd(const flashcore_attention_args *args, void *stream) {
  if (std::optional<Status> again = launch_again(args, static_cast<CudaStream>(stream))) return *std::move(again);
  const DeferredCancellation deferred;
  FLASHCORE_TRY_ASSIGN(const AttentionProblem problem, validate_attention(args, AddressRule::required, &variants()));
  FLASHCORE_TRY_ASSIGN(const kernels::ProblemKey key, key_of(problem));
  if (problem.empty()) return success();
  return launch_new(args, problem, key, static_cast<CudaStream>(stream));
}

Status GpuDevice::attention_prepare(const AttentionProblem &problem) {
  FLASHCORE_TRY_ASSIGN(const kernels::ProblemKey key, key_of(problem));
  if (problem.empty()) return success();
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  LaunchPlan plan;
  if (!plans_.find(key, &plan)) {
    FLASHCORE_TRY_ASSIGN(plan, cold_plan(problem, key, nullptr));
  }
  if (plan.workspace_bytes == 0) return success();
  FLASHCORE_TRY(check_workspace_bytes(problem, plan.workspace_bytes));
  return problem.workspace_bytes != 0 ? success() : workspace_.reserve(plan.workspace_bytes);
}

Result<int64_t> GpuDevice::attention_workspace_bytes(const AttentionProblem &problem) {
  FLASHCORE_TRY_ASSIGN(const kernels::ProblemKey key, key_of(problem));
  FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, limits_, tuned_rows_));
  return kernels::append_kv::places_of(key, selection.plan.workspace_bytes).end;
}

Status GpuDevice::attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) {
  FLASHCORE_TRY_ASSIGN(const kernels::ProblemKey key, key_of(problem));
  copy_text(explanation->reasons, explain_selection(key, limits_, tuned_rows_));
  const Result<Selection> chosen = select_kernel(key, limits_, tuned_rows_);
  if (!chosen.ok()) return success();
  const Selection &selection = chosen.value();
  const kernels::Passport &passport = passport_at(selection.kernel_index);
  explanation->supported = 1;
  copy_text(explanation->kernel, passport.name);
  copy_text(explanation->module, module_name(passport, selection.specialization, selection.variant));
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
  explanation->workspace_bytes = kernels::append_kv::places_of(key, selection.plan.workspace_bytes).end;
  explanation->cost_us = selection.plan.cost.total_us;
  return success();
}

}  // namespace flashcore
