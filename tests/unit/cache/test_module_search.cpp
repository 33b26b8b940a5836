// SPDX-License-Identifier: Apache-2.0
//
// The search for an entry as the module loader makes it: behind what it does not accept, and with a reason for all that could not be
// used; and the last of these reasons in a forked child.
#define BOOST_TEST_DYN_LINK 1
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
using boost::unit_test::precondition;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(module_search, StoreFixture)

// Whoever asked may find fault with an entry that is sound: the others are shown, of every layer, until one is taken.
BOOST_AUTO_TEST_CASE(search_goes_on_behind_an_entry_that_is_not_accepted) {
  const Module other = make_module("m", "sm_89", compiler_b);
  put_pack(other);
  put_pack(module);
  put_user(module);
  ModuleStore store(with_pack());
  std::vector<std::string> shown;
  Refusals refusals;
  const auto search = [&](size_t accepted) {
    shown.clear();
    store.search(
        "sm_89", module.record.key, compiler_b,
        [&](FoundModule &found) {
          shown.push_back((found.origin == ModuleOrigin::shipped ? "shipped " : "user ") +
                          found.entry.record.compiler_id);
          return shown.size() == accepted;
        },
        refusals);
  };
  const std::vector<std::string> all{"shipped " + compiler_b, "shipped " + compiler_a, "user " + compiler_a};
  search(9);
  BOOST_TEST(shown == all);
  search(2);
  BOOST_TEST(shown == std::vector<std::string>(all.begin(), all.begin() + 2));
  BOOST_TEST(refusals.texts().empty());
  BOOST_TEST(refusals.in_brackets() == "");
}

BOOST_AUTO_TEST_CASE(search_tells_what_it_could_not_use) {
  const Module third = make_module("m", "sm_89", hex_of("compiler c").substr(0, 32));
  put(pack + "/" + module.pack_path(), Bytes(100, 'x'));
  put(pack + "/" + third.pack_path(), third.encoded);
  chmod((pack + "/" + third.pack_path()).c_str(), 0666);
  ModuleStoreOptions odd = with_pack();
  odd.read_only_roots.push_back(folder.path("missing"));
  std::filesystem::create_directory(folder.path("open"));
  chmod(folder.path("open").c_str(), 0777);
  odd.read_only_roots.push_back(folder.path("open"));
  ModuleStore store(odd);
  Refusals refusals;
  const auto never = [](FoundModule &) { return false; };
  for (int i = 0; i < 2; ++i) store.search("sm_89", module.record.key, {}, never, refusals);
  BOOST_REQUIRE(refusals.texts().size() == 4u);  // each once
  std::string all;
  for (const std::string &text : refusals.texts()) all += text + "\n";
  BOOST_TEST_CONTEXT(all) {
    BOOST_TEST(contains(all, module.file_name() + ": the file does not end with its digest"));
    BOOST_TEST(contains(all, third.file_name() + ": group or others may write to it (mode 0666)"));
    BOOST_TEST(contains(all, folder.path("missing") + ": there is no such folder"));
    BOOST_TEST(contains(all, folder.path("open") + ": group or others may write to it (mode 0777)"));
  }
  BOOST_TEST(contains(refusals.in_brackets(), "; and 1 more)"));
}

// A folder whose names cannot be read may hold the module all the same.
BOOST_AUTO_TEST_CASE(folder_that_cannot_be_listed_is_told, *precondition(scratch::can_be_unprivileged)) {
  put_pack(module);
  chmod(folder.path().c_str(), 0755);
  for (const std::string &path : {pack, pack + "/sm_89"}) chmod(path.c_str(), 0755);
  scratch::give_to_child_user(pack);
  chmod((pack + "/sm_89").c_str(), 0);
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               ModuleStoreOptions options;
               options.read_only_roots = {pack};
               ModuleStore store(options);
               Refusals refusals;
               store.search(
                   "sm_89", module.record.key, {}, [](FoundModule &) { return true; }, refusals);
               return refusals.texts().size() == 1 &&
                              contains(refusals.texts()[0], pack + "/sm_89: it could not be opened")
                          ? 0
                          : 1;
             }) == 0);
  chmod((pack + "/sm_89").c_str(), 0755);
}

// The lock of the last warning may be held by a thread that a forked child does not have.
BOOST_AUTO_TEST_CASE(last_warning_never_waits_in_a_forked_child,
                     *boost::unit_test::precondition(scratch::forks_beside_threads)) {
  ModuleStore store(options());
  std::atomic<bool> stop{false};
  std::thread warns([&] {
    while (!stop) {
      scratch::write_file(root + "/" + module.user_path(), Bytes(100, 'x'));
      find(store, module);
    }
  });
  int stuck = 0;
  for (int i = 0; i < 200; ++i)
    stuck += scratch::run_child([&] {
               alarm(5);
               store.last_warning(false);
               return 0;
             }) != 0;
  stop = true;
  warns.join();
  BOOST_TEST(stuck == 0);
}

BOOST_AUTO_TEST_SUITE_END()
