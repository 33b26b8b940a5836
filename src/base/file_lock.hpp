// SPDX-License-Identifier: Apache-2.0
//
// One byte of a lock file, held by an open-file-description lock: it belongs to the open file, so two threads of one
// process exclude each other as two processes do, and the kernel frees it when the holder dies, however it dies. The
// file itself means nothing and is never removed.
#pragma once

#include <cstdint>
#include <string>

#include "base/file.hpp"

namespace flashcore {

enum class LockOutcome {
  held,
  busy,        // somebody else had it for the whole wait
  unavailable  // the folder cannot be written, or its file system has no such locks
};

class FileLock {
 public:
  // Wait at most wait_ms (0: one try) for the byte at `offset` (below 2^63) of `name` in `directory`.
  FileLock(const FileDescriptor &directory, const std::string &name, int64_t offset, int64_t wait_ms);
  FileLock(const FileLock &) = delete;
  FileLock &operator=(const FileLock &) = delete;
  ~FileLock();
  LockOutcome outcome() const { return outcome_; }

 private:
  LockOutcome try_once();
  FileDescriptor file_;
  int64_t offset_;
  LockOutcome outcome_ = LockOutcome::unavailable;
};

}  // namespace flashcore
