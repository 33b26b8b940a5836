// SPDX-License-Identifier: Apache-2.0
//
// A block's barriers in shared memory, its copies of tensor boxes, and what its threads have stored without a fence (hopper.hpp).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "hopper.hpp"
#include "races.hpp"
#include "tensor_map_image.hpp"

namespace emulator {

class Block;
struct Thread;

// Bytes of shared memory, counted from its beginning.
struct ByteRange {
  int64_t begin, end;
  bool meets(const ByteRange &other) const { return begin < other.end && other.begin < end; }
  std::string text() const;
};

class CopyEngine {
 public:
  explicit CopyEngine(Block &block) : block_(block) {}

  void init(uint32_t at, int32_t arrivals, const Site &site);
  void fence_init();
  void arrive(uint32_t at, uint32_t expected_bytes, const Site &site);
  void wait(uint32_t at, uint32_t parity, const Site &site);

  void copy(uint32_t destination, const void *tensor_map, uint32_t barrier, const BoxPlace &place, const Site &site);
  void stored(uint32_t address, int32_t bytes);
  void fence_stores();
  // Where a copy is under way, or plain stores have not been fenced: a fault.
  void check_read(const char *what, const ByteRange &range) const;

  bool has_boxes() const { return !boxes_.empty(); }
  void land_one();  // any

 private:
  struct Barrier {
    uint64_t token;
    int32_t arrivals, pending;
    int64_t bytes = 0;
    uint32_t number = 0, phase = 0;
    const Thread *initialiser = nullptr;
    bool fenced = false;
    std::vector<const Thread *> waiting;
    Gathering knowledge;
    Clock of_last_phase;
  };
  struct Box {
    fake::TensorMapImage map;
    BoxPlace place;
    ByteRange destination;
    uint32_t barrier, phase;
    Site site;
  };
  Barrier &find(uint32_t at, const Site &site);
  Barrier &find_for_thread(uint32_t at, const Site &site);
  void end_phase_if_due(Barrier &barrier);
  void land(const Box &box);

  Block &block_;
  std::map<uint32_t, Barrier> barriers_;
  std::vector<Box> boxes_;
  std::vector<uint16_t>
      unfenced_;  // of each 16 bytes of shared memory: who stored there, 1 + the thread; empty: nobody
};

}  // namespace emulator
