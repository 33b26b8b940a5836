// SPDX-License-Identifier: Apache-2.0
//
// The threads of one call of the CPU device: started for it and ended with it.
#pragma once

#include <pthread.h>

#include <span>
#include <vector>

namespace flashcore {

// The memory that starting threads takes, for whoever must not fail for want of it later.
class ThreadRoom {
 public:
  explicit ThreadRoom(size_t arguments) { started_.reserve(arguments); }

 private:
  friend void run_on_threads(void *(*)(void *), std::span<void *const>, ThreadRoom);
  std::vector<pthread_t> started_;
};

// Run work(argument) for every argument, the first on this thread; returns when all have ended. A thread that cannot be started leaves its
// share to the others: the work is what the arguments share, and not one argument's own.
void run_on_threads(void *(*work)(void *), std::span<void *const> arguments, ThreadRoom room);
inline void run_on_threads(void *(*work)(void *), std::span<void *const> arguments) {
  run_on_threads(work, arguments, ThreadRoom(arguments.size()));
}

}  // namespace flashcore
