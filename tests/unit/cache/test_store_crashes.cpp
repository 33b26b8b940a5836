// SPDX-License-Identifier: Apache-2.0
//
// A writer that is killed at any system call, and a disk that fails at any system call: the next reader finds the whole
// entry or none, and what is left behind goes away.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cerrno>
#include <cstring>

#include "cache/module_store.hpp"
#include "extent.hpp"
#include "unit/cache/cache_fixture.hpp"
#include "unit/cache/syscall_stepper.hpp"

namespace {

using namespace cache_fixture;
namespace data = boost::unit_test::data;
using boost::unit_test::precondition;
using scratch::Folder;

struct Writer {
  Folder folder{Folder::InMemory()};
  Module module = make_module("m"), neighbour = make_module("neighbour");
  std::string root = folder.path("cache"), temporary = root + "/v1/tmp";

  // An empty place, or a cache with another entry and an old version of this one.
  void prepare(bool populated) {
    std::filesystem::remove_all(root);
    if (!populated) return;
    ModuleStore store(user_options(root));
    store.keep(neighbour.record, neighbour.encoded);
    store.keep(module.record, module.encoded);
  }

  // The whole write, as a process does it. 0: it says that it wrote, 1: that it could not, for a counted reason or
  // because the cache was refused as a whole. Memory that is gone is an exception, which the public functions catch.
  int write_module() const {
    try {
      return write_with_memory();
    } catch (const std::bad_alloc &) {
      return 1;
    }
  }
  int write_with_memory() const {
    ModuleStore store(user_options(root));
    bool ran = false;
    store.with_key_lock(module.record.key, [&] {
      store.keep(module.record, module.encoded);
      ran = true;
    });
    if (!ran) return 2;
    return store.counters().write_failures != 0 || store.user_root().empty() ? 1 : 0;
  }

  // A process that looks for the entry. 0: it is there, 1: it is not, 2: it is not what was written.
  int read_module() const {
    try {
      ModuleStore store(user_options(root));
      const std::optional<FoundModule> found = find(store, module);
      if (!found) return 1;
      return found->entry.cubin == module.cubin ? 0 : 2;
    } catch (const std::bad_alloc &) {
      return 1;
    }
  }

  // Whole or absent, and the neighbour untouched. Is it there?
  bool check_readable(bool populated) const {
    ModuleStore store(user_options(root));
    const auto found = find(store, module);
    if (found) BOOST_TEST(found->entry.cubin == module.cubin);
    if (populated) BOOST_TEST(find(store, neighbour).has_value());
    BOOST_TEST(store.counters().rejected == 0);
    BOOST_TEST(store.user_root() == root);
    return found.has_value();
  }

  size_t debris() const { return scratch::files_below(temporary).size(); }

  void check_debris_is_swept() const {
    for (const std::string &file : scratch::files_below(temporary)) scratch::age(file, 4000);
    BOOST_TEST(write_module() == 0);
    BOOST_TEST(debris() == 0u);
  }
};

}  // namespace

BOOST_AUTO_TEST_SUITE(store_crashes, *precondition(stepper::can_trace))

BOOST_DATA_TEST_CASE_F(Writer, killed_at_every_system_call, data::make({false, true}), populated) {
  int stops = 0;
  bool was_seen = false;
  for (;; ++stops) {
    prepare(populated);
    if (!stepper::kill_at_stop(stops + 1, [&] { return write_module(); })) break;
    was_seen = check_readable(populated) || was_seen;
    BOOST_TEST(debris() <= 1u);
    if (debris() > 0) check_debris_is_swept();
  }
  BOOST_TEST(stops > 60);  // entry and exit of some 30 calls at least
  BOOST_TEST(was_seen);
  BOOST_TEST(check_readable(populated));
  extent::figure(stops, "writers killed, one at each system call's beginning and end");
}

// The one that comes after a killed writer, and would sweep and write anew, is killed too.
BOOST_DATA_TEST_CASE_F(Writer, killed_again_in_what_was_left, data::make({false, true}), populated) {
  const int step = extent::is_long() ? 7 : 97;  // between the places where the second one is killed
  int pairs = 0;
  bool more = true;
  for (int first = 1; more; ++first)
    for (int second = first % step + 1;; second += step) {
      prepare(populated);
      more = stepper::kill_at_stop(first, [&] { return write_module(); });
      for (const std::string &file : scratch::files_below(temporary))
        scratch::age(file, 4000);  // old enough to be swept
      const bool killed = stepper::kill_at_stop(second, [&] { return write_module(); });
      ++pairs;
      check_readable(populated);
      BOOST_TEST(debris() <= 2u);
      if (!killed || !more) break;
    }
  BOOST_TEST(write_module() == 0);
  BOOST_TEST(check_readable(populated));
  extent::figure(pairs, "pairs of writers killed, the second one in what the first one left");
}

BOOST_AUTO_TEST_SUITE_END()

namespace {

using stepper::Fault;
const Fault quick_faults[] = {{ENOSPC, false}, {EIO, false}, {EACCES, false}, {EINTR, false},
                              {ENOENT, false}, {EIO, true},  {EROFS, true},   {EINTR, true}};

// Under the setup "long" every code, once and for ever.
std::vector<Fault> faults() {
  if (!extent::is_long()) return {std::begin(quick_faults), std::end(quick_faults)};
  std::vector<Fault> all;
  for (const int code : {ENOSPC, EDQUOT, EIO, EACCES, EROFS, EINTR, EMFILE, ENOMEM, ENOENT, ESTALE})
    for (const bool for_ever : {false, true}) all.push_back({code, for_ever});
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(store_faults, *precondition(stepper::can_fail_calls))

// What a power cut leaves cannot be tried here, so it is held by what is asked of the disk: the bytes before the name, the name before the
// call returns.
BOOST_DATA_TEST_CASE_F(Writer, bytes_and_name_are_synced_in_their_order, data::make({false, true}), populated) {
  prepare(populated);
  std::vector<uint64_t> order;
  for (const uint64_t number : stepper::calls_of([&] { return write_module(); }))
    if (number == SYS_write || number == SYS_fsync || number == SYS_renameat || number == SYS_renameat2)
      order.push_back(number == SYS_renameat2 ? static_cast<uint64_t>(SYS_renameat) : number);
  const std::vector<uint64_t> expected{SYS_write, SYS_fsync, SYS_renameat, SYS_fsync};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

// The process goes on in every case, and what it says is true: an entry that it did not call a failure is there, whole.
BOOST_DATA_TEST_CASE_F(Writer, file_system_fails_at_every_call, data::make({false, true}) * data::make(faults()),
                       populated, fault) {
  int calls = 0, failures = 0;
  for (;; ++calls) {
    prepare(populated);
    int exit_status = 0;
    uint64_t failed_call = 0;
    if (!stepper::fail_at_call(
            calls, fault.code, fault.for_ever, [&] { return write_module(); }, &exit_status, &failed_call))
      break;
    BOOST_TEST_CONTEXT("call " << calls << ", system call " << failed_call) {
      BOOST_TEST((exit_status == 0 || exit_status == 1));
      failures += exit_status;
      const bool found = check_readable(populated);
      if (exit_status == 0) BOOST_TEST(found);
      // What durability rests on is never passed over; an interrupted write goes on.
      const bool essential = failed_call == SYS_fsync || failed_call == SYS_renameat ||
                             (failed_call == SYS_write && (fault.code != EINTR || fault.for_ever));
      if (essential) BOOST_TEST(exit_status == 1);
      if (!fault.for_ever && failed_call != SYS_unlinkat) BOOST_TEST(debris() == 0u);
    }
    if (debris() > 0) check_debris_is_swept();
  }
  BOOST_TEST(calls > 25);
  BOOST_TEST(failures > 5);
  extent::figure(calls, "faults of the file system in a write");
}

// A reader finds the entry or does not, whatever fails; a sound entry is never removed for it.
BOOST_DATA_TEST_CASE_F(Writer, file_system_fails_at_every_call_of_a_reader, data::make(faults()), fault) {
  prepare(true);
  const Bytes written = scratch::read_bytes(root + "/" + module.user_path());
  int calls = 0, missed = 0;
  for (;; ++calls) {
    int exit_status = 0;
    uint64_t failed_call = 0;
    if (!stepper::fail_at_call(
            calls, fault.code, fault.for_ever, [&] { return read_module(); }, &exit_status, &failed_call))
      break;
    BOOST_TEST_CONTEXT("call " << calls << ", system call " << failed_call) {
      BOOST_TEST((exit_status == 0 || exit_status == 1));
      BOOST_TEST((scratch::read_bytes(root + "/" + module.user_path()) == written));
    }
    missed += exit_status;
  }
  BOOST_TEST(calls > 12);
  if (fault.code != EINTR) BOOST_TEST(missed > 5);
  BOOST_TEST(check_readable(true));
  extent::figure(calls, "faults of the file system in a read");
}

BOOST_AUTO_TEST_SUITE_END()
