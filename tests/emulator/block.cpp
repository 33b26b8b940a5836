// SPDX-License-Identifier: Apache-2.0
#include "block_state.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "source_line.hpp"

namespace emulator {
namespace {
constexpr int32_t registers_of_multiprocessor = 65536, least_registers = 24, most_registers = 248;
}

Block::Block(const Launch &launch, Cluster &cluster, const Index &block)
    : launch_(launch),
      cluster_(cluster),
      random_(launch.seed * 7919u + block.x * 104729u + block.y * 15485863u + 1u),
      spoilt_word_((launch.seed + block.x) % 2 == 0 ? 0xffffffffu : 0x44a544a5u),
      races_(cluster, block.x % static_cast<uint32_t>(launch.cluster), launch.threads, launch.shared_bytes),
      engine_(*this) {
  place_.block = block;
  place_.grid = {static_cast<uint32_t>(launch.blocks), static_cast<uint32_t>(launch.blocks_y), 1};
  warps_.resize(static_cast<size_t>(launch.threads / warp_size));
  threads_.resize(static_cast<size_t>(launch.threads));
  copy_time_ = product_time_ = static_cast<Time>(launch.seed % 3);
  one_warp_ahead_ = launch.seed / 3 % 2 == 0;
  // Both late and both at once, and each with the other.
  if (one_warp_ahead_ && copy_time_ != Time::either)
    product_time_ = copy_time_ == Time::at_once ? Time::as_late_as_possible : Time::at_once;
  for (size_t i = 0; i < warps_.size(); ++i) order_.push_back(i);
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i].index = {static_cast<uint32_t>(i), 0, 0};
    threads_[i].registers = std::min(most_registers, registers_of_multiprocessor / launch.threads / 8 * 8);
    start(threads_[i]);
  }
  reorder();
}

std::string Block::name() const {
  const std::string y = launch_.blocks_y == 1 ? "" : ", " + std::to_string(place_.block.y);
  return "block " + std::to_string(place_.block.x) + y;
}

void Block::fault(const std::string &what) const {
  const uint32_t thread = place_.thread.x;
  throw Fault(name() + ", warp " + std::to_string(thread / warp_size) + ", lane " + std::to_string(thread % warp_size) +
              ", seed " + std::to_string(launch_.seed) + ": " + what + "; at " + current_line());
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
  return engine_.has_boxes() ||
         std::any_of(warps_.begin(), warps_.end(), [](const Warp &warp) { return warp.runnable != 0; });
}

Thread *Block::next() {
  size_t at = one_warp_ahead_ ? 0 : random_() % order_.size();
  if (engine_.has_boxes() && copy_time_ == Time::either && random_() % 64 == 0) engine_.land_one();
  for (size_t turns = 0; turns < order_.size(); ++turns, ++at) {
    if (at == order_.size()) at = 0;
    const size_t i = order_[at];
    Warp &warp = warps_[i];
    if (warp.runnable == 0) continue;
    const int32_t turn = static_cast<int32_t>(random_() % warp_size);
    const int32_t lane = (std::countr_zero(std::rotr(warp.runnable, turn)) + turn) % warp_size;
    warp.runnable &= ~(uint32_t{1} << lane);
    return &threads_[i * warp_size + static_cast<size_t>(lane)];
  }
  if (!engine_.has_boxes() || has_ended()) return nullptr;
  engine_.land_one();
  return next();
}

// It says so itself, since it knows where it stands.
void Block::check_not_stuck() {
  const auto stuck = std::find_if(threads_.begin(), threads_.end(), [](const Thread &thread) { return !thread.ended; });
  if (stuck == threads_.end()) return;
  is_stuck_ = true;
  wake(*stuck);
  run();
}

void Block::check_guard() const {
  if (const int64_t byte = first_written_of_guard(launch_.shared_bytes); byte >= 0)
    throw Fault(name() + ", seed " + std::to_string(launch_.seed) + ": shared memory was written at byte " +
                std::to_string(byte) + "; the launch asked for " + std::to_string(launch_.shared_bytes));
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
  if (has_ended()) check_end();
  if (!cluster_.is_alone()) memory_.assign(shared_window(), shared_window() + bytes);
}

void Block::wait(const char *what) {
  current_->fiber->pause();
  if (is_stuck_) fault(std::string("waits at ") + what + " for threads that do not come");
}

void Block::let_others_go_first(const char *what) {
  if (one_warp_ahead_ || random_() % 2 == 0) return;
  wake(*current_);
  wait(what);
}

// bar.sync and bar.arrive meet at one barrier.
Barrier &Block::join(const char *what, size_t id, int32_t threads, bool waits, bool value) {
  Barrier &barrier = barriers_[id];
  const auto kind = [](const char *name) { return std::strncmp(name, "bar.", 4) == 0 ? "bar" : name; };
  if (barrier.arrived == 0) {
    barrier.what = what, barrier.threads = threads, barrier.any = false;
  } else if (barrier.threads != threads || (barrier.what != what && std::strcmp(kind(barrier.what), kind(what)) != 0)) {
    fault(std::string(what) + " of " + std::to_string(threads) + " threads where others are at " + barrier.what +
          " of " + std::to_string(barrier.threads));
  }
  barrier.any |= value;
  const bool orders = id < first_of_warpgroups;
  if (waits)
    barrier.waiting.push_back(current_);
  else if (orders)
    races_.release(thread(), barrier.knowledge);
  if (++barrier.arrived < threads) return barrier;
  std::vector<uint32_t> woken;
  for (const Thread *one : barrier.waiting) wake(*one), woken.push_back(one->index.x);
  if (orders) races_.meet(woken, barrier.knowledge);
  barrier.knowledge = {}, barrier.waiting.clear();
  barrier.arrived = 0, barrier.answer = barrier.any;
  reorder();
  return barrier;
}

bool Block::meet(const char *what, size_t id, int32_t threads, bool value) {
  const Barrier &barrier = join(what, id, threads, true, value);
  wait(what);
  return barrier.answer;
}

bool Block::barrier(const char *what, int32_t id, int32_t threads, bool value) {
  if (id < 0 || id >= 16) fault(std::string(what) + ": barrier " + std::to_string(id) + "; there are 0 to 15");
  return meet(what, static_cast<size_t>(id), threads, value);
}

void Block::arrive_at_barrier(const char *what, int32_t id, int32_t threads) {
  if (id < 0 || id >= 16) fault(std::string(what) + ": barrier " + std::to_string(id) + "; there are 0 to 15");
  join(what, static_cast<size_t>(id), threads, false, false);
}

void Block::warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size])) {
  const uint32_t lane = current_->index.x % warp_size;
  Warp &warp = warps_[current_->index.x / warp_size];
  if (warp.arrived == 0) warp.what = what;
  if (warp.what != what && std::strcmp(warp.what, what) != 0)
    fault(std::string(what) + " where other lanes of the warp are at " + warp.what);
  warp.of_lanes[lane] = of_lane;
  warp.arrived |= uint32_t{1} << lane;
  if (warp.arrived != 0xffffffffu) return wait(what);
  perform(warp.of_lanes);
  warp.arrived = 0;
  warp.runnable = ~(uint32_t{1} << lane);
}

// ---- Registers: what a warpgroup gives back, another may take -------------------------------------------------------
int32_t Block::change_registers(const char *what, int32_t count) {
  if (count < least_registers || count > most_registers || count % 8 != 0)
    fault(std::string(what) + " to " + std::to_string(count) + "; allowed: multiples of 8 from 24 to 248");
  meet(what, first_of_warpgroups + current_->index.x / Warpgroup::threads, Warpgroup::threads, false);
  return count - current_->registers;
}

void Block::give_registers_back(int32_t count) {
  const int32_t more = change_registers("setmaxnreg.dec", count);
  if (more > 0) fault("setmaxnreg.dec to more than the thread has, " + std::to_string(current_->registers));
  current_->registers = count, free_registers_ -= more;
  for (const Thread *thread : waiting_for_registers_) wake(*thread);
  waiting_for_registers_.clear();
}

void Block::take_registers(int32_t count) {
  const int32_t more = change_registers("setmaxnreg.inc", count);
  if (more < 0) fault("setmaxnreg.inc to less than the thread has, " + std::to_string(current_->registers));
  while (free_registers_ < more) {
    waiting_for_registers_.push_back(current_);
    wait("setmaxnreg.inc");
  }
  current_->registers = count, free_registers_ -= more;
}

// ---- What runs in the background -----------------------------------------------------------------------------------
Warpgroup &Block::warpgroup() {
  const size_t index = current_->index.x / Warpgroup::threads;
  if (threads_.size() % Warpgroup::threads != 0) fault("wgmma in a block of incomplete warpgroups");
  if (warpgroups_.empty()) warpgroups_.resize(threads_.size() / Warpgroup::threads);
  if (warpgroups_[index] == nullptr) warpgroups_[index] = std::make_unique<Warpgroup>(*this);
  return *warpgroups_[index];
}

void Block::spoil(unsigned char *at, int64_t bytes) const {
  for (int64_t i = 0; i < bytes; i += 4) std::memcpy(at + i, &spoilt_word_, 4);
}

bool Block::is_spoilt(const void *at, int64_t bytes) const {
  for (int64_t i = 0; i < bytes; i += 4)
    if (std::memcmp(static_cast<const unsigned char *>(at) + i, &spoilt_word_, 4) != 0) return false;
  return true;
}

void Block::check_not_read(const char *what, const ByteRange &range) const {
  for (const auto &warpgroup : warpgroups_)
    if (warpgroup != nullptr) warpgroup->check_not_read(what, range);
}

void Block::check_end() const {
  const auto ended_with = [&](const std::string &what) {
    throw Fault(name() + ", seed " + std::to_string(launch_.seed) + ": all threads have ended, and " + what);
  };
  if (engine_.has_boxes()) ended_with("copies are under way");
  for (const Barrier &barrier : barriers_)
    if (barrier.arrived != 0)
      ended_with(std::to_string(barrier.arrived) + " of " + std::to_string(barrier.threads) + " were at " +
                 barrier.what);
  for (const auto &warpgroup : warpgroups_)
    if (warpgroup != nullptr && warpgroup->has_unfinished()) ended_with("products are under way");
}

void Block::cluster_barrier(const char *what) { cluster_.barrier(*this, what); }

size_t Block::cluster_size() const { return cluster_.size(); }

}  // namespace emulator
