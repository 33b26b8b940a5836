// SPDX-License-Identifier: Apache-2.0
//
// Races in shared memory: two accesses to a byte by different threads, at least one of them a write, that nothing orders. What orders
// is what the programming model says, and not in which turn fibers happen to run.
//
// Who accesses is an actor: a thread, or what it has under way in the background. An actor counts; the number is the epoch of what it does,
// until it releases. A clock says of each actor up to which epoch its accesses happened before. Threads that meet have one clock, so
// most accesses are compared with few.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "block.hpp"

namespace emulator {

class Block;
class Cluster;
struct ByteRange;

using Clock = std::shared_ptr<const std::vector<uint32_t>>;

// What those who arrive have done, for those who wait.
class Gathering {
 public:
  void join(const Clock &clock);
  void set(uint32_t actor, uint32_t epoch) { (*clock_)[actor] = epoch; }  // after a join
  Clock give();

 private:
  std::shared_ptr<std::vector<uint32_t>> clock_;
  Clock last_;
  bool given_ = false;
};

// An instruction, and the address in the kernel that it returns to.
struct Site {
  const char *what;
  const void *caller;
};

enum class Access : uint8_t { read, write, atomic };

class Races {
 public:
  Races(const Cluster &cluster, uint32_t rank, int32_t threads, int64_t shared_bytes);
  ~Races();

  // ---- What orders
  // What the thread has done happened before what follows a wait for the gathering; what it does from now on did not.
  void release(uint32_t thread, Gathering &to);
  void acquire(uint32_t thread, const Clock &clock);
  // Barriers: these threads, and those that had arrived, before these threads.
  void meet(std::span<const uint32_t> threads, Gathering &arrived);
  void meet_warp(uint32_t warp);
  void meet_cluster();  // every block's own, when the last thread of all has come
  uint32_t epoch_of(uint32_t thread) const { return epochs_[thread]; }
  bool happened_before(uint32_t other, uint32_t epoch, uint32_t thread) const {
    return other == thread || epoch < floor_ || epoch <= (*clocks_[thread])[other];
  }
  // In the background, actors of their own.
  void copies_arrived(uint32_t thread, uint32_t groups) { copies_arrived_[thread] = groups; }
  Clock products_done(uint32_t warpgroup, uint32_t products) const;
  uint32_t products_of(uint32_t warpgroup) const { return 2 * threads_ + warpgroup; }
  uint32_t copies_to(uint32_t barrier) const;  // the actor

  // ---- Accesses to the shared memory of `owner`, by threads of this block: a race is a fault
  void by_thread(Races &owner, uint32_t thread, Access access, const ByteRange &range, const Site &site) const;
  void by_lanes(uint32_t warp, uint32_t lanes, Access access, const ByteRange &range, const Site &site);
  // In the background: what the thread knew when it issued them is before.
  void by_copy(uint32_t thread, uint32_t group, const ByteRange &range, const Site &site);
  void by_copy_to(uint32_t barrier, uint32_t phase, uint32_t thread, const ByteRange &range, const Site &site);
  // By all lanes of a warp: `ranges` calls back for each that is read. Lanes that know what `looked_at` says are not looked at again.
  template <typename Ranges>
  void by_product(uint32_t number, uint32_t warp, Clock &looked_at, Ranges ranges, const Site &site) {
    const Record record = {{products_of(warp / 4), 1, number + 1}, static_cast<uint8_t>(rank_), Access::read, 0, site};
    for_each_clock(warp, 0xffffffffu, [&](uint32_t first, uint32_t) {
      if (looked_at == clocks_[first]) return;
      looked_at = clocks_[first];
      ranges([&](const ByteRange &range) { note(record, {*this, *clocks_[first], -1}, range); });
    });
  }

 private:
  struct Actor {
    uint32_t first, lanes, epoch;  // lane 0 of a warp, and a bit for each lane; or another actor, and 1
  };
  struct Issuer {
    const Races &races;
    const std::vector<uint32_t> &clock;
    int64_t thread;  // which knows of its own copies; -1: several
  };
  struct Record {
    Actor actor;
    uint8_t rank;
    Access access;
    uint16_t bytes;  // a bit for each of 16
    Site site;

    bool same_but_for_lanes_and_bytes(const Record &other) const;
    bool stands_in_for(const Record &other) const;
    bool take_in(const Record &other);  // false, and nothing is changed: it would be more than the two
  };

  struct Chunk {  // of 16 bytes
    std::vector<Record> records;
    uint32_t newest_write = 0;  // epoch; never: of the background, or another block's
  };
  static constexpr uint32_t never = UINT32_MAX;

  Actor actor_of(uint32_t thread) const;
  // Once for lanes that know the same and are at the same epoch: nearly always all.
  template <typename Function>
  void for_each_clock(uint32_t warp, uint32_t lanes, Function function) const {
    while (lanes != 0) {
      const uint32_t first = warp * warp_size + static_cast<uint32_t>(std::countr_zero(lanes));
      uint32_t same = 0;
      for (uint32_t rest = lanes; rest != 0; rest &= rest - 1) {
        const auto lane = static_cast<uint32_t>(std::countr_zero(rest));
        const uint32_t thread = warp * warp_size + lane;
        if (clocks_[thread] == clocks_[first] && epochs_[thread] == epochs_[first]) same |= uint32_t{1} << lane;
      }
      function(first, same);
      lanes &= ~same;
    }
  }
  void note(Record record, const Issuer &issuer, const ByteRange &range);
  void note_chunk(const Record &record, const Issuer &issuer, int64_t chunk);
  bool is_noted_read(Chunk &chunk, const Record &now) const;
  uint32_t epoch_of_write(const Record &record) const;  // 0: it is none
  bool happened_before(const Record &before, uint32_t lanes, const Issuer &issuer) const;
  [[noreturn]] void fault(const Record &before, uint32_t lanes, const Record &now, int64_t chunk) const;
  std::string name_of(const Record &record, uint32_t lanes) const;

  const Cluster &cluster_;
  const uint32_t rank_, threads_;
  uint32_t latest_ = 1;                     // epoch of any thread
  uint32_t floor_ = 0, cluster_floor_ = 0;  // all threads know what was done in earlier epochs
  Clock at_cluster_barrier_;
  std::vector<Clock> clocks_;     // of each thread
  std::vector<uint32_t> epochs_;  // the same
  std::vector<uint32_t> copies_arrived_;
  struct Joined {
    Clock one, other, both;
  };
  std::vector<Joined> joined_;  // lanes join the same clocks one after the other
  size_t next_joined_ = 0;
  using Chunks = std::vector<Chunk>;
  static Chunks take_chunks(int64_t shared_bytes);
  static inline std::vector<Chunks> free_chunks_;  // empty ones, with the memory that they had: a block has thousands
  Chunks chunks_;
};

}  // namespace emulator
