// SPDX-License-Identifier: Apache-2.0
//
// Text in, functions in this process out: by the machine's own C++ compiler, which is a program and not a library. It is run without a shell,
// with an environment of this library's, a time limit and a folder of its own that is gone afterwards, so that nothing of it is ever
// found by another process.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "driver/shared_object.hpp"

namespace flashcore {

// The compiler that there is: `named` alone where it is not empty, else the first of these. UNSUPPORTED says what was looked for.
inline constexpr const char *host_compilers[] = {"/usr/bin/c++",       "/usr/bin/g++",       "/usr/bin/clang++",
                                                 "/usr/local/bin/c++", "/usr/local/bin/g++", "/usr/local/bin/clang++"};
Result<std::string> find_host_compiler(const std::string &named);

struct HostText {
  const char *name;  // of the file, as an include directive of the source spells it
  std::string_view text;
};

// COMPILE_FAILED: what the compiler said, from its first error on, or that it took too long. IO_ERROR.
Result<SharedObject> compile_for_host(const std::string &compiler, std::string_view source, const HostText &header,
                                      std::chrono::milliseconds time_limit = std::chrono::minutes(1));

}  // namespace flashcore
