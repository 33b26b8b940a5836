// SPDX-License-Identifier: Apache-2.0
//
// Memory that runs out on demand: the nth request of this thread to the C library fails, or all from the nth on, whoever makes it: the
// library under test, the C++ library, zstd, the dynamic loader.
#pragma once

#include <cstdint>

namespace malloc_failures {

bool possible();  // false under a sanitizer, whose own malloc must stay in place

// From now on requests of the libraries that the process has now may fail. Those of libraries that are opened later are spared: they are
// the stand-ins, which play NVIDIA's part.
void know_libraries();

enum class Then { succeed, fail };
void fail_from(int64_t nth, Then then);  // 1: the next
int64_t stop();                          // requests since fail_from

}  // namespace malloc_failures
