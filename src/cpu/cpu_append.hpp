// SPDX-License-Identifier: Apache-2.0
//
// What a call does ahead of attention, on host memory: new rows are written to the cache, queries are rotated. Places and positions are
// those of contract/append.h, which kernels ask too.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cpu/worker_threads.hpp"
#include "problem/attention_problem.hpp"

namespace flashcore {

class CpuAppend {
 public:
  // Takes all the memory that there is need of, and writes nothing yet. The problem must outlive it.
  CpuAppend(const AttentionProblem &problem, int32_t threads);
  CpuAppend(const CpuAppend &) = delete;
  CpuAppend &operator=(const CpuAppend &) = delete;

  // Attention's problem, as it is after run().
  const AttentionProblem &attended() const { return behind_ ? *behind_ : problem_; }
  // Cannot fail. The bits do not depend on the number of threads.
  void run();

 private:
  const AttentionProblem &problem_;
  std::optional<AttentionProblem> behind_;  // none: nothing is to be done
  std::vector<uint16_t> query_;             // rotated
  std::vector<unsigned char> kept_keys_;    // how many rows each sequence has then, of the problem's index type
  std::vector<void *> arguments_;           // one for each thread
  std::optional<ThreadRoom> room_;
};

}  // namespace flashcore
