// SPDX-License-Identifier: Apache-2.0
#include "runtime/plan_cache.hpp"

#include <cstring>
#include <type_traits>

namespace flashcore {

static_assert(std::has_unique_object_representations_v<kernels::ProblemKey>, "the key is hashed and compared as bytes");

PlanCache::PlanCache() : slots_(std::make_unique<std::array<Slot, slot_count>>()) {}

uint64_t PlanCache::hash(const kernels::ProblemKey &key) {
  uint64_t parts[sizeof(key) / sizeof(uint64_t)];
  static_assert(sizeof(parts) == sizeof(key));
  std::memcpy(parts, &key, sizeof(key));
  uint64_t mixed = 0x9e3779b97f4a7c15u;
  for (const uint64_t part : parts) {
    mixed = (mixed ^ part) * 0xff51afd7ed558ccdu;
    mixed ^= mixed >> 32;
  }
  return mixed;
}

bool PlanCache::read(const Slot &slot, Content *content) {
  const uint32_t before = slot.version.load(std::memory_order_acquire);
  if (before == 0 || (before & 1) != 0) return false;
  uint64_t copy[words];
  for (size_t i = 0; i < words; ++i) copy[i] = slot.payload[i].load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);
  if (slot.version.load(std::memory_order_relaxed) != before) return false;
  std::memcpy(static_cast<void *>(content), copy, sizeof(*content));
  return true;
}

bool PlanCache::find(const kernels::ProblemKey &key, LaunchPlan *plan) const {
  const uint64_t start = hash(key);
  for (size_t probe = 0; probe < probes; ++probe) {
    Content content;
    if (!read((*slots_)[(start + probe) % slot_count], &content)) continue;
    if (std::memcmp(&content.key, &key, sizeof(key)) != 0) continue;
    *plan = content.plan;
    return true;
  }
  return false;
}

void PlanCache::insert(const kernels::ProblemKey &key, const LaunchPlan &plan) {
  uint64_t copy[words] = {};
  const Content content{key, plan};
  std::memcpy(copy, &content, sizeof(content));

  const std::lock_guard lock(writer_);
  const uint64_t start = hash(key);
  Slot *target = nullptr;
  for (size_t probe = 0; probe < probes && target == nullptr; ++probe) {
    Slot &slot = (*slots_)[(start + probe) % slot_count];
    Content there;
    if (slot.version.load(std::memory_order_relaxed) == 0)
      target = &slot;
    else if (read(slot, &there) && std::memcmp(&there.key, &key, sizeof(key)) == 0)
      target = &slot;
  }
  if (target == nullptr) target = &(*slots_)[(start + next_victim_++ % probes) % slot_count];
  const uint32_t version = target->version.load(std::memory_order_relaxed);
  target->version.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  for (size_t i = 0; i < words; ++i) target->payload[i].store(copy[i], std::memory_order_relaxed);
  // Never back to 0, which means empty.
  target->version.store(version + 2 == 0 ? 2 : version + 2, std::memory_order_release);
}

}  // namespace flashcore
