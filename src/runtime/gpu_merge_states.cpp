// SPDX-License-Identifier: Apache-2.0
//
// States merged on a GPU. The types of a call say the module and nothing has to be chosen, so that a call is its checks, a look at the
// loaded functions, arithmetic for the parameters, and the launch.
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "runtime/device_addresses.hpp"
#include "runtime/gpu_device.hpp"
#include "runtime/merge_states_call.hpp"

namespace flashcore {
namespace {

namespace device = kernels::merge_states;

std::array<NamedRange, merge::operand_count> ranges_of(const MergeStatesProblem &problem) {
  std::array<NamedRange, merge::operand_count> ranges;
  for (size_t i = 0; i < ranges.size(); ++i) ranges[i] = {problem.operands[i].rule->address, problem.operands[i].range};
  return ranges;
}

// By a call's types; that of aligned rows lies behind the other one.
size_t function_place(const MergeStatesProblem &problem) {
  static_assert(kernels::dtype_float16 == 1 && kernels::dtype_bfloat16 == 2 && kernels::dtype_float32 == 3);
  return static_cast<size_t>(((problem.sizes.dtype - 1) * 3 + problem.output_dtype - 1) * 2);
}

Status check_rows(const MergeStatesProblem &problem) {
  const kernels::ProblemKey &sizes = problem.sizes;
  if (sizes.batch * sizes.seqlen_q <= device::most_rows / sizes.heads_q) return success();
  return Error{FLASHCORE_UNSUPPORTED,
               "batch is " + std::to_string(sizes.batch) + "; allowed on a GPU: batch * seqlen_q * heads_q below 2^31",
               "batch"};
}

}  // namespace

// Loaded now if it is not. `stream` is null for prepare.
Result<CudaFunction> GpuDevice::merge_function(const MergeStatesProblem &problem, const CudaStream *stream) {
  const size_t place = function_place(problem);
  const bool wide = problem.sizes.alignment_bytes == 16;
  if (CudaFunction known = merge_functions_[place + wide].load(std::memory_order_relaxed); known != nullptr)
    return known;
  Selection selection;
  selection.kernel_index = find_kernel("merge_states");
  selection.specialization = {{problem.sizes.dtype, problem.output_dtype}};
  if (stream != nullptr) {
    FLASHCORE_TRY_ASSIGN(const bool capturing, driver_.stream_is_capturing(*stream));
    if (capturing)
      return Error{FLASHCORE_NOT_PREPARED,
                   "the stream is being captured and " +
                       module_name(passport_at(selection.kernel_index), selection.specialization) +
                       " is not loaded; call flashcore_merge_states_prepare with these arguments before the capture "
                       "begins"};
    if (!addresses_checked_) FLASHCORE_TRY(check_known_addresses(driver_, ranges_of(problem)));
  }
  FLASHCORE_TRY_ASSIGN(const ModuleFunctions functions, loader_.load(selection));
  merge_functions_[place].store(functions[device::entry_elementwise], std::memory_order_relaxed);
  merge_functions_[place + 1].store(functions[device::entry_wide], std::memory_order_relaxed);
  return functions[wide ? device::entry_wide : device::entry_elementwise];
}

Status GpuDevice::merge_states(const MergeStatesProblem &problem, void *stream) {
  FLASHCORE_TRY(check_rows(problem));
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  if (addresses_checked_) FLASHCORE_TRY(check_addresses(driver_, properties_.ordinal, ranges_of(problem)));
  const device::Call call = merge_states_call(problem);
  const auto on = static_cast<CudaStream>(stream);
  FLASHCORE_TRY_ASSIGN(const CudaFunction function, merge_function(problem, &on));
  const kernels::MergeStatesParams params = device::params_of(call);
  const kernels::Launch launch = device::launch_of(params, call.wide);
  return driver_.launch(function, launch_shape(launch), on, &params);
}

Status GpuDevice::merge_states_prepare(const MergeStatesProblem &problem) {
  FLASHCORE_TRY(check_rows(problem));
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  FLASHCORE_TRY(merge_function(problem, nullptr));
  return success();
}

}  // namespace flashcore
