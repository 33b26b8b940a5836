// SPDX-License-Identifier: Apache-2.0
//
// Many processes on one cache, and places that cannot be written: everybody goes on, one compile is enough, no lock
// outlives its holder.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE unit_cache_processes
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <boost/test/unit_test.hpp>
#include <chrono>
#include <csignal>
#include <thread>

#include "cache/module_store.hpp"
#include "extent.hpp"
#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
using boost::unit_test::precondition;
using scratch::Folder;

// Children that start together: each waits until the parent closes its end of the pipe.
class Crowd {
 public:
  Crowd() { BOOST_REQUIRE(pipe(ends_) == 0); }
  Crowd(const Crowd &) = delete;
  Crowd &operator=(const Crowd &) = delete;
  ~Crowd() { close(ends_[0]); }
  void add(const std::function<int()> &body) {
    children_.push_back(scratch::start_child([&] {
      close(ends_[1]);
      char nothing;
      return read(ends_[0], &nothing, 1) == 0 ? body() : 200;
    }));
  }
  // How many of them ended with 0.
  int run() {
    close(ends_[1]);
    int good = 0;
    for (const pid_t child : children_) good += scratch::wait_for(child) == 0;
    return good;
  }

 private:
  int ends_[2];
  std::vector<pid_t> children_;
};

struct Fixture {
  Folder folder;
  std::string root = folder.path("cache");
  Module module = make_module("m");

  int64_t milliseconds(const std::function<void()> &work) const {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin).count();
  }

  // What a process does about a module: find it, or compile it under the lock. Each compile leaves a letter in a file.
  int find_or_compile() const {
    ModuleStore store(user_options(root));
    std::optional<FoundModule> found = find(store, module);
    bool compiled = false;
    if (!found)
      store.with_key_lock(module.record.key, [&] {
        found = find(store, module);
        if (found) return;
        compiled = true;
        const FileDescriptor log(
            open(folder.path("compiles").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        if (write(log.get(), "c", 1) != 1) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        store.keep(module.record, module.encoded);
      });
    if (!compiled && !found) return 1;
    if (found && found->entry.cubin != module.cubin) return 2;
    return store.counters().rejected == 0 && store.counters().write_failures == 0 ? 0 : 3;
  }

  size_t compiles() const { return scratch::read_bytes(folder.path("compiles")).size(); }
  std::vector<std::string> entries() const {
    std::vector<std::string> names;
    for (const std::string &path : scratch::files_below(root))
      if (path.ends_with(".fcm")) names.push_back(path);
    return names;
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(store_processes, Fixture)

BOOST_AUTO_TEST_CASE(cold_crowd_compiles_once) {
  constexpr int processes = 64;
  Crowd crowd;
  for (int i = 0; i < processes; ++i) crowd.add([&] { return find_or_compile(); });
  BOOST_TEST(crowd.run() == processes);
  BOOST_TEST(compiles() == 1u);
  BOOST_TEST(entries().size() == 1u);
  BOOST_TEST(scratch::files_below(root).size() == 2u);  // and the lock
  extent::figure(processes, "processes cold on one key, which compiled once");
}

// Writers of one entry over and over, against readers of it: nobody meets a damaged one, and one file is left.
BOOST_AUTO_TEST_CASE(writers_against_readers_of_one_key) {
  constexpr int writers = 32, readers = 32;
  const int rounds = extent::is_long() ? 20 : 3;
  for (int round = 0; round < rounds; ++round) {
    std::filesystem::remove_all(root);
    Crowd crowd;
    for (int i = 0; i < writers; ++i)
      crowd.add([&] {
        ModuleStore store(user_options(root));
        for (int again = 0; again < 3; ++again) store.keep(module.record, module.encoded);
        return store.counters().write_failures == 0 ? 0 : 1;
      });
    for (int i = 0; i < readers; ++i)
      crowd.add([&] {
        ModuleStore store(user_options(root));
        for (int again = 0; again < 20; ++again)
          if (const auto found = find(store, module); found && found->entry.cubin != module.cubin) return 1;
        return store.counters().rejected == 0 ? 0 : 2;
      });
    BOOST_TEST(crowd.run() == writers + readers);
    BOOST_TEST(entries().size() == 1u);
    BOOST_TEST(scratch::files_below(root + "/v1/tmp").empty());
  }
  extent::figure(int64_t{rounds} * (writers + readers), "processes that wrote and read one entry at once");
}

// With a folder where the lock file belongs there is no lock: everybody compiles, and all is well all the same.
BOOST_AUTO_TEST_CASE(crowd_without_a_lock_still_works) {
  constexpr int processes = 16;
  ModuleStore(user_options(root)).keep(module.record, module.encoded);
  std::filesystem::remove(entries().at(0));
  std::filesystem::remove(root + "/v1/lock");
  std::filesystem::create_directory(root + "/v1/lock");
  Crowd crowd;
  for (int i = 0; i < processes; ++i) crowd.add([&] { return find_or_compile(); });
  BOOST_TEST(crowd.run() == processes);
  BOOST_TEST(compiles() >= 1u);
  BOOST_TEST(entries().size() == 1u);
  BOOST_TEST(scratch::files_below(root + "/v1/tmp").empty());
}

// Writers of more than the cache holds, and readers who must see whole entries or none.
BOOST_AUTO_TEST_CASE(size_is_kept_under_many_writers_and_readers) {
  constexpr int writers = 6, readers = 3, entries_each = 10;
  std::vector<Module> modules;
  for (int i = 0; i < writers * entries_each; ++i)
    modules.push_back(make_module("m" + std::to_string(i), "sm_89", compiler_a, 8000));
  ModuleStoreOptions small = user_options(root);
  small.user_limit_bytes = static_cast<int64_t>(modules[0].encoded.size()) * writers * entries_each / 3;
  Crowd crowd;
  for (int writer = 0; writer < writers; ++writer)
    crowd.add([&, writer] {
      ModuleStore store(small);
      for (int i = 0; i < entries_each; ++i) {
        const Module &own = modules[static_cast<size_t>(writer * entries_each + i)];
        store.keep(own.record, own.encoded);
      }
      return store.counters().write_failures == 0 ? 0 : 1;
    });
  for (int reader = 0; reader < readers; ++reader)
    crowd.add([&] {
      ModuleStore store(small);
      for (int round = 0; round < 5; ++round)
        for (const Module &wanted : modules)
          if (const auto found = find(store, wanted); found && found->entry.cubin != wanted.cubin) return 1;
      return store.counters().rejected == 0 ? 0 : 2;
    });
  BOOST_TEST(crowd.run() == writers + readers);
  ModuleStore last(small);
  last.keep(module.record, module.encoded);
  int64_t total_bytes = 0;
  for (const std::string &path : entries()) total_bytes += static_cast<int64_t>(std::filesystem::file_size(path));
  BOOST_TEST(total_bytes <= small.user_limit_bytes * 11 / 10);
  BOOST_TEST(total_bytes >= small.user_limit_bytes / 2);
}

BOOST_AUTO_TEST_CASE(killed_lock_holder_stops_nobody) {
  int ends[2];
  BOOST_REQUIRE(pipe(ends) == 0);
  const pid_t holder = scratch::start_child([&] {
    ModuleStore store(user_options(root));
    store.with_key_lock(module.record.key, [&] {
      if (write(ends[1], "x", 1) == 1) pause();
    });
    return 0;
  });
  char ready;
  BOOST_REQUIRE(read(ends[0], &ready, 1) == 1);
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    kill(holder, SIGKILL);
  });
  const int64_t waited_ms = milliseconds([&] { BOOST_TEST(find_or_compile() == 0); });
  BOOST_TEST(waited_ms >= 30);
  BOOST_TEST(waited_ms < 1000);
  killer.join();
  BOOST_TEST(scratch::wait_for(holder) == -SIGKILL);
  close(ends[0]), close(ends[1]);
}

BOOST_AUTO_TEST_CASE(lock_that_is_held_too_long_is_not_waited_for) {
  ModuleStoreOptions hasty = user_options(root);
  hasty.lock_wait_ms = 60;
  ModuleStore holder(hasty), store(hasty);
  int ran = 0;
  holder.with_key_lock(module.record.key, [&] {
    store.with_key_lock(hex_of("other"), [&] { ++ran; });
    BOOST_TEST(store.last_warning() == "");
    const int64_t waited_ms = milliseconds([&] { store.with_key_lock(module.record.key, [&] { ++ran; }); });
    BOOST_TEST(waited_ms >= 60);
    BOOST_TEST(waited_ms < 2000);
  });
  BOOST_TEST(ran == 2);
  BOOST_TEST(contains(store.last_warning(), "held the lock"));
}

BOOST_AUTO_TEST_CASE(threads_of_one_process_share_a_store) {
  ModuleStore store(user_options(root));
  std::vector<Module> modules;  // made here: the test framework is for one thread
  for (int t = 0; t < 4; ++t) modules.push_back(make_module("t" + std::to_string(t)));
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const Module &own = modules[static_cast<size_t>(t)];
      for (int i = 0; i < 5; ++i) {
        store.with_key_lock(module.record.key, [&] { store.keep(module.record, module.encoded); });
        store.keep(own.record, own.encoded);
        wrong += !find(store, own).has_value() || !find(store, module).has_value();
        wrong += !store.last_warning().empty() || store.counters().rejected != 0;
      }
    });
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(wrong == 0);
  BOOST_TEST(entries().size() == 5u);
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

// In a child: the write fails with one counted warning that says `reason`, work goes on, and what was there is found.
int cannot_write(const std::string &root, const Module &present, const Module &fresh, const std::string &reason) {
  ModuleStore store(user_options(root));
  bool ran = false;
  store.with_key_lock(fresh.record.key, [&] {
    store.keep(fresh.record, fresh.encoded);
    ran = true;
  });
  if (!ran) return 10;
  if (store.counters().write_failures != 1) return 11;
  if (!contains(store.last_warning(), reason)) return 12;
  if (!find(store, present).has_value()) return 13;
  if (find(store, fresh).has_value()) return 14;
  return store.counters().rejected == 0 ? 0 : 15;
}

bool write_line(const char *path, const std::string &line) {
  const FileDescriptor file(open(path, O_WRONLY | O_CLOEXEC));
  return write(file.get(), line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

// A file system of its own for this process alone: as root, or in a user namespace where those are allowed.
bool mount_private(const std::string &path, const char *options) {
  const std::string user = std::to_string(geteuid()), group = std::to_string(getegid());
  if (user == "0") {
    if (unshare(CLONE_NEWNS) != 0) return false;
  } else if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_line("/proc/self/setgroups", "deny") ||
             !write_line("/proc/self/uid_map", user + " " + user + " 1") ||
             !write_line("/proc/self/gid_map", group + " " + group + " 1")) {
    return false;
  }
  return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options) == 0;
}

scratch::Reason can_mount(boost::unit_test::test_unit_id) {
  const Folder folder;
  return scratch::run_child([&] { return mount_private(folder.path(), "size=64k,mode=700") ? 0 : 1; }) == 0
             ? scratch::Reason(true)
             : scratch::skip_because("this process may not mount a file system of its own");
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(store_cannot_write, Fixture)

BOOST_AUTO_TEST_CASE(folder_without_write_permission, *precondition(scratch::can_be_unprivileged)) {
  ModuleStore(user_options(root)).keep(module.record, module.encoded);
  scratch::give_to_child_user(folder.path());
  for (const std::string &path : {root + "/v1/sm_89", root + "/v1/tmp", root + "/v1", root}) chmod(path.c_str(), 0500);
  const Module fresh = make_module("fresh");
  BOOST_TEST(scratch::run_child([&] {
               return scratch::drop_privileges() ? cannot_write(root, module, fresh, "Permission denied") : 2;
             }) == 0);
  BOOST_TEST(entries().size() == 1u);
}

// The folder of the cache cannot even be made: a home that is not there, or not ours.
BOOST_AUTO_TEST_CASE(root_that_cannot_be_made, *precondition(scratch::can_be_unprivileged)) {
  std::filesystem::create_directory(folder.path("home"));
  scratch::give_to_child_user(folder.path());
  chmod(folder.path("home").c_str(), 0500);
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               ModuleStore store(user_options(folder.path("home/.cache/flashcore")));
               store.keep(module.record, module.encoded);
               return store.counters().write_failures == 1 && contains(store.last_warning(), "home/.cache/flashcore") &&
                              contains(store.last_warning(), "Permission denied")
                          ? 0
                          : 1;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(file_size_limit) {
  ModuleStore(user_options(root)).keep(module.record, module.encoded);
  const Module fresh = make_module("fresh");
  BOOST_TEST(scratch::run_child([&] {
               const rlimit limit{500, 500};
               std::signal(SIGXFSZ, SIG_DFL);
               return setrlimit(RLIMIT_FSIZE, &limit) == 0 ? cannot_write(root, module, fresh, "File too large") : 2;
             }) == 0);
  BOOST_TEST(scratch::files_below(root + "/v1/tmp").empty());
  BOOST_TEST(entries().size() == 1u);
}

BOOST_AUTO_TEST_CASE(full_disk, *precondition(can_mount)) {
  const Module fresh = make_module("fresh", "sm_89", compiler_a, 100'000);
  std::filesystem::create_directory(root);
  BOOST_TEST(scratch::run_child([&] {
               if (!mount_private(root, "size=64k,mode=700")) return 2;
               ModuleStore(user_options(root)).keep(module.record, module.encoded);
               const int code = cannot_write(root, module, fresh, "No space left on device");
               return code != 0 ? code : scratch::files_below(root + "/v1/tmp").empty() ? 0 : 3;
             }) == 0);
}

BOOST_AUTO_TEST_CASE(read_only_file_system, *precondition(can_mount)) {
  const Module fresh = make_module("fresh");
  std::filesystem::create_directory(root);
  BOOST_TEST(scratch::run_child([&] {
               if (!mount_private(root, "mode=700")) return 2;
               ModuleStore(user_options(root)).keep(module.record, module.encoded);
               if (mount(nullptr, root.c_str(), nullptr, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) != 0)
                 return 3;
               return cannot_write(root, module, fresh, "Read-only file system");
             }) == 0);
}

BOOST_AUTO_TEST_SUITE_END()
