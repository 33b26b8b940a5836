// SPDX-License-Identifier: Apache-2.0
//
// PlanCache: problem key -> what to launch, for the warm path. Bounded, allocated once, readable by any number of threads
// without a lock: each slot is a sequence lock whose payload is copied out as relaxed words and kept only if the
// version did not move. A slot that is overwritten costs its shape one more selection (host arithmetic), never a compile.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

#include "contract/problem_key.h"
#include "runtime/launch_plan.hpp"

namespace flashcore {

class PlanCache {
 public:
  PlanCache();
  bool find(const kernels::ProblemKey &key, LaunchPlan *plan) const;
  void insert(const kernels::ProblemKey &key, const LaunchPlan &plan);

 private:
  struct Content {
    kernels::ProblemKey key;
    LaunchPlan plan;
  };
  static_assert(sizeof(Content) % sizeof(uint64_t) == 0);
  static constexpr size_t words = sizeof(Content) / sizeof(uint64_t), slot_count = 1024, probes = 4;
  struct Slot {
    std::atomic<uint32_t> version{0};  // odd while it is written, 0 while it is empty
    std::array<std::atomic<uint64_t>, words> payload{};
  };
  static uint64_t hash(const kernels::ProblemKey &key);
  static bool read(const Slot &slot, Content *content);

  std::unique_ptr<std::array<Slot, slot_count>> slots_;
  std::mutex writer_;
  size_t next_victim_ = 0;
};

}  // namespace flashcore
