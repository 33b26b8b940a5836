// SPDX-License-Identifier: Apache-2.0
//
// The program's operator new, with a counter. A file of its own, so that no caller sees malloc behind new.
#include "allocation_counter.hpp"

#include <cstdlib>
#include <new>

namespace {
thread_local int64_t allocations = 0;
}

int64_t flashcore::allocation_count() { return allocations; }

void *operator new(size_t bytes) {
  ++allocations;
  void *memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void *memory) noexcept { std::free(memory); }
void operator delete(void *memory, size_t) noexcept { std::free(memory); }
