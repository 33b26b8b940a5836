// SPDX-License-Identifier: Apache-2.0
//
// Was this process forked from one that had initialised CUDA? One word on a page that the kernel zeroes in the child
// (MADV_WIPEONFORK): armed before cuInit, it reads as zero only in a child. getpid() would be a system call on every
// warm call; a pthread_atfork handler does not run in children made by a bare clone.
#pragma once

#include <atomic>
#include <cstdint>

namespace flashcore::fork_guard {

struct State {
  std::atomic<std::atomic<uint32_t> *> wiped_word{nullptr};  // 1 in the process that armed, 0 in its children
  std::atomic<int32_t> armed_process{0};                     // process id, only where no page could be wiped
  std::atomic<int32_t> initialisations{0};                   // cuInit calls in progress or successful
};
extern constinit State state;

// Before and after cuInit. A child of a process whose cuInit failed may try again itself.
void arm();
void disarm();

bool forked_slow();

inline bool forked() {
  const std::atomic<uint32_t> *word = state.wiped_word.load(std::memory_order_acquire);
  if (word != nullptr && word->load(std::memory_order_relaxed) != 0) return false;
  return forked_slow();
}

}  // namespace flashcore::fork_guard
