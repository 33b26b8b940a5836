// SPDX-License-Identifier: Apache-2.0
#include "driver/fork_guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <new>

namespace flashcore::fork_guard {

// Process-wide, because a fork is: whichever context asks, the answer is the process's. Never destroyed.
constinit State state;

namespace {

// nullptr where the kernel has no MADV_WIPEONFORK (before 4.14) or no memory.
std::atomic<uint32_t> *map_wiped_word() {
  const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  void *page = mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return nullptr;
  if (madvise(page, page_bytes, MADV_WIPEONFORK) == 0) return new (page) std::atomic<uint32_t>(1);
  munmap(page, page_bytes);
  return nullptr;
}

std::atomic<uint32_t> *wiped_word() {
  std::atomic<uint32_t> *word = state.wiped_word.load(std::memory_order_acquire);
  if (word != nullptr) return word;
  std::atomic<uint32_t> *fresh = map_wiped_word();
  if (fresh == nullptr || state.wiped_word.compare_exchange_strong(word, fresh)) return fresh;
  munmap(fresh, static_cast<size_t>(sysconf(_SC_PAGESIZE)));  // another thread was first
  return word;
}

}  // namespace

// The word before the count: whoever sees the count in this process sees the word set.
void arm() {
  std::atomic<uint32_t> *word = wiped_word();
  if (word != nullptr)
    word->store(1);
  else
    state.armed_process.store(getpid());
  state.initialisations.fetch_add(1);
}

void disarm() { state.initialisations.fetch_sub(1); }

bool forked_slow() {
  if (state.initialisations.load() == 0) return false;
  const std::atomic<uint32_t> *word = state.wiped_word.load();
  return word != nullptr ? word->load() == 0 : state.armed_process.load() != getpid();
}

}  // namespace flashcore::fork_guard
