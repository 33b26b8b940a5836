// SPDX-License-Identifier: Apache-2.0
//
// How far a test goes, and how far it went: by default what fits into every run, under `meson test --setup long` all of it. The figures
// of docs/RELIABILITY.md are what is printed here.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace extent {

inline bool is_long() {
  const char *asked = std::getenv("FLASHCORE_TEST_EXTENT");
  return asked != nullptr && std::strcmp(asked, "long") == 0;
}

inline void figure(int64_t count, const char *what) {
  std::printf("figure: %lld %s\n", static_cast<long long>(count), what);
  std::fflush(stdout);
}

}  // namespace extent
