// SPDX-License-Identifier: Apache-2.0
//
// What a fuzz target is: a function that takes any bytes and ends the process where a promise is broken, and inputs to begin with.
// libFuzzer drives it (build option `fuzz`), and replay.cpp does in every test run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

namespace fuzz {

using Bytes = std::vector<uint8_t>;

// Inputs that reach deep: sound ones, made by the code of today.
std::vector<Bytes> seeds();

inline Bytes bytes_of(std::string_view text) { return Bytes(text.begin(), text.end()); }
inline std::string text_of(const uint8_t *data, size_t size) {
  return std::string(reinterpret_cast<const char *>(data), size);
}

[[noreturn]] inline void broken(const char *promise, const char *file, int line) {
  std::fprintf(stderr, "%s:%d: broken: %s\n", file, line, promise);
  std::abort();
}

}  // namespace fuzz

#define FUZZ_PROMISE(condition)                                     \
  do {                                                              \
    if (!(condition)) fuzz::broken(#condition, __FILE__, __LINE__); \
  } while (0)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
