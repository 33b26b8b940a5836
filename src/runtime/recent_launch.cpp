// SPDX-License-Identifier: Apache-2.0
#include "runtime/recent_launch.hpp"

#include <pthread.h>

#include <atomic>
#include <new>

namespace flashcore {
namespace {

// The key of the process, made by the first launch and never given back: the library stays loaded until the process ends. 0: none yet;
// else the key plus 1. Racing threads make two, and one of them is given back.
constinit std::atomic<uint32_t> process_key{0};

void forget(void *recent) { delete static_cast<RecentLaunch *>(recent); }

// False: the process has no key left.
bool make_key() {
  pthread_key_t key{};
  if (pthread_key_create(&key, &forget) != 0) return false;
  uint32_t none = 0;
  if (!process_key.compare_exchange_strong(none, key + 1)) pthread_key_delete(key);
  return true;
}

}  // namespace

RecentLaunch *recent_launch() {
  const uint32_t key = process_key.load(std::memory_order_relaxed);
  return key == 0 ? nullptr : static_cast<RecentLaunch *>(pthread_getspecific(key - 1));
}

RecentLaunch *make_recent_launch() {
  if (RecentLaunch *known = recent_launch(); known != nullptr) return known;
  if (process_key.load(std::memory_order_relaxed) == 0 && !make_key()) return nullptr;
  RecentLaunch *made = new (std::nothrow) RecentLaunch;
  if (made != nullptr && pthread_setspecific(process_key.load(std::memory_order_relaxed) - 1, made) == 0) return made;
  delete made;
  return nullptr;
}

}  // namespace flashcore
