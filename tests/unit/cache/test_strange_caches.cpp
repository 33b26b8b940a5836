// SPDX-License-Identifier: Apache-2.0
//
// Caches in which lies what no cache puts there, locks that others hold, and records and files at their limits: nothing of it is
// touched, and the work goes on.
#include <sys/stat.h>

#include <boost/test/unit_test.hpp>

#include "base/file_lock.hpp"
#include "cache/cache_eviction.hpp"
#include "cache/module_record.hpp"
#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
namespace fs = std::filesystem;

// A cache with two sound modules, and among them all kinds of what is none.
struct StrangeCache : StoreFixture {
  Module old = make_module("old", "sm_89", compiler_a, 4000), young = make_module("young", "sm_120", compiler_a, 4000);
  std::string shard = root + "/v1/sm_89/" + old.record.key.substr(0, 2);
  std::vector<std::string> strange;

  StrangeCache() {
    put(root + "/" + old.user_path(), old.encoded);
    put(root + "/" + young.user_path(), young.encoded);
    scratch::age(root + "/" + old.user_path(), 5000);
    add("v1/sm_89/zz/" + old.file_name());       // no two digits
    add("v1/sm_89/deep/er/" + old.file_name());  // neither
    add("v1/sm_90/aa/" + old.file_name());       // below a folder that others may write to
    add("v1/sm_86/bb/" + old.file_name());       // in one
    add("v1/notes");                             // no folder
    add("v1/sm_80");                             // of an architecture, and none
    chmod((root + "/v1/sm_90").c_str(), 0777);
    chmod((root + "/v1/sm_86/bb").c_str(), 0777);
    const std::string name = shard + "/" + make_module("other").file_name();
    fs::create_directory(name);
    strange.push_back(name);
    fs::create_symlink("/nonexistent", shard + "/" + make_module("link").file_name());
    BOOST_REQUIRE(mkfifo((shard + "/" + make_module("fifo").file_name()).c_str(), 0600) == 0);
    for (const char *what : {"link", "fifo"}) strange.push_back(shard + "/" + make_module(what).file_name());
    fs::create_directories(root + "/v1/tmp/.tmp-folder");
    fs::create_symlink("/nonexistent", root + "/v1/tmp/.tmp-link");
    for (const char *what : {"folder", "link"}) strange.push_back(root + "/v1/tmp/.tmp-" + what);
  }
  void put(const std::string &path, const Bytes &bytes) const {
    fs::create_directories(fs::path(path).parent_path());
    for (fs::path folder = fs::path(path).parent_path(); folder.string().size() >= root.size();
         folder = folder.parent_path())
      chmod(folder.c_str(), 0700);
    scratch::write_file(path, bytes);
  }
  void add(const std::string &path) {
    put(root + "/" + path, Bytes(3000, 'x'));
    strange.push_back(root + "/" + path);
  }
  bool all_there() const {
    return std::all_of(strange.begin(), strange.end(), [](const std::string &path) {
      return fs::symlink_status(path).type() != fs::file_type::not_found;
    });
  }
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(strange_caches, StrangeCache)

BOOST_AUTO_TEST_CASE(what_is_no_entry_neither_counts_nor_goes_when_the_cache_is_full) {
  ModuleStoreOptions small = options();
  small.user_limit_bytes = static_cast<int64_t>(old.encoded.size() + young.encoded.size() + module.encoded.size()) - 1;
  ModuleStore store(small);
  store.keep(module.record, module.encoded);  // which looks at the size
  BOOST_TEST(store.counters().write_failures == 0);
  BOOST_TEST(!find(store, old).has_value());
  BOOST_TEST(find(store, young).has_value());
  BOOST_TEST(all_there());
}

BOOST_AUTO_TEST_CASE(a_list_shows_what_cannot_be_used) {
  int sound = 0, refused = 0;
  const std::vector<ListedModule> listed = list_modules(options()).value();
  for (const ListedModule &one : listed) (one.entry.ok() ? sound : refused)++;
  BOOST_TEST(sound == 2);
  BOOST_TEST(refused >= 6);
  BOOST_TEST(all_there());
  ModuleStoreOptions none = options();
  none.user_root = "";
  BOOST_TEST(list_modules(none).value().empty());
}

BOOST_AUTO_TEST_CASE(removal_tells_of_a_folder_that_it_may_not_touch) {
  const auto all = [](const ListedModule &) { return true; };
  const Result<CacheRemoval> refused = remove_modules(options(), all, -1, false);
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(contains(refused.error().message, "cannot be removed"));
  for (const char *folder : {"/v1/sm_90", "/v1/sm_80", "/v1/sm_86"}) fs::remove_all(root + folder);
  fs::remove_all(strange[6]);  // a folder with an entry's name
  const Result<CacheRemoval> done = remove_modules(options(), all, -1, false);
  BOOST_REQUIRE_MESSAGE(done.ok(), (done.ok() ? "" : done.error().message));
  BOOST_TEST(done.value().kept_files == 0);
  BOOST_TEST(list_modules(options()).value().empty());
}

BOOST_AUTO_TEST_CASE(a_layout_that_others_may_write_to_is_not_used) {
  chmod((root + "/v1").c_str(), 0777);
  ModuleStore store(options());
  BOOST_TEST(!find(store, young).has_value());
  store.keep(module.record, module.encoded);
  BOOST_TEST(store.counters().write_failures == 1);
  bool ran = false;
  store.with_key_lock(module.record.key, [&] { ran = true; });
  BOOST_TEST(ran);
  BOOST_TEST(!list_modules(options()).ok());
  BOOST_TEST(!remove_modules(
                  options(), [](const ListedModule &) { return true; }, -1, false)
                  .ok());
  chmod((root + "/v1").c_str(), 0700);
  chmod((root + "/v1/tmp").c_str(), 0777);
  store.keep(module.record, module.encoded);
  BOOST_TEST(store.counters().write_failures == 2);
  BOOST_TEST(contains(store.last_warning(), "/v1/tmp"));
}

BOOST_AUTO_TEST_CASE(a_lock_that_another_holds_is_waited_for_and_told) {
  ModuleStoreOptions short_wait = options();
  short_wait.lock_wait_ms = 20;
  ModuleStore first(options()), second(short_wait);
  int runs = 0;
  first.with_key_lock(module.record.key, [&] {
    second.with_key_lock(module.record.key, [&] { ++runs; });
    ++runs;
  });
  BOOST_TEST(runs == 2);
  BOOST_TEST(contains(second.last_warning(false), "another process held the lock of module " + module.record.key));
  BOOST_TEST(first.last_warning(false).empty());
  first.with_key_lock("no key", [&] { ++runs; });
  BOOST_TEST(runs == 3);
}

BOOST_AUTO_TEST_CASE(one_at_a_time_tidies_up) {
  const ModuleFolder folder = open_root_folder(root, DirectoryTrust::owned, IfMissing::leave).value();
  const ModuleFolder layout = open_subfolder(folder, "v1", IfMissing::leave).value();
  {
    const FileLock held(layout.directory, lock_file, int64_t{1} << 62, 0);
    BOOST_REQUIRE((held.outcome() == LockOutcome::held));
    evict_modules(layout, 1, "");
    BOOST_TEST(scratch::exists(root + "/" + old.user_path()));
  }
  evict_modules(layout, 1, young.file_name());
  BOOST_TEST(!scratch::exists(root + "/" + old.user_path()));
  BOOST_TEST(scratch::exists(root + "/" + young.user_path()));
  BOOST_TEST(all_there());
  sweep_temporary_files(open_subfolder(layout, "none", IfMissing::leave).value());  // a folder that is not there
}

BOOST_AUTO_TEST_CASE(a_search_tells_of_a_root_that_is_not_used) {
  chmod(root.c_str(), 0777);
  ModuleStore store(options());
  Refusals refusals;
  store.search(
      young.record.arch, young.record.key, "", [](FoundModule &) { return true; }, refusals);
  BOOST_REQUIRE(refusals.texts().size() == 1u);
  BOOST_TEST(contains(refusals.texts()[0], root + ": group or others may write"));
}

BOOST_AUTO_TEST_CASE(numbers_of_a_record_have_limits) {
  ModuleRecord good = module.record;
  good.cubin_sha256 = hex_of("cubin"), good.cubin_bytes = 1;
  const auto fault = [&good](int64_t ModuleRecord::*member, int64_t value) {
    ModuleRecord record = good;
    record.*member = value;
    return module_record_fault(record);
  };
  BOOST_TEST(module_record_fault(good) == "");
  for (const int64_t value : {int64_t{1}, cubin_limit_bytes})
    BOOST_TEST(fault(&ModuleRecord::cubin_bytes, value) == "");
  for (const int64_t value : {int64_t{0}, cubin_limit_bytes + 1})
    BOOST_TEST(contains(fault(&ModuleRecord::cubin_bytes, value),
                        "cubin_bytes is " + std::to_string(value) + "; allowed: 1 to "));
  for (const auto member : {&ModuleRecord::compile_us, &ModuleRecord::dynamic_shared_bytes}) {
    BOOST_TEST(fault(member, 0) == "");
    BOOST_TEST(contains(fault(member, -1), " is -1; allowed: 0 to "));
  }
}

// Others remove, and forbid, while one looks.
BOOST_AUTO_TEST_CASE(what_goes_meanwhile_is_gone_and_what_is_in_the_way_is_told) {
  for (const char *folder : {"/v1/sm_90", "/v1/sm_80", "/v1/sm_86"}) fs::remove_all(root + folder);
  fs::remove_all(strange[6]);
  BOOST_TEST(list_modules(options(CacheMode::read_only)).value().size() >= 2u);
  const std::string young_folder = root + "/v1/sm_120/" + young.record.key.substr(0, 2);
  const auto removed_by_another = [&](const ListedModule &) { return fs::remove_all(young_folder), true; };
  BOOST_TEST(remove_modules(options(), removed_by_another, -1, false).ok());
  chmod((root + "/v1/tmp").c_str(), 0777);
  const Result<CacheRemoval> refused = remove_modules(options(), removed_by_another, -1, false);
  BOOST_REQUIRE(!refused.ok());
  BOOST_TEST(contains(refused.error().message, "/v1/tmp"));

  const auto why_not = [](const Status &status) { return status.ok() ? std::string("OK") : status.error().message; };
  BOOST_TEST(contains(why_not(export_module_file(root, folder.path("pack"))), root));  // a folder
  scratch::write_file(folder.path("module"), module.encoded);
  fs::create_directories(folder.path("first"));
  scratch::write_file(folder.path("first") + "/sm_89", Bytes(1));
  BOOST_TEST(contains(why_not(export_module_file(folder.path("module"), folder.path("first"))), "first/sm_89"));
  fs::create_directories(folder.path("second") + "/" + module.pack_path());
  BOOST_TEST(contains(why_not(export_module_file(folder.path("module"), folder.path("second"))), module.file_name()));
}

BOOST_AUTO_TEST_CASE(records_and_files_at_their_limits) {
  BOOST_TEST(contains(parse_module_record(std::string((1 << 20) + 1, ' ')).error().message, "more than 1 MiB"));
  BOOST_TEST(contains(decode_module_entry(Bytes((64 << 20) + 1)).error().message, "more than 64 MiB"));
  const auto why_not = [](const ModuleRecord &record, const Bytes &cubin) {
    const Result<Bytes> encoded = encode_module_entry(record, cubin);
    return encoded.ok() ? std::string("encoded") : encoded.error().message;
  };
  BOOST_TEST(contains(why_not(module.record, {}), "the cubin has 0 bytes"));
  ModuleRecord record = module.record;
  record.options = {std::string(1 << 20, 'x')};
  BOOST_TEST(contains(why_not(record, module.cubin), "its record has "));
  record = module.record, record.compile_us = -1;
  BOOST_TEST(contains(why_not(record, module.cubin), "compile_us is -1; allowed: 0 to "));
  record = module.record, record.module = "";
  BOOST_TEST(contains(why_not(record, module.cubin), "module is \"\"; allowed: 1 to "));
  record = module.record, record.module = std::string(200, 'm');
  BOOST_TEST(contains(why_not(record, module.cubin), "; allowed: 1 to 127"));
  record = module.record, record.compiler = "two\nlines";
  BOOST_TEST(contains(why_not(record, module.cubin), "one line of at most"));
  record = module.record, record.compiler = std::string(200, 'c');
  BOOST_TEST(contains(why_not(record, module.cubin), "one line of at most"));
}

BOOST_AUTO_TEST_SUITE_END()
