// SPDX-License-Identifier: Apache-2.0
#include "runtime/predicted_selection.hpp"

#include <algorithm>
#include <limits>

#include "problem/attention_problem.hpp"

namespace flashcore {

Result<Selection> predict_selection(const flashcore_attention_args *args, const flashcore_device_info &device) {
  if (device.arch < 1 || device.multiprocessors < 1 || device.shared_memory_per_block_optin_bytes < 1)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "device has arch " + std::to_string(device.arch) + ", " + std::to_string(device.multiprocessors) +
                     " multiprocessors and " + std::to_string(device.shared_memory_per_block_optin_bytes) +
                     " bytes of shared memory per block; allowed: 1 or more of each",
                 "device"};
  FLASHCORE_TRY_ASSIGN(const AttentionProblem problem, validate_attention(args, AddressRule::optional));
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, problem.kernel));
  // On every architecture a multiprocessor has a kilobyte more than a block may use.
  const int32_t per_block =
      std::min(device.shared_memory_per_block_optin_bytes, std::numeric_limits<int32_t>::max() - 1024);
  const kernels::DeviceLimits limits = {device.arch, device.multiprocessors, per_block, per_block + 1024};
  drop_needless_limit(key, limits);
  return select_kernel(key, limits, {});
}

}  // namespace flashcore
