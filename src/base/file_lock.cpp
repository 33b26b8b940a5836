// SPDX-License-Identifier: Apache-2.0
#include "base/file_lock.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>

#include "base/uninterrupted.hpp"

namespace flashcore {
namespace {

struct flock one_byte(short type, int64_t offset) {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = offset;
  range.l_len = 1;
  return range;  // l_pid stays 0, as these locks ask
}

bool is_own_regular_file(int descriptor) {
  struct stat status {};
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid();
}

}  // namespace

// Polling, because a blocking lock has no time limit. The pauses grow to 20 ms: next to the compile that the holder is
// doing (some 250 ms) the delay is small, and a hundred waiters stay quiet.
FileLock::FileLock(const FileDescriptor &directory, const std::string &name, int64_t offset, int64_t wait_ms)
    : offset_(offset) {
  constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  file_ = FileDescriptor(openat(directory.get(), name.c_str(), flags, 0600));
  if (!file_ || !is_own_regular_file(file_.get())) return;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(wait_ms);
  std::chrono::milliseconds pause(1);
  while ((outcome_ = try_once()) == LockOutcome::busy && Clock::now() < deadline) {
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::milliseconds(20));
  }
}

// Unlocked by name: a child forked meanwhile shares the open file, and would hold the lock for as long as it lives.
FileLock::~FileLock() {
  if (outcome_ != LockOutcome::held) return;
  struct flock range = one_byte(F_UNLCK, offset_);
  fcntl(file_.get(), F_OFD_SETLK, &range);
}

LockOutcome FileLock::try_once() {
  struct flock range = one_byte(F_WRLCK, offset_);
  if (uninterrupted([&] { return fcntl(file_.get(), F_OFD_SETLK, &range); }) == 0) return LockOutcome::held;
  return errno == EAGAIN || errno == EACCES ? LockOutcome::busy : LockOutcome::unavailable;
}

}  // namespace flashcore
