// SPDX-License-Identifier: Apache-2.0
//
// What the twins of kernels/parts ask of the block that runs. Every module includes it, hence no standard library beyond integers.
#pragma once

#include <cstdint>

namespace emulator {

inline constexpr int32_t warp_size = 32;

// ---- Of the thread that runs ---------------------------------------------------------------------------------------
struct Index {
  uint32_t x, y, z;
};
struct Place {
  Index thread, block, grid;  // grid: how many blocks, along z one
};
const Place &place();

[[noreturn]] void fault(const char *what);

// By a warp, from memory, because what its block has of the row is no result (kernels/parts/careful_row.cuh).
void note_row_computed_again();

// Barriers: the block's, which is number 0, or one of groups of threads. All who meet must mean the same (`what`). The answer is
// whether any of them came with true.
bool barrier(const char *what, int32_t id, int32_t threads, bool value);
bool block_barrier(const char *what, bool value);

// An operation of a whole warp: `perform` gets what each of the 32 lanes gave, once all have come, and leaves each its result there.
void warp_operation(const char *what, void *of_lane, void (*perform)(void *const (&of_lanes)[warp_size]));

// ---- Shared memory -------------------------------------------------------------------------------------------------
// An address in the shared window, as 32-bit instructions take it.
uint32_t shared_address(const void *pointer);
// What lies there: inside of what the launch asked for, and aligned to its size. Nobody is told of the access.
unsigned char *shared_at(const char *what, uint32_t address, int32_t bytes);
// Accesses of the thread that runs, which are in no race (races.hpp).
void load_shared(const char *what, uint32_t address, void *to, int32_t bytes);
void store_shared(const char *what, uint32_t address, const void *from, int32_t bytes);
void or_shared(const char *what, uint32_t address, uint32_t bits);

// Bytes that arrive later (cp.async): at the latest when the thread waits for their group, at the earliest at once. Until then NaN lies
// at the destination.
void copy_in_background(uint32_t destination, const void *source, int32_t source_bytes);
void end_copy_group();
void wait_for_copies(int32_t groups_pending);

// ---- Of the cluster ------------------------------------------------------------------------------------------------
// All threads of all its blocks that have not ended.
void cluster_barrier(const char *what);
int32_t cluster_rank();
int32_t cluster_size();
// The address of the same place in the shared memory of the block of this rank.
uint32_t cluster_address(const char *what, uint32_t own, int32_t rank);
void load_cluster_shared(const char *what, uint32_t address, void *to, int32_t bytes);

// What the launch ahead wrote is there.
void wait_for_launch_ahead();

// ---- Global memory -------------------------------------------------------------------------------------------------
// Faults where an access of `bytes` bytes is not aligned to them.
void check_alignment(const char *what, const void *pointer, int32_t bytes);

}  // namespace emulator
