// SPDX-License-Identifier: Apache-2.0
//
// The lock excludes, is per byte, ends with its holder however that ends, and is never a reason to hang or fail.
#define BOOST_TEST_DYN_LINK 1
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "base/file_lock.hpp"
#include "unit/base/scratch.hpp"

namespace {

using namespace flashcore;
using scratch::Folder;

struct Fixture {
  Folder folder;
  FileDescriptor directory;
  Fixture() {
    Result<FileDescriptor> opened = open_directory(folder.path(), DirectoryTrust::owned, IfMissing::leave);
    BOOST_REQUIRE(opened.ok());
    directory = std::move(opened).value();
  }
  LockOutcome outcome(int64_t offset, int64_t wait_ms = 0) const {
    return FileLock(directory, "lock", offset, wait_ms).outcome();
  }
};

using Clock = std::chrono::steady_clock;
int64_t milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin).count();
}

// A child that has the byte and keeps it; its first byte through the pipe says so.
pid_t start_holder(const Fixture &fixture, int64_t offset) {
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pid_t child = scratch::start_child([&] {
    const FileLock lock(fixture.directory, "lock", offset, 0);
    const char held = lock.outcome() == LockOutcome::held;
    if (write(ends[1], &held, 1) != 1) return 1;
    pause();
    return 0;
  });
  char held = 0;
  BOOST_REQUIRE(read(ends[0], &held, 1) == 1);
  BOOST_REQUIRE(held == 1);
  close(ends[0]);
  close(ends[1]);
  return child;
}

void end_holder(pid_t child) {
  kill(child, SIGKILL);
  BOOST_TEST(scratch::wait_for(child) == -SIGKILL);
}

}  // namespace

BOOST_TEST_DONT_PRINT_LOG_VALUE(flashcore::LockOutcome)

BOOST_FIXTURE_TEST_SUITE(file_lock, Fixture)

BOOST_AUTO_TEST_CASE(one_byte_excludes_itself_only) {
  const int64_t last = (int64_t{1} << 62) + 1;
  const FileLock first(directory, "lock", 5, 0), far(directory, "lock", last, 0);
  BOOST_TEST(first.outcome() == LockOutcome::held);
  BOOST_TEST(far.outcome() == LockOutcome::held);
  BOOST_TEST(outcome(5) == LockOutcome::busy);  // in the same process too
  BOOST_TEST(outcome(last) == LockOutcome::busy);
  BOOST_TEST(outcome(4) == LockOutcome::held);
  BOOST_TEST(outcome(6) == LockOutcome::held);
}

BOOST_AUTO_TEST_CASE(lock_ends_with_the_object) {
  for (int i = 0; i < 3; ++i) BOOST_TEST(outcome(7) == LockOutcome::held);
  BOOST_TEST(scratch::exists(folder.path("lock")));
  BOOST_TEST(std::filesystem::file_size(folder.path("lock")) == 0u);
}

BOOST_AUTO_TEST_CASE(wait_is_bounded) {
  const FileLock first(directory, "lock", 5, 0);
  const Clock::time_point begin = Clock::now();
  BOOST_TEST(outcome(5, 80) == LockOutcome::busy);
  BOOST_TEST(milliseconds_since(begin) >= 80);
  BOOST_TEST(milliseconds_since(begin) < 5000);
}

BOOST_AUTO_TEST_CASE(threads_take_turns) {
  std::atomic<int> inside = 0, most = 0, turns = 0;  // atomic for the sanitizers, which do not see this kind of lock
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 5; ++k) {
        const FileLock lock(directory, "lock", 9, 20'000);
        if (lock.outcome() != LockOutcome::held) continue;
        most = std::max(most.load(), ++inside);
        std::this_thread::yield();
        --inside, ++turns;
      }
    });
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(most == 1);
  BOOST_TEST(turns == 20);
}

BOOST_AUTO_TEST_CASE(killed_holder_frees_it_at_once) {
  const pid_t holder = start_holder(*this, 11);
  BOOST_TEST(outcome(11) == LockOutcome::busy);
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    kill(holder, SIGKILL);
  });
  const Clock::time_point begin = Clock::now();
  BOOST_TEST(outcome(11, 20'000) == LockOutcome::held);
  BOOST_TEST(milliseconds_since(begin) < 1000);
  killer.join();
  BOOST_TEST(scratch::wait_for(holder) == -SIGKILL);
}

// The child inherits the open file of the lock; the parent's unlock must free it all the same.
BOOST_AUTO_TEST_CASE(forked_child_does_not_keep_it) {
  pid_t child = 0;
  {
    const FileLock lock(directory, "lock", 13, 0);
    BOOST_TEST(lock.outcome() == LockOutcome::held);
    child = scratch::start_child([] { return pause(); });
  }
  BOOST_TEST(outcome(13) == LockOutcome::held);
  end_holder(child);
}

BOOST_AUTO_TEST_CASE(what_cannot_be_locked_is_unavailable_at_once) {
  const Clock::time_point begin = Clock::now();
  BOOST_TEST(FileLock(FileDescriptor(), "lock", 1, 10'000).outcome() == LockOutcome::unavailable);
  std::filesystem::create_symlink("elsewhere", folder.path("link"));
  BOOST_TEST(FileLock(directory, "link", 1, 10'000).outcome() == LockOutcome::unavailable);
  BOOST_TEST(!scratch::exists(folder.path("elsewhere")));
  BOOST_REQUIRE(mkfifo(folder.path("fifo").c_str(), 0600) == 0);
  BOOST_TEST(FileLock(directory, "fifo", 1, 10'000).outcome() == LockOutcome::unavailable);
  std::filesystem::create_directory(folder.path("folder"));
  BOOST_TEST(FileLock(directory, "folder", 1, 10'000).outcome() == LockOutcome::unavailable);
  BOOST_TEST(milliseconds_since(begin) < 1000);
}

BOOST_AUTO_TEST_SUITE_END()
