// SPDX-License-Identifier: Apache-2.0
//
// A thread that pthread_cancel reaches unwinds its stack from the next system call on, which ends the process where that call is made in
// a destructor or below anything else that lets no exception out. While one of these lives the thread goes on; it ends at its next
// system call after it.
#pragma once

#include <pthread.h>

namespace flashcore {

class DeferredCancellation {
 public:
  DeferredCancellation() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before_); }
  DeferredCancellation(const DeferredCancellation &) = delete;
  DeferredCancellation &operator=(const DeferredCancellation &) = delete;
  // A thread whose cancellation is asynchronous may end here.
  ~DeferredCancellation() noexcept(false) { pthread_setcancelstate(before_, nullptr); }

 private:
  int before_ = PTHREAD_CANCEL_ENABLE;
};

}  // namespace flashcore
