// SPDX-License-Identifier: Apache-2.0
#include "cpu/worker_threads.hpp"

#include <signal.h>

namespace flashcore {

// The threads take no signals but those that report their own faults: handlers are the host program's and run on its threads.
void run_on_threads(void *(*work)(void *), std::span<void *const> arguments, ThreadRoom room) {
  std::vector<pthread_t> &started = room.started_;
  sigset_t blocked, previous;
  sigfillset(&blocked);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF}) sigdelset(&blocked, fault);
  pthread_sigmask(SIG_SETMASK, &blocked, &previous);
  for (void *argument : arguments.subspan(1)) {
    pthread_t thread;
    if (pthread_create(&thread, nullptr, work, argument) != 0) break;
    started.push_back(thread);
  }
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  work(arguments.front());
  for (pthread_t thread : started) pthread_join(thread, nullptr);
}

}  // namespace flashcore
