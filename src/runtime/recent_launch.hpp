// SPDX-License-Identifier: Apache-2.0
//
// The last launch of each thread, which its next call is compared with. Kept behind a key of the thread library and not as thread_local:
// a library that was opened at run time gets such storage on a thread's first use, and where memory is gone then, the loader ends the
// process. Here nothing is remembered, which costs the next call a look into the plans.
#pragma once

#include "contract/passport.h"
#include "problem/known_request.hpp"
#include "runtime/plan_cache.hpp"

namespace flashcore {

// The function stays loaded for as long as the device lives, and the serial is no other's.
struct RecentLaunch {
  KnownRequest request;
  uint64_t device_serial = 0;
  LaunchPlan plan;
  kernels::AddressPatches patches{};
  alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
};

// This thread's, or nullptr. It goes when the thread ends.
RecentLaunch *recent_launch();
// This thread's, made on the first call; nullptr: there is no memory for it.
RecentLaunch *make_recent_launch();

}  // namespace flashcore
