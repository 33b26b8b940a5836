// SPDX-License-Identifier: Apache-2.0
//
// Launches of one call that follow each other on the stream (programmatic dependent launch, from compute capability 9.0 on). Before 9.0 a
// launch begins when the one ahead has ended, and there is nothing to say.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// What the launch ahead wrote is seen after it: it has ended.
__device__ __forceinline__ void wait_for_launch_ahead() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// When all blocks have said so, or ended, the next launch may begin, as far as there is room. It sees nothing of this one yet.
__device__ __forceinline__ void let_next_launch_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace flashcore::kernels
