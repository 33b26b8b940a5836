// SPDX-License-Identifier: Apache-2.0
//
// One process's view of the store: what is found where and in which order, what is refused, what is written and
// removed.
#define BOOST_TEST_DYN_LINK 1
#include "cache/module_store.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include "extent.hpp"
#include "unit/cache/cache_fixture.hpp"

namespace {

using namespace cache_fixture;
using boost::unit_test::precondition;

std::string origin_of(const std::optional<FoundModule> &found) {
  return !found ? "none" : found->origin == ModuleOrigin::shipped ? "shipped" : "user";
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(module_store, StoreFixture)

BOOST_AUTO_TEST_CASE(kept_module_is_found_again) {
  ModuleStore store(options());
  BOOST_TEST(!find(store, module).has_value());
  store.keep(module.record, module.encoded);
  const auto found = find(store, module);
  BOOST_REQUIRE(found.has_value());
  BOOST_TEST(found->entry.cubin == module.cubin);
  BOOST_TEST(origin_of(found) == "user");
  BOOST_TEST(found->path == root + "/" + module.user_path());
  ModuleStore another(options());
  BOOST_TEST(find(another, module).has_value());
  BOOST_TEST(store.last_warning() == "");
  BOOST_TEST(store.counters().rejected == 0);
  BOOST_TEST(store.counters().write_failures == 0);
  BOOST_TEST(store.user_root() == root);
}

BOOST_AUTO_TEST_CASE(other_arch_or_key_is_a_miss) {
  ModuleStore store(options());
  store.keep(module.record, module.encoded);
  BOOST_TEST(!store.find("sm_90", module.record.key, {}).has_value());
  BOOST_TEST(!store.find("sm_89", hex_of("other"), {}).has_value());
  for (const char *odd : {"", "..", "../../../etc", "sm_89/..", "tmp"})
    BOOST_TEST(!store.find(odd, module.record.key, {}).has_value());
  for (const char *odd : {"", "..", "../../passwd", "AA"}) BOOST_TEST(!store.find("sm_89", odd, {}).has_value());
  BOOST_TEST(find(store, module, "no compiler id").has_value());  // as if none was given
}

BOOST_AUTO_TEST_CASE(nothing_is_made_before_the_first_write) {
  root = folder.path("a/b/cache");
  ModuleStore store(options());
  BOOST_TEST(store.user_root() == root);
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(!scratch::exists(folder.path("a")));
  store.keep(module.record, module.encoded);
  for (const char *name : {"a", "a/b", "a/b/cache", "a/b/cache/v1", "a/b/cache/v1/tmp", "a/b/cache/v1/sm_89"})
    BOOST_TEST(scratch::mode_of(folder.path(name)) == 0700u);
  BOOST_TEST(scratch::mode_of(root + "/" + module.user_path()) == 0600u);
  BOOST_TEST(scratch::files_below(root + "/v1/tmp").empty());
}

BOOST_AUTO_TEST_CASE(layers_are_searched_in_order) {
  const std::string second = folder.path("second");
  ModuleStoreOptions layered = with_pack();
  layered.read_only_roots.push_back(second);
  ModuleStore store(layered);
  put_user(module);
  BOOST_TEST(origin_of(find(store, module)) == "user");
  put(second + "/" + module.pack_path(), module.encoded);
  BOOST_TEST(find(store, module)->path == second + "/" + module.pack_path());
  put_pack(module);
  BOOST_TEST(find(store, module)->path == pack + "/" + module.pack_path());
}

// In each layer the caller's own compiler is preferred, else the newest; a layer is not passed over for it.
BOOST_AUTO_TEST_CASE(compiler_is_preferred_within_a_layer) {
  const Module other = make_module("m", "sm_89", compiler_b);
  BOOST_TEST(other.record.key == module.record.key);
  ModuleStore store(with_pack());
  put_user(module);
  put_user(other);
  scratch::age(root + "/" + module.user_path(), 100);
  BOOST_TEST(find(store, module)->entry.record.compiler_id == compiler_b);
  BOOST_TEST(find(store, module, compiler_a)->entry.record.compiler_id == compiler_a);
  BOOST_TEST(find(store, module, hex_of("third").substr(0, 32))->entry.record.compiler_id == compiler_b);
  scratch::age(root + "/" + other.user_path(), 200);
  BOOST_TEST(find(store, module)->entry.record.compiler_id == compiler_a);
  put_pack(other);
  BOOST_TEST(origin_of(find(store, module, compiler_a)) == "shipped");
}

BOOST_AUTO_TEST_CASE(corrupt_user_entry_is_a_miss_and_is_removed) {
  const std::string path = root + "/" + module.user_path();
  Bytes damaged = module.encoded;
  damaged[damaged.size() / 2] ^= 1;
  put(path, damaged);
  ModuleStore store(options());
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(!scratch::exists(path));
  BOOST_TEST(store.counters().rejected == 1);
  BOOST_TEST(contains(store.last_warning(), path));
  BOOST_TEST(contains(store.last_warning(), "digest"));
  store.keep(module.record, module.encoded);
  BOOST_TEST(find(store, module).has_value());
}

// A bad file of one compiler does not hide a good one of another, and a bad pack does not hide the user cache.
// Whatever bit of a file turns, and wherever it ends: nothing is loaded, the file goes, and what is kept next is found.
BOOST_AUTO_TEST_CASE(every_damage_to_a_file_is_a_miss) {
  put_user(module);
  const std::string path = root + "/" + module.user_path();
  const size_t bits = module.encoded.size() * 8, step = extent::is_long() ? 1 : 11;
  int64_t damages = 0, found = 0, left = 0, rejected = 0;
  const auto damage = [&](const Bytes &bytes) {
    scratch::write_file(path, bytes);
    ModuleStore store(options());
    found += find(store, module).has_value();
    rejected += store.counters().rejected;
    left += scratch::exists(path);
    ++damages;
  };
  for (size_t bit = 0; bit < bits; bit += step) {
    Bytes flipped = module.encoded;
    flipped[bit / 8] = static_cast<uint8_t>(flipped[bit / 8] ^ 1u << bit % 8);
    damage(flipped);
  }
  for (size_t size = 0; size < module.encoded.size(); size += step)
    damage(Bytes(module.encoded.begin(), module.encoded.begin() + static_cast<ptrdiff_t>(size)));
  BOOST_TEST(found == 0);
  BOOST_TEST(left == 0);
  BOOST_TEST(rejected == damages);
  ModuleStore store(options());
  store.keep(module.record, module.encoded);
  BOOST_TEST(find(store, module).has_value());
  extent::figure(damages, "damaged files in the cache, none found, all removed");
}

BOOST_AUTO_TEST_CASE(search_goes_on_behind_a_corrupt_entry) {
  const Module other = make_module("m", "sm_89", compiler_b);
  put_user(other);
  put(root + "/" + module.user_path(), Bytes(100, 'x'));
  put(pack + "/" + module.pack_path(), Bytes(100, 'x'));
  ModuleStore store(with_pack());
  BOOST_TEST(find(store, module, compiler_a)->entry.record.compiler_id == compiler_b);
  BOOST_TEST(store.counters().rejected == 2);
  BOOST_TEST(scratch::exists(pack + "/" + module.pack_path()));  // not ours to remove
  BOOST_TEST(!scratch::exists(root + "/" + module.user_path()));
}

BOOST_AUTO_TEST_CASE(swapped_names_are_misses) {
  const Module other = make_module("other"), other_compiler = make_module("third", "sm_89", compiler_b),
               other_arch = make_module("fourth", "sm_90a");
  put(root + "/" + module.user_path(), other.encoded);
  put(root + "/" + other.user_path(), module.encoded);
  ModuleRecord renamed = other_compiler.record;
  renamed.compiler_id = compiler_a;
  put(root + "/v1/sm_89/" + renamed.key.substr(0, 2) + "/" + module_file_name(renamed.key, compiler_a),
      other_compiler.encoded);
  put(root + "/v1/sm_90/" + other_arch.record.key.substr(0, 2) + "/" + other_arch.file_name(), other_arch.encoded);
  ModuleStore store(options());
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(contains(store.last_warning(), "another key"));
  BOOST_TEST(!find(store, other).has_value());
  BOOST_TEST(!store.find("sm_89", renamed.key, {}).has_value());
  BOOST_TEST(contains(store.last_warning(), "another compiler"));
  BOOST_TEST(!store.find("sm_90", other_arch.record.key, {}).has_value());
  BOOST_TEST(contains(store.last_warning(), "for sm_90a"));
  BOOST_TEST(store.counters().rejected == 4);
}

BOOST_AUTO_TEST_CASE(hit_renews_the_time_at_most_hourly) {
  ModuleStore store(options());
  store.keep(module.record, module.encoded);
  const std::string path = root + "/" + module.user_path();
  scratch::age(path, 1800);
  const int64_t recent = scratch::modified_seconds(path);
  BOOST_TEST(find(store, module).has_value());
  BOOST_TEST(scratch::modified_seconds(path) == recent);
  scratch::age(path, 7200);
  BOOST_TEST(find(store, module).has_value());
  BOOST_TEST(scratch::modified_seconds(path) > time(nullptr) - 60);
}

BOOST_AUTO_TEST_CASE(read_only_mode_and_roots_are_never_written) {
  put_user(module);
  put_pack(make_module("shipped"));
  const Module damaged = make_module("damaged"), fresh = make_module("fresh");
  put(root + "/" + damaged.user_path(), Bytes(50, 'x'));
  put(pack + "/" + damaged.pack_path(), Bytes(50, 'x'));
  scratch::age(root + "/" + module.user_path(), 7200);
  const int64_t before = scratch::modified_seconds(root + "/" + module.user_path());
  const auto files = scratch::files_below(folder.path());
  ModuleStoreOptions read_only = options(CacheMode::read_only);
  read_only.read_only_roots = {pack};
  ModuleStore store(read_only);
  BOOST_TEST(find(store, module).has_value());
  BOOST_TEST(!find(store, damaged).has_value());
  store.keep(fresh.record, fresh.encoded);
  bool ran = false;
  store.with_key_lock(fresh.record.key, [&] { ran = true; });
  BOOST_TEST(ran);
  BOOST_TEST(store.counters().write_failures == 0);
  BOOST_TEST(scratch::files_below(folder.path()) == files);
  BOOST_TEST(scratch::modified_seconds(root + "/" + module.user_path()) == before);
}

BOOST_AUTO_TEST_CASE(cache_that_is_off_is_neither_read_nor_written) {
  put_user(module);
  const auto files = scratch::files_below(folder.path());
  for (const ModuleStoreOptions &off : {options(CacheMode::off), ModuleStoreOptions{}}) {
    ModuleStore store(off);
    BOOST_TEST(store.user_root() == "");
    BOOST_TEST(!find(store, module).has_value());
    store.keep(make_module("fresh").record, make_module("fresh").encoded);
    BOOST_TEST(store.last_warning() == "");
  }
  BOOST_TEST(scratch::files_below(folder.path()) == files);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(module_store_hostile, StoreFixture)

// The user root itself: refused when the store is made, with one reason; calls go on without a cache.
BOOST_AUTO_TEST_CASE(unsafe_user_root_means_no_cache) {
  std::filesystem::create_directory(folder.path("open"));
  chmod(folder.path("open").c_str(), 0777);
  std::filesystem::create_directory(folder.path("real"));
  chmod(folder.path("real").c_str(), 0700);
  std::filesystem::create_symlink("real", folder.path("link"));
  scratch::write_file(folder.path("file"), "x");
  const std::pair<const char *, const char *> cases[] = {{"open", "group or others may write to it (mode 0777)"},
                                                         {"link", "symbolic link"},
                                                         {"file", "could not be opened"}};
  for (const auto &[name, reason] : cases) {
    ModuleStore store(user_options(folder.path(name)));
    BOOST_TEST(store.user_root() == "");
    BOOST_TEST(contains(store.last_warning(), folder.path(name)));
    BOOST_TEST(contains(store.last_warning(), reason));
    const std::string warning = store.last_warning();
    BOOST_TEST(!find(store, module).has_value());
    store.keep(module.record, module.encoded);
    bool ran = false;
    store.with_key_lock(module.record.key, [&] { ran = true; });
    BOOST_TEST(ran);
    BOOST_TEST(store.last_warning() == warning);
    BOOST_TEST(store.counters().write_failures == 0);
  }
  BOOST_TEST(scratch::files_below(folder.path("open")).empty());
  BOOST_TEST(scratch::files_below(folder.path("real")).empty());
}

BOOST_AUTO_TEST_CASE(foreign_user_root_means_no_cache, *precondition(scratch::can_change_owner)) {
  ModuleStore(options()).keep(module.record, module.encoded);
  BOOST_REQUIRE(chown(root.c_str(), scratch::nobody, scratch::nobody) == 0);
  ModuleStore store(options());
  BOOST_TEST(store.user_root() == "");
  BOOST_TEST(contains(store.last_warning(), "belongs to user 65534"));
  BOOST_TEST(!find(store, module).has_value());
}

// A folder inside the root that turned unsafe: what lies in it is not read, and nothing is written to it.
BOOST_AUTO_TEST_CASE(unsafe_folder_below_the_root_is_not_used) {
  const std::string shard = "v1/sm_89/" + module.record.key.substr(0, 2);
  for (const std::string &name : {std::string("v1"), std::string("v1/sm_89"), shard}) {
    ModuleStore(options()).keep(module.record, module.encoded);
    const std::string path = root + "/" + name;
    chmod(path.c_str(), 0777);
    ModuleStore store(options());
    BOOST_TEST(!find(store, module).has_value());
    BOOST_TEST(contains(store.last_warning(), path + ": group or others"));
    store.keep(module.record, module.encoded);
    BOOST_TEST(store.counters().write_failures == 1);
    chmod(path.c_str(), 0700);
    std::filesystem::rename(path, folder.path("moved"));
    std::filesystem::create_symlink(folder.path("moved"), path);
    BOOST_TEST(!find(store, module).has_value());
    BOOST_TEST(contains(store.last_warning(), "symbolic link"));
    std::filesystem::remove_all(root);
    std::filesystem::remove_all(folder.path("moved"));
  }
}

// At the place of the entry itself. None may hang; a write puts a good file in place of all but the folder.
BOOST_AUTO_TEST_CASE(hostile_objects_at_the_place_of_an_entry) {
  ModuleStore(options()).keep(module.record, module.encoded);
  const std::string path = root + "/" + module.user_path(), target = folder.path("target");
  scratch::write_file(target, module.encoded);
  const std::pair<const char *, std::function<void()>> cases[] = {
      {"symbolic link", [&] { std::filesystem::create_symlink(target, path); }},
      {"no regular file", [&] { BOOST_REQUIRE(mkfifo(path.c_str(), 0600) == 0); }},
      {"group or others may write", [&] { scratch::write_file(path, module.encoded, 0666); }},
      {"bytes; allowed: 67108864",
       [&] {
         scratch::write_file(path, module.encoded);
         BOOST_REQUIRE(truncate(path.c_str(), int64_t{1} << 40) == 0);
       }},
      {"shorter than its frames", [&] { scratch::write_file(path, ""); }},
  };
  for (const auto &[reason, make] : cases) {
    std::filesystem::remove(path);
    make();
    ModuleStore store(options());
    BOOST_TEST(!find(store, module).has_value());
    BOOST_TEST(!find(store, module, compiler_a).has_value());
    BOOST_TEST_CONTEXT(store.last_warning()) { BOOST_TEST(contains(store.last_warning(), reason)); }
    BOOST_TEST(store.counters().rejected >= 1);
    store.keep(module.record, module.encoded);
    BOOST_TEST(find(store, module).has_value());
    BOOST_TEST(scratch::read_bytes(target) == module.encoded);
  }
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  ModuleStore store(options());
  BOOST_TEST(!find(store, module).has_value());
  store.keep(module.record, module.encoded);
  BOOST_TEST(store.counters().write_failures == 1);
  BOOST_TEST(scratch::files_below(root + "/v1/tmp").empty());
}

BOOST_AUTO_TEST_CASE(foreign_entry_is_refused_and_left, *precondition(scratch::can_change_owner)) {
  ModuleStore store(options());
  store.keep(module.record, module.encoded);
  const std::string path = root + "/" + module.user_path();
  BOOST_REQUIRE(chown(path.c_str(), scratch::nobody, scratch::nobody) == 0);
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(contains(store.last_warning(), "belongs to user 65534"));
  BOOST_TEST(scratch::exists(path));
}

BOOST_AUTO_TEST_CASE(unsafe_pack_is_not_used) {
  put_pack(module);
  chmod(pack.c_str(), 0775);
  ModuleStore store(with_pack());
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(contains(store.last_warning(), pack + ": group or others"));
  chmod(pack.c_str(), 0755);
  BOOST_TEST(find(store, module).has_value());
  chmod((pack + "/" + module.pack_path()).c_str(), 0664);
  BOOST_TEST(!find(store, module).has_value());
}

// Shipped modules belong to root on most systems, and are loaded by everybody.
BOOST_AUTO_TEST_CASE(pack_of_root_serves_other_users, *precondition(scratch::can_change_owner)) {
  put_pack(module);
  chmod(folder.path().c_str(), 0755);
  chmod(pack.c_str(), 0755);
  chmod((pack + "/sm_89").c_str(), 0755);
  chmod((pack + "/" + module.pack_path()).c_str(), 0644);
  BOOST_TEST(scratch::run_child([&] {
               if (!scratch::drop_privileges()) return 2;
               ModuleStoreOptions options;
               options.read_only_roots = {pack};
               ModuleStore store(options);
               return find(store, module).has_value() ? 0 : 1;
             }) == 0);
}

// The names that a record brings must not lead anywhere.
BOOST_AUTO_TEST_CASE(record_with_a_path_for_a_key_is_not_written) {
  ModuleStore store(options());
  for (const auto member : {&ModuleRecord::key, &ModuleRecord::arch, &ModuleRecord::compiler_id}) {
    ModuleRecord record = module.record;
    record.*member = "../../../../tmp/evil";
    store.keep(record, module.encoded);
    BOOST_TEST(contains(store.last_warning(), "no sound key"));
  }
  BOOST_TEST(store.counters().write_failures == 3);
  BOOST_TEST(scratch::files_below(folder.path()).empty());
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(module_store_size, StoreFixture)

BOOST_AUTO_TEST_CASE(oldest_entries_go_first) {
  ModuleStoreOptions small = options();
  std::vector<Module> modules;
  for (int i = 0; i < 10; ++i)
    modules.push_back(make_module("m" + std::to_string(i), i % 2 == 0 ? "sm_89" : "sm_90a", compiler_a, 20'000));
  const auto entry_bytes = static_cast<int64_t>(modules[0].encoded.size());
  small.user_limit_bytes = entry_bytes * 9 + entry_bytes / 2;
  ModuleStore store(small);
  for (int i = 0; i < 9; ++i) {
    store.keep(modules[i].record, modules[i].encoded);
    scratch::age(root + "/" + modules[i].user_path(), 1000 - i);
  }
  BOOST_TEST(scratch::files_below(root).size() == 10u);  // all of them and the lock
  scratch::age(root + "/" + modules[0].user_path(), 1);  // used just now
  store.keep(modules[9].record, modules[9].encoded);
  // Down to nine tenths: 8 entries of 9.5 that fit.
  const bool expected[] = {true, false, false, true, true, true, true, true, true, true};
  for (int i = 0; i < 10; ++i) BOOST_TEST(find(store, modules[i]).has_value() == expected[i], "entry " << i);
  BOOST_TEST(store.counters().rejected == 0);
}

BOOST_AUTO_TEST_CASE(hit_saves_an_entry_from_eviction) {
  const Module first = make_module("first", "sm_89", compiler_a, 20'000),
               second = make_module("second", "sm_89", compiler_a, 20'000),
               third = make_module("third", "sm_89", compiler_a, 20'000);
  ModuleStoreOptions small = options();
  small.user_limit_bytes = static_cast<int64_t>(first.encoded.size() * 5 / 2);
  ModuleStore store(small);
  store.keep(first.record, first.encoded);
  store.keep(second.record, second.encoded);
  scratch::age(root + "/" + first.user_path(), 10'000);
  scratch::age(root + "/" + second.user_path(), 9'000);
  BOOST_TEST(find(store, first).has_value());
  store.keep(third.record, third.encoded);
  BOOST_TEST(find(store, first).has_value());
  BOOST_TEST(!find(store, second).has_value());
  BOOST_TEST(find(store, third).has_value());
}

BOOST_AUTO_TEST_CASE(entry_larger_than_the_cache_is_not_kept) {
  put_user(make_module("other"));
  ModuleStoreOptions tiny = options();
  tiny.user_limit_bytes = 1000;
  ModuleStore store(tiny);
  store.keep(module.record, module.encoded);
  BOOST_TEST(store.counters().write_failures == 1);
  BOOST_TEST(contains(store.last_warning(), "limit of the whole cache (1000)"));
  BOOST_TEST(scratch::files_below(root).size() == 1u);
}

// Only files that are entries by name and place count and go; a stranger's file is left alone.
BOOST_AUTO_TEST_CASE(eviction_leaves_other_files_alone) {
  ModuleStoreOptions small = options();
  const Module large = make_module("large", "sm_89", compiler_a, 20'000);
  small.user_limit_bytes = static_cast<int64_t>(large.encoded.size()) + 500;
  put_user(module);
  const std::string shard = root + "/v1/sm_89/" + module.record.key.substr(0, 2), notes = shard + "/notes.txt",
                    elsewhere = root + "/v1/other/aa/" + module.file_name();
  put(notes, Bytes(50'000, 'x'));
  put(elsewhere, Bytes(50'000, 'x'));
  scratch::age(notes, 10'000);
  ModuleStore store(small);
  store.keep(large.record, large.encoded);
  BOOST_TEST(!find(store, module).has_value());
  BOOST_TEST(find(store, large).has_value());
  BOOST_TEST(scratch::exists(notes));
  BOOST_TEST(scratch::exists(elsewhere));
}

BOOST_AUTO_TEST_CASE(old_temporary_files_are_swept_young_ones_stay) {
  ModuleStore store(options());
  store.keep(module.record, module.encoded);
  const std::string temporary = root + "/v1/tmp/";
  for (const char *name : {".tmp-1-1", ".tmp-1-2", ".tmp-2-3"}) scratch::write_file(temporary + name, "half");
  scratch::age(temporary + ".tmp-1-1", 3700);
  scratch::age(temporary + ".tmp-1-2", 3500);
  const Module other = make_module("other");
  store.keep(other.record, other.encoded);
  BOOST_TEST(!scratch::exists(temporary + ".tmp-1-1"));
  BOOST_TEST(scratch::exists(temporary + ".tmp-1-2"));
  BOOST_TEST(scratch::exists(temporary + ".tmp-2-3"));
}

BOOST_AUTO_TEST_SUITE_END()
