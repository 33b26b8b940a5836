// SPDX-License-Identifier: Apache-2.0
//
// What a kernel does through plain pointers. Its modules are compiled as for ThreadSanitizer, whose library is not linked: the compiler
// calls a function ahead of each access, and here these functions stand.
//
// Shared memory is looked at like that of instructions. What a thread writes to global memory no other may read or write, but one of its
// block for which that happened before.
#include <algorithm>
#include <array>
#include <unordered_map>

#include "block_state.hpp"
#include "source_line.hpp"

namespace emulator {
namespace {

constexpr size_t chunk_bytes = 16, unit_bytes = 2, units = chunk_bytes / unit_bytes;

struct Writer {
  uint32_t block = 0, thread = 0, epoch = 0;
  const void *caller = nullptr;  // nullptr: nobody

  // With an access of the thread that runs.
  bool is_in_race() const {
    if (caller == nullptr) return false;
    const Block &now = running_block();
    return block != now.place().block.x || !now.races().happened_before(thread, epoch, now.thread());
  }
  std::string text() const {
    return "block " + std::to_string(block) + ", warp " + std::to_string(thread / warp_size) + ", lane " +
           std::to_string(thread % warp_size) + " has written (" + source_line(caller) +
           "), and nothing orders the two";
  }
};
struct Written {
  std::unordered_map<uintptr_t, std::array<Writer, units>> chunks;
  uintptr_t begin = UINTPTR_MAX, end = 0;
};
Written &written() {
  static Written of_launch;
  return of_launch;
}

void look_at_global(Access access, uintptr_t begin, uintptr_t end, const void *caller) {
  const bool writes = access == Access::write;
  Written &all = written();
  if (!writes && (begin >= all.end || end <= all.begin)) return;
  const Block &now = running_block();
  for (uintptr_t chunk = begin / chunk_bytes; chunk * chunk_bytes < end; ++chunk) {
    if (!writes && !all.chunks.contains(chunk)) continue;
    std::array<Writer, units> &writers = all.chunks[chunk];
    for (size_t i = 0; i < units; ++i) {
      const uintptr_t unit = chunk * chunk_bytes + i * unit_bytes;
      if (unit + unit_bytes <= begin || unit >= end) continue;
      if (writers[i].is_in_race())
        fault(std::string("a race in global memory: a plain ") + (writes ? "write" : "read") + " where " +
              writers[i].text());
      if (writes) writers[i] = {now.place().block.x, now.thread(), now.races().epoch_of(now.thread()), caller};
    }
  }
  if (writes) all.begin = std::min(all.begin, begin), all.end = std::max(all.end, end);
}

void look(Access access, const void *at, size_t bytes, const void *caller) {
  if (!is_running() || bytes == 0) return;
  const int64_t offset = static_cast<const unsigned char *>(at) - shared_window();
  if (offset >= 0 && offset < arena_bytes)
    running_block().plain_access(access, {offset, offset + static_cast<int64_t>(bytes)}, caller);
  else if (!running_block().current().fiber->is_on_stack(at))
    look_at_global(access, reinterpret_cast<uintptr_t>(at), reinterpret_cast<uintptr_t>(at) + bytes, caller);
}

}  // namespace

void forget_global_writes() { written() = {}; }

}  // namespace emulator

using emulator::Access;

#define HOOKS(bytes)                                                                                                  \
  void __tsan_read##bytes(const void *at) { emulator::look(Access::read, at, bytes, __builtin_return_address(0)); }   \
  void __tsan_write##bytes(const void *at) { emulator::look(Access::write, at, bytes, __builtin_return_address(0)); } \
  void __tsan_unaligned_read##bytes(const void *at) {                                                                 \
    emulator::look(Access::read, at, bytes, __builtin_return_address(0));                                             \
  }                                                                                                                   \
  void __tsan_unaligned_write##bytes(const void *at) {                                                                \
    emulator::look(Access::write, at, bytes, __builtin_return_address(0));                                            \
  }

extern "C" {
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
void __tsan_read_range(const void *at, size_t bytes) {
  emulator::look(Access::read, at, bytes, __builtin_return_address(0));
}
void __tsan_write_range(const void *at, size_t bytes) {
  emulator::look(Access::write, at, bytes, __builtin_return_address(0));
}
void __tsan_init() {}
void __tsan_func_entry(const void *) {}
void __tsan_func_exit() {}
}
