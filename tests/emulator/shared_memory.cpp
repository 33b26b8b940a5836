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

ByteRange Block::range_at(uint32_t address, int32_t bytes) { return {offset_of(address), offset_of(address) + bytes}; }

void Block::load_shared(uint32_t address, void *to, int32_t bytes, const Site &site) {
  const unsigned char *const from = shared_at(site.what, address, bytes);
  races_.by_thread(races_, thread(), Access::read, range_at(address, bytes), site);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Block::store_shared(uint32_t address, const void *from, int32_t bytes, const Site &site) {
  unsigned char *const to = shared_at(site.what, address, bytes);
  engine_.stored(address, bytes);
  races_.by_thread(races_, thread(), Access::write, range_at(address, bytes), site);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Block::or_shared(uint32_t address, uint32_t bits, const Site &site) {
  unsigned char *const at = shared_at(site.what, address, 4);
  engine_.stored(address, 4);
  races_.by_thread(races_, thread(), Access::atomic, range_at(address, 4), site);
  *reinterpret_cast<uint32_t *>(at) |= bits;
}

void Block::load_cluster_shared(uint32_t address, void *to, int32_t bytes, const Site &site) {
  const size_t rank = address >> rank_shift;
  if (rank >= cluster_.size())
    fault(std::string(site.what) + ": " + std::to_string(address) + " is no address in the cluster's shared memory");
  Block &owner = cluster_.block(rank);
  if (!owner.has_begun() || owner.has_ended())
    fault(std::string(site.what) + ": the shared memory of block " + std::to_string(owner.place_.block.x) +
          ", which has " + (owner.has_begun() ? "ended" : "not begun"));
  const unsigned char *const from = at(owner, site.what, without_rank(address), bytes);
  races_.by_thread(owner.races_, thread(), Access::read, range_at(address, bytes), site);
  std::memcpy(to, from, static_cast<size_t>(bytes));
}

void Block::plain_access(Access access, const ByteRange &range, const void *caller) {
  const char *const what = access == Access::read ? "a plain read" : "a plain write";
  if (range.end > launch_.shared_bytes)
    fault(std::string(what) + " of " + range.text() + "; the launch asked for " + std::to_string(launch_.shared_bytes));
  races_.by_thread(races_, thread(), access, range, {what, caller});
}

uint32_t cluster_address(const char *what, uint32_t own, int32_t rank) {
  shared_at(what, own, 1);
  if (rank < 0 || rank >= static_cast<int32_t>(running_block().cluster_size()))
    fault(std::string(what) + ": block " + std::to_string(rank) + " of a cluster of " +
          std::to_string(running_block().cluster_size()));
  return without_rank(own) | static_cast<uint32_t>(rank) << rank_shift;
}

void Block::copy_in_background(uint32_t destination, const void *source, int32_t source_bytes, const Site &site) {
  if (source_bytes > 0) check_alignment(site.what, source, 16);
  const Copy copy{shared_at(site.what, destination, 16), source, source_bytes, current_->groups};
  races_.by_copy(thread(), static_cast<uint32_t>(current_->groups), range_at(destination, 16), site);
  std::memset(copy.destination, fresh, 16);
  ++in_background;
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
  if (current_->groups > groups_pending)
    races_.copies_arrived(thread(), static_cast<uint32_t>(current_->groups - groups_pending));
}

uint32_t shared_address(const void *pointer) {
  return running_block().address_of(static_cast<const unsigned char *>(pointer) - shared);
}

}  // namespace emulator
