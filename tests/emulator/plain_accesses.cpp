// SPDX-License-Identifier: Apache-2.0
//
// What a kernel does through plain pointers. Its modules are compiled as for ThreadSanitizer, whose library is not linked: the compiler
// calls a function ahead of each access, and here these functions stand.
//
// Shared memory is looked at like that of instructions. What a thread writes to global memory no other may read or write, but one of its
// block for which that happened before.
#include <array>
#include <bitset>
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

// Of the launch. Most that is read nobody has written: the bits, one for all chunks of the same remainder, say so at once.
std::unordered_map<uintptr_t, std::array<Writer, units>> written;
std::bitset<size_t{1} << 16> may_be_written;

void look_at_global(Access access, uintptr_t begin, uintptr_t end, const void *caller) {
  const bool writes = access == Access::write;
  const Block &now = running_block();
  for (uintptr_t chunk = begin / chunk_bytes; chunk * chunk_bytes < end; ++chunk) {
    const size_t bit = chunk % may_be_written.size();
    if (!writes && (!may_be_written[bit] || !written.contains(chunk))) continue;
    may_be_written[bit] = true;
    std::array<Writer, units> &writers = written[chunk];
    for (size_t i = 0; i < units; ++i) {
      const uintptr_t unit = chunk * chunk_bytes + i * unit_bytes;
      if (unit + unit_bytes <= begin || unit >= end) continue;
      if (writers[i].is_in_race())
        fault(std::string("a race in global memory: a plain ") + (writes ? "write" : "read") + " where " +
              writers[i].text());
      if (writes) writers[i] = {now.place().block.x, now.thread(), now.races().epoch_of(now.thread()), caller};
    }
  }
}

inline void look(Access access, const void *at, size_t bytes, const void *caller) {
  if (Fiber::is_on_running_stack(at) || running == nullptr || bytes == 0) return;
  const int64_t offset = static_cast<const unsigned char *>(at) - shared_window();
  if (offset >= 0 && offset < arena_bytes)
    running_block().plain_access(access, {offset, offset + static_cast<int64_t>(bytes)}, caller);
  else
    look_at_global(access, reinterpret_cast<uintptr_t>(at), reinterpret_cast<uintptr_t>(at) + bytes, caller);
}

}  // namespace

void forget_global_writes() { written.clear(), may_be_written.reset(); }

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
