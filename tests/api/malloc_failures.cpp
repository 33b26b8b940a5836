// SPDX-License-Identifier: Apache-2.0
#include "malloc_failures.hpp"

#include <link.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEP_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define KEEP_MALLOC 1
#endif
#endif

namespace {

struct Range {
  uintptr_t begin = 0, end = 0;
};
Range known[64];
int known_count = 0;

thread_local bool counting = false;
thread_local int64_t requests = 0, first_failure = 0;
thread_local bool goes_on = false;

bool is_known(const void *caller) {
  const auto address = reinterpret_cast<uintptr_t>(caller);
  for (int i = 0; i < known_count; ++i)
    if (address >= known[i].begin && address < known[i].end) return true;
  return false;
}

[[maybe_unused]] bool fails(const void *caller) {
  if (!counting || !is_known(caller)) return false;
  ++requests;
  return requests == first_failure || (goes_on && requests > first_failure);
}

}  // namespace

namespace malloc_failures {

void know_libraries() {
  known_count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *info, size_t, void *) {
        Range whole{UINTPTR_MAX, 0};
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const ElfW(Phdr) &header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD) continue;
          whole.begin = std::min(whole.begin, static_cast<uintptr_t>(info->dlpi_addr + header.p_vaddr));
          whole.end = std::max(whole.end, static_cast<uintptr_t>(info->dlpi_addr + header.p_vaddr + header.p_memsz));
        }
        if (known_count < static_cast<int>(std::size(known))) known[known_count++] = whole;
        return 0;
      },
      nullptr);
}

void fail_from(int64_t nth, Then then) {
  requests = 0, first_failure = nth, goes_on = then == Then::fail;
  counting = true;
}

int64_t stop() {
  counting = false;
  return requests;
}

}  // namespace malloc_failures

#ifdef KEEP_MALLOC
bool malloc_failures::possible() { return false; }
#else
bool malloc_failures::possible() { return true; }

// glibc's own functions under their second names; free needs no counting and stays.
extern "C" {
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

#define FAIL_OR(call)                       \
  if (fails(__builtin_return_address(0))) { \
    errno = ENOMEM;                         \
    return nullptr;                         \
  }                                         \
  return call

void *malloc(size_t bytes) { FAIL_OR(__libc_malloc(bytes)); }
void *calloc(size_t count, size_t bytes) { FAIL_OR(__libc_calloc(count, bytes)); }
void *realloc(void *memory, size_t bytes) { FAIL_OR(__libc_realloc(memory, bytes)); }
void *aligned_alloc(size_t alignment, size_t bytes) { FAIL_OR(__libc_memalign(alignment, bytes)); }
}
#endif
