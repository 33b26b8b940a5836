// SPDX-License-Identifier: Apache-2.0
//
// A system call that a signal interrupted before it did anything, made again. Signals come to an end, but some file systems that run
// outside the kernel go on answering EINTR: after a hundred times in a row that is the answer.
#pragma once

#include <cerrno>

namespace flashcore::tools {

template <typename Call>
auto uninterrupted(Call call) -> decltype(call()) {
  auto result = call();
  for (int again = 0; again < 100 && result < 0 && errno == EINTR; ++again) result = call();
  return result;
}

}  // namespace flashcore::tools
