// SPDX-License-Identifier: Apache-2.0
//
// A thread block on the host: its threads are fibers of one host thread, which change over where the kernel synchronizes and nowhere
// else. In between they run in an order that a seed decides, and copies in the background land when the seed says. Blocks of a cluster
// take turns, each with shared memory of its own.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "running_thread.hpp"

namespace emulator {

// What a kernel must not do. The launch ends with it.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr int32_t most_threads = 1024, most_shared_bytes = 227 * 1024, most_cluster = 8;

// Memory that the launch ahead on the stream wrote, for one that may begin before it has ended (programmatic dependent launch).
struct WrittenAhead {
  unsigned char *memory;
  std::vector<unsigned char> bytes;  // what has been written there
};

struct Launch {
  void (*kernel)(const void *parameters);
  const void *parameters;
  int64_t blocks;
  int32_t threads;
  int64_t shared_bytes;
  uint32_t seed;
  int32_t cluster = 1;                  // blocks that run together
  int64_t blocks_y = 1;                 // of the grid, along y
  const WrittenAhead *ahead = nullptr;  // in every cluster NaN until it waits
};

// All clusters, one after the other. Throws a Fault.
void run(const Launch &launch);

// Copies and products whose time a seed decides, so far: a launch that adds none runs alike at each of these times.
int64_t background_operations();
// Rows that were computed a second time, so far.
int64_t rows_computed_again();

[[noreturn]] void fault(const std::string &what);  // of the thread that runs

}  // namespace emulator
