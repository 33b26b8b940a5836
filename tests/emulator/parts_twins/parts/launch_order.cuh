// SPDX-License-Identifier: Apache-2.0
//
// The host's twin of kernels/parts/launch_order.cuh. The next launch begins when this one has ended; what that one wrote comes with the wait.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

__device__ __forceinline__ void wait_for_launch_ahead() { ::emulator::wait_for_launch_ahead(); }
__device__ __forceinline__ void let_next_launch_begin() {}

}  // namespace flashcore::kernels
