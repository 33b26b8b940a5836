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

// Of the units that the bytes lie in.
template <typename Function>
void for_each_unit(uintptr_t begin, size_t bytes, Function function) {
  Writer *chunk = nullptr;
  uintptr_t number = 0;
  for (uintptr_t at = begin / unit_bytes; at <= (begin + bytes - 1) / unit_bytes; ++at) {
    if (chunk == nullptr || number != at / units) number = at / units, chunk = written().chunks[number].data();
    function(chunk[at % units]);
  }
}

void write_global(uintptr_t begin, size_t bytes, const void *caller) {
  const Block &now = running_block();
  for_each_unit(begin, bytes, [&](Writer &writer) {
    if (writer.is_in_race()) fault("a race in global memory: a plain write where " + writer.text());
    writer = {now.place().block.x, now.thread(), now.races().epoch_of(now.thread()), caller};
  });
  written().begin = std::min(written().begin, begin), written().end = std::max(written().end, begin + bytes);
}

void read_global(uintptr_t begin, size_t bytes) {
  if (begin >= written().end || begin + bytes <= written().begin) return;
  for_each_unit(begin, bytes, [&](const Writer &writer) {
    if (writer.is_in_race()) fault("a race in global memory: a plain read where " + writer.text());
  });
}

void look(Access access, const void *at, size_t bytes, const void *caller) {
  if (!is_running() || bytes == 0) return;
  const int64_t offset = static_cast<const unsigned char *>(at) - shared_window();
  if (offset >= 0 && offset < arena_bytes)
    running_block().plain_access(access, {offset, offset + static_cast<int64_t>(bytes)}, caller);
  else if (!running_block().current().fiber->is_on_stack(at))
    access == Access::write ? write_global(reinterpret_cast<uintptr_t>(at), bytes, caller)
                            : read_global(reinterpret_cast<uintptr_t>(at), bytes);
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
