// SPDX-License-Identifier: Apache-2.0
#include "block_state.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace emulator {

Block::Block(const Launch &launch, Cluster &cluster, uint32_t block)
    : launch_(launch), cluster_(cluster), random_(launch.seed * 7919u + block * 104729u + 1u) {
  place_.block = {block, 0, 0};
  place_.grid = {static_cast<uint32_t>(launch.blocks), 1, 1};
  warps_.resize(static_cast<size_t>(launch.threads / warp_size));
  threads_.resize(static_cast<size_t>(launch.threads));
  copy_time_ = static_cast<Time>(launch.seed % 3);
  one_warp_ahead_ = launch.seed / 3 % 2 == 0;
  for (size_t i = 0; i < warps_.size(); ++i) order_.push_back(i);
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].index = {static_cast<uint32_t>(i), 0, 0};
    start(threads_[i]);
  }
  reorder();
}

void Block::fault(const std::string &what) const {
  const uint32_t thread = place_.thread.x;
  throw Fault("block " + std::to_string(place_.block.x) + ", warp " + std::to_string(thread / warp_size) + ", lane " +
              std::to_string(thread % warp_size) + ", seed " + std::to_string(launch_.seed) + ": " + what);
}

void Block::start(Thread &thread) {
  thread.fiber = std::make_unique<Fiber>([this, &thread] {
    try {
      launch_.kernel(launch_.parameters);
    } catch (const Fault &) {
      failure_ = std::current_exception();
    }
    thread.ended = true;
    ++ended_;
    cluster_.thread_ended();
  });
  wake(thread);
}

// In turns, blocks of a cluster are changed at barriers as well.
void Block::reorder() {
  std::shuffle(order_.begin(), order_.end(), random_);
  ends_turn_ |= !one_warp_ahead_ && !cluster_.is_alone() && random_() % 4 == 0;
}

bool Block::can_run() const {
  return std::any_of(warps_.begin(), warps_.end(), [](const Warp &warp) { return warp.runnable != 0; });
}

Thread *Block::next() {
  if (!one_warp_ahead_) std::shuffle(order_.begin(), order_.end(), random_);
  for (const size_t i : order_) {
    Warp &warp = warps_[i];
    if (warp.runnable == 0) continue;
    const int32_t turn = static_cast<int32_t>(random_() % warp_size);
    const int32_t lane = (std::countr_zero(std::rotr(warp.runnable, turn)) + turn) % warp_size;
    warp.runnable &= ~(uint32_t{1} << lane);
    return &threads_[i * warp_size + static_cast<size_t>(lane)];
  }
  return nullptr;
}

std::string Block::stuck() const {
  for (const Thread &thread : threads_)
    if (!thread.ended)
      return "block " + std::to_string(place_.block.x) + ", seed " + std::to_string(launch_.seed) + ": thread " +
             std::to_string(thread.index.x) + " waits at " + thread.waits_at + " for threads that do not come";
  return "";
}

void Block::check_guard() const {
  if (const int64_t byte = first_written_of_guard(launch_.shared_bytes); byte >= 0)
    throw Fault("block " + std::to_string(place_.block.x) + ", seed " + std::to_string(launch_.seed) +
                ": shared memory was written at byte " + std::to_string(byte) + "; the launch asked for " +
                std::to_string(launch_.shared_bytes));
}

void Block::run() {
  const auto bytes = static_cast<size_t>(launch_.shared_bytes);
  if (!has_begun_)
    std::memset(shared_window(), fresh, bytes);
  else if (!memory_.empty())
    std::memcpy(shared_window(), memory_.data(), bytes);
  has_begun_ = true, ends_turn_ = false;
  while (!ends_turn_ && (current_ = next()) != nullptr) {
    place_.thread = current_->index;
    current_->fiber->resume();
    if (failure_) std::rethrow_exception(failure_);
  }
  check_guard();
  if (!cluster_.is_alone()) memory_.assign(shared_window(), shared_window() + bytes);
}

void Block::wait(const char *what) {
  current_->waits_at = what;
  current_->fiber->pause();
}

bool Block::barrier(const char *what, int32_t id, int32_t threads, bool value) {
  if (id < 0 || id >= 16) fault(std::string(what) + ": barrier " + std::to_string(id) + "; there are 0 to 15");
  Barrier &barrier = barriers_[id];
  if (barrier.waiting.empty()) {
    barrier.what = what, barrier.threads = threads, barrier.any = false;
  } else if (barrier.threads != threads || std::strcmp(barrier.what, what) != 0) {
    fault(std::string(what) + " of " + std::to_string(threads) + " threads where others are at " + barrier.what +
          " of " + std::to_string(barrier.threads));
  }
  barrier.any |= value;
  barrier.waiting.push_back(current_);
  if (static_cast<int32_t>(barrier.waiting.size()) == threads) {
    barrier.answer = barrier.any;
    for (const Thread *thread : barrier.waiting) wake(*thread);
    barrier.waiting.clear();
    reorder();
  }
  wait(what);
  return barrier.answer;
}

void Block::warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size])) {
  const uint32_t lane = current_->index.x % warp_size;
  Warp &warp = warps_[current_->index.x / warp_size];
  if (warp.arrived == 0) warp.what = what;
  if (std::strcmp(warp.what, what) != 0)
    fault(std::string(what) + " where other lanes of the warp are at " + warp.what);
  warp.of_lanes[lane] = of_lane;
  warp.arrived |= uint32_t{1} << lane;
  if (warp.arrived != 0xffffffffu) return wait(what);
  perform(warp.of_lanes);
  warp.arrived = 0;
  warp.runnable = ~(uint32_t{1} << lane);
}

void Block::cluster_barrier(const char *what) { cluster_.barrier(*this, what); }

size_t Block::cluster_size() const { return cluster_.size(); }

}  // namespace emulator
