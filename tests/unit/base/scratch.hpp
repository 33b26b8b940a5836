// SPDX-License-Identifier: Apache-2.0
//
// What tests of files share: a folder that goes away, writing and looking at files, work in a forked child, and the
// reasons for which a case may be skipped.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/tree/test_unit.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "base/file.hpp"
#include "leave_child.hpp"

namespace scratch {

constexpr uid_t nobody = 65534;  // any user that is not this one

class Folder {
 public:
  Folder() {
    const char *parent = std::getenv("TMPDIR");
    make(parent != nullptr && *parent == '/' ? parent : "/tmp");
  }
  struct InMemory {};
  // Where fsync costs nothing, for cases that write thousands of times.
  explicit Folder(InMemory) { make(access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp"); }
  Folder(const Folder &) = delete;
  Folder &operator=(const Folder &) = delete;
  ~Folder() {
    std::error_code ignored;
    // Folders that a test made unreadable can be removed only when they are opened up again.
    for (auto entry = std::filesystem::recursive_directory_iterator(path_, ignored);
         entry != std::filesystem::end(entry); entry.increment(ignored))
      if (entry->is_directory(ignored) && !entry->is_symlink(ignored)) chmod(entry->path().c_str(), 0700);
    std::filesystem::remove_all(path_, ignored);
  }
  std::string path(const std::string &name = {}) const { return name.empty() ? path_ : path_ + "/" + name; }

 private:
  void make(const std::string &parent) {
    path_ = parent + "/flashcore-test-XXXXXX";
    BOOST_REQUIRE(mkdtemp(path_.data()) != nullptr);
  }
  std::string path_;
};

inline void write_file(const std::string &path, std::span<const uint8_t> bytes, mode_t mode = 0600) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  {
    std::ofstream stream(path, std::ios::binary | std::ios::trunc);
    stream.write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    BOOST_REQUIRE(stream.flush().good());
  }
  BOOST_REQUIRE(chmod(path.c_str(), mode) == 0);
}

inline void write_file(const std::string &path, const std::string &text, mode_t mode = 0600) {
  write_file(path, std::span(reinterpret_cast<const uint8_t *>(text.data()), text.size()), mode);
}

inline flashcore::Bytes read_bytes(const std::string &path) {
  std::ifstream stream(path, std::ios::binary);
  return flashcore::Bytes(std::istreambuf_iterator<char>(stream), {});
}

inline bool exists(const std::string &path) { return std::filesystem::exists(std::filesystem::symlink_status(path)); }

inline mode_t mode_of(const std::string &path) {
  struct stat status {};
  BOOST_REQUIRE(lstat(path.c_str(), &status) == 0);
  return status.st_mode & 07777;
}

inline std::vector<std::string> files_below(const std::string &path) {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const auto &entry : std::filesystem::recursive_directory_iterator(path, ignored))
    if (!entry.is_directory()) files.push_back(entry.path());
  return files;
}

// Make a file look as if it had been written so long ago.
inline void age(const std::string &path, int64_t seconds) {
  const timespec then{time(nullptr) - static_cast<time_t>(seconds), 0};
  const timespec times[2] = {then, then};
  BOOST_REQUIRE(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

inline int64_t modified_seconds(const std::string &path) {
  struct stat status {};
  BOOST_REQUIRE(lstat(path.c_str(), &status) == 0);
  return status.st_mtim.tv_sec;
}

// The body's value as an exit status (0-255), or minus the signal that ended it. The body must not use the test
// framework: the child leaves by _exit.
inline pid_t start_child(const std::function<int()> &body) {
  std::fflush(nullptr);  // or the child may print what the parent has in its buffers
  const pid_t child = fork();
  BOOST_REQUIRE(child >= 0);
  if (child != 0) return child;
  alarm(60);
  leave_child(body());
}
inline int wait_for(pid_t child) {
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
inline int run_child(const std::function<int()> &body) { return wait_for(start_child(body)); }

// Root ignores permissions, so cases about missing permission run their child as somebody else.
inline bool drop_privileges() {
  return geteuid() != 0 || (setgid(nobody) == 0 && setuid(nobody) == 0 && geteuid() == nobody);
}
inline void give_to_child_user(const std::string &path) {
  if (geteuid() != 0) return;
  BOOST_REQUIRE(lchown(path.c_str(), nobody, nobody) == 0);
  for (const auto &entry : std::filesystem::recursive_directory_iterator(path))
    BOOST_REQUIRE(lchown(entry.path().c_str(), nobody, nobody) == 0);
}

using Reason = boost::test_tools::assertion_result;

inline Reason skip_because(const std::string &reason) {
  Reason result(false);
  result.message() << reason;
  return result;
}

// Root of a container may have no other users to give a file to, so this is tried rather than asked.
inline Reason can_change_owner(boost::unit_test::test_unit_id) {
  const Folder folder;
  const bool can = chown(folder.path().c_str(), nobody, nobody) == 0 &&
                   chown(folder.path().c_str(), geteuid(), getegid()) == 0 &&
                   run_child([] { return drop_privileges() ? 0 : 1; }) == 0;
  return can && geteuid() == 0 ? Reason(true) : skip_because("only root can give a file to another user");
}

// ThreadSanitizer takes what a child writes, into memory that a thread of its parent wrote last, for a race with that thread.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SCRATCH_THREAD_SANITIZER 1
#endif
#endif
inline Reason forks_beside_threads(boost::unit_test::test_unit_id) {
#if defined(SCRATCH_THREAD_SANITIZER) || defined(__SANITIZE_THREAD__)
  return skip_because("the thread sanitizer does not know what a fork is");
#else
  return Reason(true);
#endif
}

// For cases that must not have root's rights: they begin without, or can put them away.
inline Reason can_be_unprivileged(boost::unit_test::test_unit_id id) {
  return geteuid() != 0 || can_change_owner(id) ? Reason(true) : skip_because("root cannot become another user here");
}

}  // namespace scratch
