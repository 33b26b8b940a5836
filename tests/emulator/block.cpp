// SPDX-License-Identifier: Apache-2.0
#include "block.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#include "fiber.hpp"

// The names that kernels give their dynamic shared memory: all of them mean the same bytes, since blocks run one after the other.
namespace {
constexpr size_t guard_bytes = 16 * 1024, arena_bytes = emulator::most_shared_bytes + guard_bytes;
}
extern "C" {
alignas(1024) unsigned char shared[arena_bytes];
extern unsigned char shared_floats[arena_bytes] __attribute__((alias("shared")));
}

namespace emulator {
namespace {

constexpr uint32_t window_begins = 1024;  // so that 0 is the address of nothing
// Both are NaN in every type; what stands behind the end differs from what the block begins with.
constexpr unsigned char fresh = 0xff;
constexpr unsigned char guard[] = {0xfe, 0xff};

struct Copy {
  unsigned char *destination;
  const void *source;
  int32_t source_bytes, group;

  void arrive() const {
    std::memset(destination, 0, 16);
    if (source_bytes > 0) std::memcpy(destination, source, static_cast<size_t>(source_bytes));
  }
};

struct Thread {
  Index index;
  std::unique_ptr<Fiber> fiber;
  const char *waits_at = nullptr;
  bool ended = false;
  int32_t groups = 0;  // ended ones
  std::vector<Copy> copies;
};

struct Warp {
  uint32_t runnable = 0, arrived = 0;  // a bit for each lane
  const char *what = nullptr;
  void *of_lanes[warp_size];
};

struct Barrier {
  const char *what = nullptr;
  int32_t threads = 0;
  std::vector<Thread *> waiting;
  bool any = false, answer = false;
};

enum class CopyTime { as_late_as_possible, at_once, either };

class Block {
 public:
  Block(const Launch &launch, uint32_t block) : launch_(launch), random_(launch.seed * 7919u + block * 104729u + 1u) {
    place_.block = {block, 0, 0};
    warps_.resize(static_cast<size_t>(launch.threads / warp_size));
    threads_.resize(static_cast<size_t>(launch.threads));
    copy_time_ = static_cast<CopyTime>(launch.seed % 3);
    one_warp_ahead_ = launch.seed / 3 % 2 == 0;
    for (size_t i = 0; i < warps_.size(); ++i) order_.push_back(i);
  }

  void run();

  const Place &place() const { return place_; }
  [[noreturn]] void fault(const std::string &what) const;
  bool barrier(const char *what, int32_t id, int32_t threads, bool value);
  bool block_barrier(const char *what, bool value) { return barrier(what, 0, launch_.threads, value); }
  void warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size]));
  unsigned char *shared_at(const char *what, uint32_t address, int32_t bytes) const;
  void copy_in_background(uint32_t destination, const void *source, int32_t source_bytes);
  void end_copy_group() { ++current_->groups; }
  void wait_for_copies(int32_t groups_pending);

 private:
  void start(Thread &thread);
  Thread *next();
  void wait(const char *what);
  void wake(const Thread &thread) {
    warps_[thread.index.x / warp_size].runnable |= uint32_t{1} << thread.index.x % warp_size;
  }
  void reorder() { std::shuffle(order_.begin(), order_.end(), random_); }
  std::string stuck() const;
  void check_guard() const;

  const Launch &launch_;
  std::minstd_rand random_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<size_t> order_;  // of warps, changed at each barrier
  Barrier barriers_[16];
  Thread *current_ = nullptr;
  Place place_{};
  CopyTime copy_time_;
  bool one_warp_ahead_;  // a warp runs until it waits for others; or all a little
  std::exception_ptr failure_;
};

Block *running = nullptr;

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
  });
  wake(thread);
}

Thread *Block::next() {
  if (!one_warp_ahead_) reorder();
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
  for (auto i = static_cast<size_t>(launch_.shared_bytes); i < arena_bytes; ++i)
    if (shared[i] != guard[i % 2])
      throw Fault("block " + std::to_string(place_.block.x) + ", seed " + std::to_string(launch_.seed) +
                  ": shared memory was written at byte " + std::to_string(i) + "; the launch asked for " +
                  std::to_string(launch_.shared_bytes));
}

void Block::run() {
  std::memset(shared, fresh, static_cast<size_t>(launch_.shared_bytes));
  for (auto i = static_cast<size_t>(launch_.shared_bytes); i < arena_bytes; ++i) shared[i] = guard[i % 2];
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].index = {static_cast<uint32_t>(i), 0, 0};
    start(threads_[i]);
  }
  reorder();
  while ((current_ = next()) != nullptr) {
    place_.thread = current_->index;
    current_->fiber->resume();
    if (failure_) std::rethrow_exception(failure_);
  }
  if (const std::string why = stuck(); !why.empty()) throw Fault(why);
  check_guard();
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

unsigned char *Block::shared_at(const char *what, uint32_t address, int32_t bytes) const {
  const int64_t offset = int64_t{address} - window_begins;
  if (offset < 0 || offset + bytes > launch_.shared_bytes)
    fault(std::string(what) + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes - 1) +
          " of shared memory; the launch asked for " + std::to_string(launch_.shared_bytes));
  if (offset % bytes != 0)
    fault(std::string(what) + ": byte " + std::to_string(offset) + " of shared memory is no multiple of " +
          std::to_string(bytes));
  return shared + offset;
}

void Block::copy_in_background(uint32_t destination, const void *source, int32_t source_bytes) {
  if (source_bytes > 0) check_alignment("cp.async", source, 16);
  const Copy copy{shared_at("cp.async", destination, 16), source, source_bytes, current_->groups};
  std::memset(copy.destination, fresh, 16);
  if (copy_time_ == CopyTime::at_once || (copy_time_ == CopyTime::either && random_() % 2 == 0))
    copy.arrive();
  else
    current_->copies.push_back(copy);
}

void Block::wait_for_copies(int32_t groups_pending) {
  std::erase_if(current_->copies, [&](const Copy &copy) {
    const bool due = copy.group < current_->groups - groups_pending;
    if (due) copy.arrive();
    return due;
  });
}

}  // namespace

void run(const Launch &launch) {
  if (launch.threads < 1 || launch.threads > most_threads || launch.threads % warp_size != 0)
    throw Fault("threads is " + std::to_string(launch.threads) + "; allowed: multiples of 32 up to 1024");
  if (launch.shared_bytes < 0 || launch.shared_bytes > most_shared_bytes)
    throw Fault("shared_bytes is " + std::to_string(launch.shared_bytes) + "; allowed: 0 to " +
                std::to_string(most_shared_bytes));
  for (int64_t i = 0; i < launch.blocks; ++i) {
    Block block(launch, static_cast<uint32_t>(i));
    running = &block;
    block.run();
  }
  running = nullptr;
}

const Place &place() { return running->place(); }
void fault(const std::string &what) { running->fault(what); }
bool barrier(const char *what, int32_t id, int32_t threads, bool value) {
  return running->barrier(what, id, threads, value);
}
bool block_barrier(const char *what, bool value) { return running->block_barrier(what, value); }
void warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size])) {
  running->warp_operation(what, of_lane, perform);
}
uint32_t shared_address(const void *pointer) {
  return window_begins + static_cast<uint32_t>(static_cast<const unsigned char *>(pointer) - shared);
}
unsigned char *shared_at(const char *what, uint32_t address, int32_t bytes) {
  return running->shared_at(what, address, bytes);
}
void copy_in_background(uint32_t destination, const void *source, int32_t source_bytes) {
  running->copy_in_background(destination, source, source_bytes);
}
void end_copy_group() { running->end_copy_group(); }
void wait_for_copies(int32_t groups_pending) { running->wait_for_copies(groups_pending); }
void check_alignment(const char *what, const void *pointer, int32_t bytes) {
  if (reinterpret_cast<uintptr_t>(pointer) % static_cast<uintptr_t>(bytes) != 0)
    fault(std::string(what) + ": an address of global memory is no multiple of " + std::to_string(bytes));
}

}  // namespace emulator
