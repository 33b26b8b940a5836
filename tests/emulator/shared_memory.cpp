// SPDX-License-Identifier: Apache-2.0
//
// The window of shared memory: bounds, what lies behind them, and copies in the background.
#include <algorithm>
#include <cstring>

#include "block_state.hpp"

// The names that kernels give their dynamic shared memory: all of them mean the same bytes, since one block runs at a time.
extern "C" {
alignas(1024) unsigned char shared[emulator::arena_bytes];
extern unsigned char shared_floats[emulator::arena_bytes] __attribute__((alias("shared")));
extern unsigned char memory[emulator::arena_bytes] __attribute__((alias("shared")));
}

namespace emulator {
namespace {
// NaN as well, and not what the block begins with.
constexpr unsigned char guard[] = {0xfe, 0xff};
}  // namespace

unsigned char *shared_window() { return shared; }

void write_guard(int64_t shared_bytes) {
  unsigned char *const end = shared + shared_bytes;
  std::memcpy(end, guard, 2);
  for (size_t i = 2, count = static_cast<size_t>(arena_bytes - shared_bytes); i < count; i *= 2)
    std::memcpy(end + i, end, std::min(i, count - i));
}

int64_t first_written_of_guard(int64_t shared_bytes) {
  const unsigned char *const end = shared + shared_bytes;
  const auto count = static_cast<size_t>(arena_bytes - shared_bytes);
  if (std::memcmp(end, guard, 2) == 0 && std::memcmp(end, end + 2, count - 2) == 0) return -1;
  int64_t i = 0;
  while (end[i] == guard[i % 2]) ++i;
  return shared_bytes + i;
}

void Copy::arrive() const {
  std::memset(destination, 0, 16);
  if (source_bytes > 0) std::memcpy(destination, source, static_cast<size_t>(source_bytes));
}

unsigned char *Block::at(const Block &owner, const char *what, uint32_t address, int32_t bytes) const {
  const int64_t offset = int64_t{address} - window_begins;
  if (offset < 0 || offset + bytes > launch_.shared_bytes)
    fault(std::string(what) + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset + bytes - 1) +
          " of shared memory; the launch asked for " + std::to_string(launch_.shared_bytes));
  if (offset % bytes != 0)
    fault(std::string(what) + ": byte " + std::to_string(offset) + " of shared memory is no multiple of " +
          std::to_string(bytes));
  return (&owner == this ? shared : owner.memory_.data()) + offset;
}

unsigned char *Block::shared_at(const char *what, uint32_t address, int32_t bytes) const {
  if (address >> rank_shift != rank())
    fault(std::string(what) + ": an address of block " + std::to_string(address >> rank_shift) +
          " of the cluster, and not of its own");
  return at(*this, what, without_rank(address), bytes);
}

unsigned char *Block::cluster_shared_at(const char *what, uint32_t address, int32_t bytes) const {
  const size_t rank = address >> rank_shift;
  if (rank >= cluster_.size())
    fault(std::string(what) + ": " + std::to_string(address) + " is no address in the cluster's shared memory");
  const Block &owner = cluster_.block(rank);
  if (!owner.has_begun() || owner.has_ended())
    fault(std::string(what) + ": the shared memory of block " + std::to_string(owner.place_.block.x) + ", which has " +
          (owner.has_begun() ? "ended" : "not begun"));
  return at(owner, what, without_rank(address), bytes);
}

uint32_t cluster_address(const char *what, uint32_t own, int32_t rank) {
  shared_at(what, own, 1);
  if (rank < 0 || rank >= static_cast<int32_t>(running_block().cluster_size()))
    fault(std::string(what) + ": block " + std::to_string(rank) + " of a cluster of " +
          std::to_string(running_block().cluster_size()));
  return without_rank(own) | static_cast<uint32_t>(rank) << rank_shift;
}

void Block::copy_in_background(uint32_t destination, const void *source, int32_t source_bytes) {
  if (source_bytes > 0) check_alignment("cp.async", source, 16);
  const Copy copy{shared_at("cp.async", destination, 16), source, source_bytes, current_->groups};
  std::memset(copy.destination, fresh, 16);
  if (now(copy_time_))
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

uint32_t shared_address(const void *pointer) {
  return running_block().address_of(static_cast<const unsigned char *>(pointer) - shared);
}

}  // namespace emulator
