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

// What is unwanted goes first, then the oldest; nothing else is touched, and telling removes nothing.
BOOST_AUTO_TEST_CASE(modules_are_removed_from_the_user_cache) {
  const Folder folder;
  const ModuleStoreOptions options = user_options(folder.path("cache"));
  const Module oldest = make_module("oldest"), old = make_module("old", "sm_120"), young = make_module("young"),
               damaged = make_module("damaged");
  const std::string root = folder.path("cache") + "/";
  BOOST_TEST(remove_modules(
                 options, [](const ListedModule &) { return true; }, 0, false)
                 .value()
                 .kept_files == 0);
  BOOST_TEST(scratch::files_below(folder.path()).empty());  // where there is no cache none is made
  ModuleStore store(options);
  for (const Module &module : {oldest, old, young, damaged}) store.keep(module.record, module.encoded);
  scratch::write_file(root + damaged.user_path(), Bytes(100, 'x'));
  scratch::write_file(root + "v1/sm_89/" + young.record.key.substr(0, 2) + "/renamed.fcm", Bytes(50, 'x'));
  scratch::write_file(root + "v1/sm_89/" + young.record.key.substr(0, 2) + "/notes.txt", Bytes(50, 'x'));
  scratch::write_file(root + "v1/tmp/.tmp-left", Bytes(10, 'x'));
  scratch::age(root + "v1/tmp/.tmp-left", 4000);
  scratch::age(root + oldest.user_path(), 3000), scratch::age(root + old.user_path(), 2000);
  const auto refused = [](const ListedModule &file) { return !file.entry.ok(); };
  const auto bytes = [](const Module &module) { return static_cast<int64_t>(module.encoded.size()); };

  const auto before = scratch::files_below(folder.path());
  const CacheRemoval told = remove_modules(options, refused, -1, true).value();
  BOOST_TEST(scratch::files_below(folder.path()) == before);
  BOOST_TEST(told.removed_files == 2);
  BOOST_TEST(told.removed_bytes == 150);
  BOOST_TEST(told.kept_files == 3);
  BOOST_TEST(told.kept_bytes == bytes(oldest) + bytes(old) + bytes(young));

  const CacheRemoval done = remove_modules(options, refused, bytes(young) + bytes(old), false).value();
  BOOST_TEST(done.removed_files == 3);
  BOOST_TEST(done.removed_bytes == 150 + bytes(oldest));
  BOOST_TEST(done.kept_bytes == bytes(young) + bytes(old));
  BOOST_TEST(!find(store, oldest).has_value());
  BOOST_TEST(find(store, old).has_value());
  BOOST_TEST(find(store, young).has_value());
  const CacheRemoval all = remove_modules(
                               options, [](const ListedModule &) { return true; }, -1, false)
                               .value();
  BOOST_TEST(all.removed_files == 2);
  BOOST_TEST(all.kept_files == 0);
  const std::vector<std::string> left = scratch::files_below(folder.path());  // the lock, and what is no module
  BOOST_TEST(left.size() == 2u);
  for (const std::string &path : left) BOOST_TEST((path.ends_with("/v1/lock") || path.ends_with("/notes.txt")), path);
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_used_is_not_removed_from) {
  const Folder folder;
  const ModuleStoreOptions options = user_options(folder.path("cache"));
  const Module module = make_module("m");
  ModuleStore store(options);
  store.keep(module.record, module.encoded);
  const auto all = [](const ListedModule &) { return true; };
  chmod((folder.path("cache") + "/v1/sm_89").c_str(), 0777);
  const Result<CacheRemoval> refused = remove_modules(options, all, -1, false);
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().status == FLASHCORE_IO_ERROR);
  BOOST_TEST(contains(refused.error().message, "/v1/sm_89 cannot be removed"));
  chmod((folder.path("cache") + "/v1/sm_89").c_str(), 0700);
  BOOST_TEST(find(store, module).has_value());
  chmod(folder.path("cache").c_str(), 0777);
  BOOST_TEST(!remove_modules(options, all, -1, false).ok());
}

BOOST_AUTO_TEST_CASE(a_file_becomes_an_entry_of_a_pack) {
  const Folder folder;
  const Module module = make_module("m", "sm_90a");
  scratch::write_file(folder.path("any.fcm"), module.encoded);
  BOOST_TEST(export_module_file(folder.path("any.fcm"), folder.path("pack")).ok());
  BOOST_TEST(scratch::read_bytes(folder.path("pack/") + module.pack_path()) == module.encoded);
  Bytes damaged = module.encoded;
  damaged[100] ^= 1;
  scratch::write_file(folder.path("damaged.fcm"), damaged);
  const Status refused = export_module_file(folder.path("damaged.fcm"), folder.path("other"));
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(refused.error().status == FLASHCORE_MODULE_CORRUPT);
  BOOST_TEST(!std::filesystem::exists(folder.path("other")));
  BOOST_TEST(export_module_file(folder.path("none"), folder.path("other")).error().status == FLASHCORE_IO_ERROR);
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
