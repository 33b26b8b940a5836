// SPDX-License-Identifier: Apache-2.0
//
// What inspection sees, sound and not, and what building a pack writes.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>

#include "cache/module_store.hpp"
#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
using scratch::Folder;

std::vector<ListedModule> listed(const ModuleStoreOptions &options) {
  Result<std::vector<ListedModule>> list = list_modules(options);
  BOOST_REQUIRE_MESSAGE(list.ok(), (list.ok() ? "" : list.error().message));
  return std::move(list).value();
}

}  // namespace

BOOST_AUTO_TEST_SUITE(module_list)

BOOST_AUTO_TEST_CASE(all_roots_in_order) {
  const Folder folder;
  ModuleStoreOptions options = user_options(folder.path("cache"));
  options.read_only_roots = {folder.path("missing"), folder.path("pack")};
  BOOST_TEST(listed(options).empty());
  const Module shipped = make_module("shipped", "sm_90a"), kept = make_module("kept"),
               kept_too = make_module("too", "sm_120");
  BOOST_REQUIRE(write_pack_entry(folder.path("pack"), shipped.record, shipped.encoded).ok());
  ModuleStore store(options);
  store.keep(kept.record, kept.encoded);
  store.keep(kept_too.record, kept_too.encoded);
  const auto modules = listed(options);
  BOOST_REQUIRE(modules.size() == 3u);
  BOOST_TEST(modules[0].path == folder.path("pack") + "/" + shipped.pack_path());
  BOOST_TEST((modules[0].origin == ModuleOrigin::shipped));
  BOOST_TEST(modules[1].path == folder.path("cache") + "/" + kept_too.user_path());
  BOOST_TEST(modules[2].path == folder.path("cache") + "/" + kept.user_path());
  BOOST_TEST((modules[2].origin == ModuleOrigin::user_cache));
  for (const ListedModule &module : modules) {
    BOOST_TEST(module.entry.ok());
    BOOST_TEST(module.entry.value().cubin.empty());  // hundreds of them would be gigabytes
    BOOST_TEST(module.entry.value().record.cubin_bytes > 0);
  }
  BOOST_TEST(modules[2].entry.value().record.key == kept.record.key);
  BOOST_TEST(modules[2].file_bytes == static_cast<int64_t>(kept.encoded.size()));
  BOOST_TEST(modules[2].modified_unix_seconds > time(nullptr) - 60);
  options.mode = CacheMode::off;
  BOOST_TEST(listed(options).size() == 1u);
}

// Looking changes nothing: what is bad is shown with its reason and stays.
BOOST_AUTO_TEST_CASE(bad_files_and_folders_are_shown_and_left) {
  const Folder folder;
  const ModuleStoreOptions options = user_options(folder.path("cache"));
  const Module good = make_module("good"), damaged = make_module("damaged"), open_arch = make_module("open", "sm_90");
  ModuleStore store(options);
  for (const Module &module : {good, damaged, open_arch}) store.keep(module.record, module.encoded);
  const std::string root = folder.path("cache") + "/";
  scratch::write_file(root + damaged.user_path(), Bytes(100, 'x'));
  chmod((root + "v1/sm_90").c_str(), 0777);
  scratch::write_file(root + "v1/sm_89/" + good.record.key.substr(0, 2) + "/renamed.fcm", good.encoded);
  const auto files = scratch::files_below(folder.path());
  int sound = 0;
  std::string problems;
  for (const ListedModule &module : listed(options)) {
    sound += module.entry.ok();
    if (!module.entry.ok()) problems += module.path + ": " + module.entry.error().message + "\n";
  }
  BOOST_TEST(sound == 1);
  BOOST_TEST_CONTEXT(problems) {
    BOOST_TEST(contains(problems, damaged.file_name()));
    BOOST_TEST(contains(problems, "does not end with its digest"));
    BOOST_TEST(contains(problems, "renamed.fcm"));
    BOOST_TEST(contains(problems, "its name is not <key>.<compiler>.fcm"));
    BOOST_TEST(contains(problems, "v1/sm_90: group or others may write"));
  }
  BOOST_TEST(scratch::files_below(folder.path()) == files);
}

BOOST_AUTO_TEST_CASE(root_that_cannot_be_used_is_an_error) {
  const Folder folder;
  std::filesystem::create_directory(folder.path("open"));
  chmod(folder.path("open").c_str(), 0777);
  ModuleStoreOptions options = user_options(folder.path("open"));
  Result<std::vector<ListedModule>> list = list_modules(options);
  BOOST_REQUIRE(!list.ok());
  BOOST_TEST(list.error().status == FLASHCORE_IO_ERROR);
  BOOST_TEST(contains(list.error().message, folder.path("open")));
  options.user_root = "";
  options.read_only_roots = {folder.path("open")};
  BOOST_TEST(!list_modules(options).ok());
}

BOOST_AUTO_TEST_CASE(one_file_by_its_path) {
  const Folder folder;
  const Module module = make_module("m");
  scratch::write_file(folder.path("any name"), module.encoded, 0666);
  const Result<ListedModule> read = read_module_file(folder.path("any name"));
  BOOST_REQUIRE(read.ok());
  BOOST_TEST(read.value().entry.ok());
  BOOST_TEST(read.value().file_bytes == static_cast<int64_t>(module.encoded.size()));
  scratch::write_file(folder.path("bad"), Bytes(100, 'x'));
  const Result<ListedModule> bad = read_module_file(folder.path("bad"));
  BOOST_REQUIRE(bad.ok());
  BOOST_TEST(bad.value().entry.error().status == FLASHCORE_MODULE_CORRUPT);
  const Result<ListedModule> none = read_module_file(folder.path("none"));
  BOOST_REQUIRE(!none.ok());
  BOOST_TEST(none.error().status == FLASHCORE_IO_ERROR);
  BOOST_TEST(!read_module_file(folder.path()).ok());
}

BOOST_AUTO_TEST_CASE(pack_is_readable_by_all_and_kept) {
  const Folder folder;
  const Module module = make_module("m", "sm_90a");
  const mode_t before = umask(022);
  BOOST_REQUIRE(write_pack_entry(folder.path("a/pack"), module.record, module.encoded).ok());
  umask(before);
  const std::string path = folder.path("a/pack/") + module.pack_path();
  BOOST_TEST(scratch::mode_of(folder.path("a/pack")) == 0755u);
  BOOST_TEST(scratch::mode_of(folder.path("a/pack/sm_90a")) == 0755u);
  BOOST_TEST(scratch::mode_of(path) == 0644u);
  BOOST_TEST(scratch::files_below(folder.path()).size() == 1u);
  scratch::age(path, 1000);
  const int64_t written = scratch::modified_seconds(path);
  BOOST_TEST(write_pack_entry(folder.path("a/pack"), module.record, module.encoded).ok());
  BOOST_TEST(scratch::modified_seconds(path) == written);
  scratch::write_file(path, Bytes(100, 'x'));
  BOOST_TEST(write_pack_entry(folder.path("a/pack"), module.record, module.encoded).ok());
  BOOST_TEST(scratch::read_bytes(path) == module.encoded);
  ModuleStoreOptions options;
  options.read_only_roots = {folder.path("a/pack")};
  ModuleStore store(options);
  BOOST_TEST(find(store, module).has_value());
}

BOOST_AUTO_TEST_CASE(debris_of_a_killed_pack_build_is_swept) {
  const Folder folder;
  const Module first = make_module("first"), second = make_module("second");
  BOOST_REQUIRE(write_pack_entry(folder.path("pack"), first.record, first.encoded).ok());
  scratch::write_file(folder.path("pack/sm_89/.tmp-1-1"), "half");
  for (const std::string &path : scratch::files_below(folder.path())) scratch::age(path, 4000);
  BOOST_REQUIRE(write_pack_entry(folder.path("pack"), second.record, second.encoded).ok());
  BOOST_TEST(!scratch::exists(folder.path("pack/sm_89/.tmp-1-1")));
  BOOST_TEST(scratch::exists(folder.path("pack/") + first.pack_path()));
}

BOOST_AUTO_TEST_CASE(pack_that_cannot_be_written_is_an_error) {
  const Folder folder;
  const Module module = make_module("m");
  scratch::write_file(folder.path("file"), "x");
  const Status written = write_pack_entry(folder.path("file"), module.record, module.encoded);
  BOOST_REQUIRE(!written.ok());
  BOOST_TEST(written.error().status == FLASHCORE_IO_ERROR);
  ModuleRecord odd = module.record;
  odd.arch = "../sm_89";
  BOOST_TEST(!write_pack_entry(folder.path("pack"), odd, module.encoded).ok());
  BOOST_TEST(!scratch::exists(folder.path("pack")));
}

BOOST_AUTO_TEST_SUITE_END()
