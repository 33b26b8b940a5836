// SPDX-License-Identifier: Apache-2.0
//
// The last calls of each thread, which its next one is compared with: the last one first, then the others, so that a program whose
// layers or steps alternate between a few shapes checks and packs none of them anew. What was longer ago is in the plan cache.
//
// Kept behind a key of the thread library and not as thread_local: a library that was opened at run time gets such storage on a
// thread's first use, and where memory is gone then, the loader ends the process. Here nothing is remembered, which costs the next call
// a look into the plans.
#pragma once

#include <array>

#include "runtime/prepared_call.hpp"

namespace flashcore {

class RecentCalls {
 public:
  static constexpr size_t most_calls = 4;

  RecentCalls();
  RecentCalls(const RecentCalls &) = delete;
  RecentCalls &operator=(const RecentCalls &) = delete;

  // This thread's, or nullptr. They go when the thread ends.
  static RecentCalls *of_this_thread();
  // This thread's, made on the first call; nullptr: there is no memory for them.
  static RecentCalls *make_of_this_thread();

  // The call that matches (PreparedCall), which is the last one now; nullptr: none does.
  PreparedCall *find(uint64_t device_serial, const flashcore_attention_args *args, PreparedCall::Addresses *addresses) {
    if (order_[0]->matches(device_serial, args, addresses)) return order_[0];
    return find_earlier(device_serial, args, addresses);
  }
  // In the place of the call that it is like, whose look at the addresses was not enough, else of the oldest one. A call that is not usual
  // is not remembered.
  void remember(const PreparedCall::Launched &call);

 private:
  PreparedCall *find_earlier(uint64_t device_serial, const flashcore_attention_args *args,
                             PreparedCall::Addresses *addresses);
  PreparedCall &move_to_front(size_t place);

  std::array<PreparedCall, most_calls> calls_;
  std::array<PreparedCall *, most_calls> order_;  // the last one first
};

}  // namespace flashcore
