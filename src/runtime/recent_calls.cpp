// SPDX-License-Identifier: Apache-2.0
#include "runtime/recent_calls.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <new>

namespace flashcore {
namespace {

// The key of the process, made by the first launch and never given back: the library stays loaded until the process ends. 0: none yet;
// else the key plus 1. Racing threads make two, and one of them is given back.
constinit std::atomic<uint32_t> process_key{0};

void forget(void *recent) { delete static_cast<RecentCalls *>(recent); }

// False: the process has no key left.
bool make_key() {
  pthread_key_t key{};
  if (pthread_key_create(&key, &forget) != 0) return false;
  uint32_t none = 0;
  if (!process_key.compare_exchange_strong(none, key + 1)) pthread_key_delete(key);
  return true;
}

}  // namespace

RecentCalls::RecentCalls() {
  for (size_t i = 0; i < most_calls; ++i) order_[i] = &calls_[i];
}

RecentCalls *RecentCalls::of_this_thread() {
  const uint32_t key = process_key.load(std::memory_order_relaxed);
  return key == 0 ? nullptr : static_cast<RecentCalls *>(pthread_getspecific(key - 1));
}

RecentCalls *RecentCalls::make_of_this_thread() {
  if (RecentCalls *known = of_this_thread(); known != nullptr) return known;
  if (process_key.load(std::memory_order_relaxed) == 0 && !make_key()) return nullptr;
  auto *made = new (std::nothrow) RecentCalls;
  if (made != nullptr && pthread_setspecific(process_key.load(std::memory_order_relaxed) - 1, made) == 0) return made;
  delete made;
  return nullptr;
}

PreparedCall &RecentCalls::move_to_front(size_t place) {
  std::rotate(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(place),
              order_.begin() + static_cast<ptrdiff_t>(place) + 1);
  return *order_[0];
}

PreparedCall *RecentCalls::find_earlier(uint64_t device_serial, const flashcore_attention_args *args,
                                        PreparedCall::Addresses *addresses) {
  for (size_t place = 1; place < most_calls; ++place)
    if (order_[place]->matches(device_serial, args, addresses)) return &move_to_front(place);
  return nullptr;
}

void RecentCalls::remember(const PreparedCall::Launched &call) {
  if (!PreparedCall::is_usual(call)) return;
  size_t place = 0;
  while (place + 1 < most_calls && !order_[place]->is_like(call)) ++place;
  move_to_front(place).remember(call);
}

}  // namespace flashcore
