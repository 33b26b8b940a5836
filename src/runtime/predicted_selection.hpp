// SPDX-License-Identifier: Apache-2.0
//
// What would be chosen for a call on a device that need not be there, by the cost model alone.
#pragma once

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "plan/select_kernel.hpp"

namespace flashcore {

// arch, multiprocessors and shared_memory_per_block_optin_bytes of `device` count. INVALID_ARGUMENT (device), and what
// validate_attention and the selector say.
Result<Selection> predict_selection(const flashcore_attention_args *args, const flashcore_device_info &device);

}  // namespace flashcore
