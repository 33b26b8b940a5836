// SPDX-License-Identifier: Apache-2.0
//
// A mutex for what a forked child may still ask for. Whoever held it at the fork is not there to let go of it, so that the child would wait
// for ever; here it is told.
#pragma once

#include <unistd.h>

#include <atomic>
#include <ctime>
#include <mutex>
#include <string>

#include "base/error.hpp"

namespace flashcore {

class ProcessMutex {
 public:
  using Lock = std::unique_lock<std::mutex>;

  // FORKED: a thread of the process that this one was forked from held it at the fork. `what`: what it did, "compiled a variant".
  Result<Lock> lock(const char *what) {
    Lock lock(mutex_, std::try_to_lock);
    // Who holds it here says so a moment after it has locked: another process's word has to stay for a while.
    for (int attempt = 0; !lock.owns_lock() && holder_.load() != getpid(); static_cast<void>(lock.try_lock())) {
      if (attempt++ == attempts)
        return Error{FLASHCORE_FORKED,
                     std::string("this process was forked while another thread of its parent ") + what +
                         ", and what that left cannot be used here. Fork when no call is under way, or "
                         "create the process with exec"};
      const timespec pause{0, 1'000'000};
      nanosleep(&pause, nullptr);
    }
    if (!lock.owns_lock()) lock.lock();
    holder_.store(getpid());
    return lock;
  }

 private:
  static constexpr int attempts = 100;
  std::mutex mutex_;
  std::atomic<pid_t> holder_{getpid()};  // or who held it last
};

}  // namespace flashcore
