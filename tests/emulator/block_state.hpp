// SPDX-License-Identifier: Apache-2.0
//
// What the emulator keeps of a block and of its cluster (block.hpp says what it does with it).
#pragma once

#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "block.hpp"
#include "copy_engine.hpp"
#include "fiber.hpp"
#include "products.hpp"
#include "races.hpp"

namespace emulator {

// ---- Shared memory -------------------------------------------------------------------------------------------------
// One window for the block that runs, with a guard behind it; blocks of a cluster that do not run are kept elsewhere.
inline constexpr int64_t guard_bytes = 16 * 1024, arena_bytes = most_shared_bytes + guard_bytes;
inline constexpr uint32_t window_begins = 1024;  // so that 0 is the address of nothing
// Above these bits stands the rank of the block in its cluster, as on a GPU.
inline constexpr uint32_t rank_shift = 24;
constexpr uint32_t without_rank(uint32_t address) { return address & ((uint32_t{1} << rank_shift) - 1); }
constexpr int64_t offset_of(uint32_t address) { return int64_t{without_rank(address)} - window_begins; }
// NaN in every type: what a block begins with, and what cp.async has under way.
inline constexpr unsigned char fresh = 0xff;

extern "C" unsigned char shared[arena_bytes];  // by the first of the names that kernels have for it
inline unsigned char *shared_window() { return shared; }
void write_guard(int64_t shared_bytes);
// The first byte that was written behind the end; -1: none.
int64_t first_written_of_guard(int64_t shared_bytes);

// ---- Threads -------------------------------------------------------------------------------------------------------
struct Copy {
  unsigned char *destination;
  const void *source;
  int32_t source_bytes, group;

  void arrive() const;
};

struct Thread {
  Index index;
  std::unique_ptr<Fiber> fiber;
  bool ended = false;
  int32_t groups = 0;  // ended ones
  std::vector<Copy> copies;
  int32_t registers = 0;
};

struct Warp {
  uint32_t runnable = 0, arrived = 0;  // a bit for each lane
  const char *what = nullptr;
  void *of_lanes[warp_size];
};

struct Barrier {
  const char *what = nullptr;
  int32_t threads = 0, arrived = 0;
  std::vector<Thread *> waiting;
  Gathering knowledge;
  bool any = false, answer = false;
};

enum class Time { as_late_as_possible, at_once, either };

class Cluster;

class Block {
 public:
  Block(const Launch &launch, Cluster &cluster, const Index &block);

  // Threads in turn, until none can go on or it is another block's turn. Shared memory comes and goes with the block, where it is not alone.
  void run();
  bool can_run() const;
  bool has_begun() const { return has_begun_; }
  bool has_ended() const { return ended_ == threads_.size(); }
  // Ends the launch where threads wait that nobody will wake.
  void check_not_stuck();
  void check_guard() const;
  void wake(const Thread &thread) {
    warps_[thread.index.x / warp_size].runnable |= uint32_t{1} << thread.index.x % warp_size;
  }

  const Place &place() const { return place_; }
  size_t cluster_size() const;
  uint32_t rank() const { return place_.block.x % static_cast<uint32_t>(cluster_size()); }
  uint32_t address_of(int64_t offset) const {
    return (static_cast<uint32_t>(offset) + window_begins) | rank() << rank_shift;
  }
  Thread &current() const { return *current_; }
  std::string name() const;  // "block 3", "block 3, 1" where the grid has several along y
  [[noreturn]] void fault(const std::string &what) const;
  void wait(const char *what);                 // until somebody wakes the thread that runs
  void let_others_go_first(const char *what);  // where a thread might as well go on
  void reorder();                              // at a barrier: another order of warps
  uint32_t random() { return static_cast<uint32_t>(random_()); }

  bool barrier(const char *what, int32_t id, int32_t threads, bool value);
  void cluster_barrier(const char *what);
  bool block_barrier(const char *what, bool value) { return barrier(what, 0, launch_.threads, value); }
  void arrive_at_barrier(const char *what, int32_t id, int32_t threads);
  void warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&)[warp_size]));
  void give_registers_back(int32_t count);
  void take_registers(int32_t count);
  unsigned char *shared_at(const char *what, uint32_t address, int32_t bytes) const;
  void load_shared(uint32_t address, void *to, int32_t bytes, const Site &site);
  void store_shared(uint32_t address, const void *from, int32_t bytes, const Site &site);
  void or_shared(uint32_t address, uint32_t bits, const Site &site);
  void load_cluster_shared(uint32_t address, void *to, int32_t bytes, const Site &site);
  void plain_access(Access access, const ByteRange &range, const void *caller);
  void copy_in_background(uint32_t destination, const void *source, int32_t source_bytes, const Site &site);
  void end_copy_group() { ++current_->groups; }
  void wait_for_copies(int32_t groups_pending);

  // ---- Races
  Races &races() { return races_; }
  const Races &races() const { return races_; }
  uint32_t thread() const { return current_->index.x; }  // that runs
  uint32_t warp() const { return current_->index.x / warp_size; }
  void meet_warp() { races_.meet_warp(warp()); }

  // ---- What runs in the background
  CopyEngine &engine() { return engine_; }
  Warpgroup &warpgroup();  // of the thread that runs
  size_t warp_in_warpgroup() const { return current_->index.x % Warpgroup::threads / warp_size; }
  Time copy_time() const { return copy_time_; }
  Time product_time() const { return product_time_; }
  bool now(Time time) { return time == Time::at_once || (time == Time::either && random_() % 2 == 0); }
  // What lies where something is under way: NaN, or numbers, because some kernels compute anew what is NaN.
  void spoil(unsigned char *at, int64_t bytes) const;
  bool is_spoilt(const void *at, int64_t bytes) const;
  void check_not_read(const char *what, const ByteRange &range) const;

 private:
  void start(Thread &thread);
  Thread *next();
  Barrier &join(const char *what, size_t id, int32_t threads, bool waits, bool value);
  bool meet(const char *what, size_t id, int32_t threads, bool value);
  int32_t change_registers(const char *what, int32_t count);
  void check_end() const;
  unsigned char *at(const Block &owner, const char *what, uint32_t address, int32_t bytes) const;
  static ByteRange range_at(uint32_t address, int32_t bytes);

  const Launch &launch_;
  Cluster &cluster_;
  std::minstd_rand random_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<size_t> order_;  // of warps, changed at each barrier
  // Those of PTX, and one for each warpgroup, which orders nothing.
  static constexpr size_t first_of_warpgroups = 16;
  Barrier barriers_[first_of_warpgroups + most_threads / Warpgroup::threads];
  Thread *current_ = nullptr;
  Place place_{};
  Time copy_time_, product_time_;
  uint32_t spoilt_word_;
  Races races_;
  CopyEngine engine_;
  std::vector<std::unique_ptr<Warpgroup>> warpgroups_;
  int32_t free_registers_ = 0;
  std::vector<const Thread *> waiting_for_registers_;
  bool one_warp_ahead_;  // a warp runs until it waits for others; or all a little
  bool has_begun_ = false, ends_turn_ = false, is_stuck_ = false;
  size_t ended_ = 0;
  mutable std::vector<unsigned char> memory_;  // while another block of the cluster runs
  std::exception_ptr failure_;
};

// The blocks of a cluster, or one alone.
class Cluster {
 public:
  Cluster(const Launch &launch, const Index &first_block);

  void run();
  bool is_alone() const { return blocks_.size() == 1; }
  size_t size() const { return blocks_.size(); }
  Block &block(size_t rank) const { return *blocks_[rank]; }
  void barrier(Block &block, const char *what);
  void thread_ended() {
    ++ended_;
    release();
  }

 private:
  struct Waiting {
    Block *block;
    const Thread *thread;
  };
  void release();

  std::vector<std::unique_ptr<Block>> blocks_;
  std::minstd_rand random_;
  size_t threads_, ended_ = 0;
  std::vector<Waiting> waiting_;
};

inline Block *running = nullptr;  // none between launches
inline int64_t in_background = 0, computed_again = 0;
inline Block &running_block() { return *running; }
void forget_global_writes();  // at the beginning of a launch

}  // namespace emulator
