// SPDX-License-Identifier: Apache-2.0
//
// No folder is kept open between calls: they are rare (one per module and process), a descriptor less is held, and a
// cache that somebody removed or repaired meanwhile simply works again.
#include "cache/module_store.hpp"

#include "base/file_lock.hpp"
#include "cache/cache_eviction.hpp"
#include "cache/module_folder.hpp"
#include "cache/module_key.hpp"

namespace flashcore {
namespace {

constexpr int64_t renew_after_seconds = 3600;
// How much of the limit a process may write between two looks at the whole cache.
constexpr int64_t eviction_check_fraction = 128;

// 62 bits of the key: one byte of the lock file per module, without a file per module.
int64_t lock_offset(std::string_view key) {
  uint64_t value = 0;
  for (char digit : key.substr(0, 16))
    value = value << 4 | static_cast<uint64_t>(digit <= '9' ? digit - '0' : digit - 'a' + 10);
  return static_cast<int64_t>(value >> 2);
}

}  // namespace

struct ModuleStore::State {
  ModuleStoreOptions options;
  std::string user_root;  // empty: off, or refused when the store was made
  std::atomic<int64_t> rejected{0}, write_failures{0};
  // Written since the last look at the whole cache; the first write of a process always looks.
  std::atomic<int64_t> unchecked_bytes{INT64_MAX / 2};
  mutable std::mutex mutex;
  std::string warning;

  bool writes() const { return options.mode == CacheMode::read_write && !user_root.empty(); }

  // A cache that is only read may belong to root, like every other folder that is only read.
  DirectoryTrust user_trust() const {
    return options.mode == CacheMode::read_write ? DirectoryTrust::owned : DirectoryTrust::readable;
  }

  void warn(std::string text) {
    const std::lock_guard lock(mutex);
    warning = std::move(text);
  }

  Result<ModuleFolder> open_layout(IfMissing if_missing) const {
    FLASHCORE_TRY_ASSIGN(const ModuleFolder root, open_root_folder(user_root, user_trust(), if_missing));
    return open_subfolder(root, user_layout_folder, if_missing);
  }

  Result<ModuleFolder> open_read_only(const std::string &root_path, std::string_view arch) const {
    FLASHCORE_TRY_ASSIGN(const ModuleFolder root,
                         open_root_folder(root_path, DirectoryTrust::readable, IfMissing::leave));
    return open_subfolder(root, std::string(arch), IfMissing::leave);
  }

  Result<ModuleFolder> open_user(std::string_view arch, std::string_view key) const {
    FLASHCORE_TRY_ASSIGN(const ModuleFolder layout, open_layout(IfMissing::leave));
    return open_user_shard(layout, arch, key, IfMissing::leave);
  }

  std::optional<FoundModule> take(const ModuleFolder &folder, ModuleOrigin origin, const std::string &name) {
    std::optional<ModuleFile> file = read_module_at(folder, name);
    if (!file) return std::nullopt;
    const bool writable = origin == ModuleOrigin::user_cache && writes();
    if (!file->entry.ok()) {
      rejected.fetch_add(1, std::memory_order_relaxed);
      warn("a module file is not used: " + file->entry.error().message);
      // Removed, so that its next reader pays nothing. What could not be read stays: it may not be ours.
      if (writable && file->contents) remove_if_same(folder.directory, name, *file->contents);
      return std::nullopt;
    }
    if (writable && unix_time_ns() / 1'000'000'000 - file->contents->modified_unix_seconds > renew_after_seconds)
      set_modified_now(folder.directory, name);
    return FoundModule{std::move(file->entry).value(), origin, folder.path + "/" + name};
  }

  std::optional<FoundModule> search(const Result<ModuleFolder> &folder, ModuleOrigin origin, std::string_view key,
                                    std::string_view compiler_id) {
    if (!folder.ok()) {
      warn("a module folder is not used: " + folder.error().message);
      return std::nullopt;
    }
    const std::string preferred = compiler_id.empty() ? std::string() : module_file_name(key, compiler_id);
    if (!preferred.empty())
      if (std::optional<FoundModule> found = take(folder.value(), origin, preferred)) return found;
    for (const std::string &name : names_of_key(folder.value(), key))
      if (name != preferred)
        if (std::optional<FoundModule> found = take(folder.value(), origin, name)) return found;
    return std::nullopt;
  }

  Status publish(const ModuleRecord &record, std::span<const uint8_t> encoded) {
    const auto bytes = static_cast<int64_t>(encoded.size());
    if (bytes > options.user_limit_bytes)
      return Error{FLASHCORE_IO_ERROR, "it has " + std::to_string(bytes) +
                                           " bytes, more than the limit of the whole cache (" +
                                           std::to_string(options.user_limit_bytes) + ")"};
    if (!is_lower_hex(record.key, 64) || !is_lower_hex(record.compiler_id, 32) || !is_module_arch(record.arch))
      return Error{FLASHCORE_INTERNAL, "its record has no sound key, compiler id or architecture"};
    const std::string name = module_file_name(record.key, record.compiler_id);
    FLASHCORE_TRY_ASSIGN(const ModuleFolder layout, open_layout(IfMissing::create_private));
    FLASHCORE_TRY_ASSIGN(const ModuleFolder temporary,
                         open_subfolder(layout, temporary_folder, IfMissing::create_private));
    FLASHCORE_TRY_ASSIGN(const ModuleFolder shard,
                         open_user_shard(layout, record.arch, record.key, IfMissing::create_private));
    sweep_temporary_files(temporary);
    Status published = publish_file_at(temporary.directory, shard.directory, name, encoded, FileSharing::owner_only);
    if (!published.ok()) return Error{FLASHCORE_IO_ERROR, shard.path + "/" + published.error().message};
    if (unchecked_bytes.fetch_add(bytes) + bytes > options.user_limit_bytes / eviction_check_fraction) {
      unchecked_bytes = 0;
      evict_modules(layout, options.user_limit_bytes, name);
    }
    return success();
  }
};

ModuleStore::ModuleStore(ModuleStoreOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  if (state_->options.mode == CacheMode::off || state_->options.user_root.empty()) return;
  const Result<FileDescriptor> root = open_directory(state_->options.user_root, state_->user_trust(), IfMissing::leave);
  if (root.ok())
    state_->user_root = state_->options.user_root;
  else
    state_->warn("the user cache is not used: " + root.error().message);
}

ModuleStore::~ModuleStore() = default;

std::optional<FoundModule> ModuleStore::find(std::string_view arch, std::string_view key,
                                             std::string_view compiler_id) {
  if (!is_module_arch(arch) || !is_lower_hex(key, 64)) return std::nullopt;
  if (!is_lower_hex(compiler_id, 32)) compiler_id = {};
  for (const std::string &root : state_->options.read_only_roots)
    if (auto found = state_->search(state_->open_read_only(root, arch), ModuleOrigin::shipped, key, compiler_id))
      return found;
  if (state_->user_root.empty()) return std::nullopt;
  return state_->search(state_->open_user(arch, key), ModuleOrigin::user_cache, key, compiler_id);
}

void ModuleStore::keep(const ModuleRecord &record, std::span<const uint8_t> encoded) {
  if (!state_->writes()) return;
  const Status published = state_->publish(record, encoded);
  if (published.ok()) return;
  state_->write_failures.fetch_add(1, std::memory_order_relaxed);
  state_->warn("a compiled module could not be kept in the user cache: " + published.error().message);
}

// The folders are made here, before the compile whose result goes into them: otherwise the first processes on a fresh
// machine, which gain most, would find nothing to lock.
void ModuleStore::with_key_lock(std::string_view key, const std::function<void()> &work) {
  if (!state_->writes() || !is_lower_hex(key, 64)) return work();
  const Result<ModuleFolder> layout = state_->open_layout(IfMissing::create_private);
  if (!layout.ok()) return work();  // keep() will say why
  const FileLock lock(layout.value().directory, lock_file, lock_offset(key), state_->options.lock_wait_ms);
  if (lock.outcome() == LockOutcome::busy)
    state_->warn("another process held the lock of module " + std::string(key) + " for " +
                 std::to_string(state_->options.lock_wait_ms) + " ms; it was compiled here too");
  work();
}

ModuleStoreCounters ModuleStore::counters() const { return {state_->rejected.load(), state_->write_failures.load()}; }

std::string ModuleStore::last_warning() const {
  const std::lock_guard lock(state_->mutex);
  return state_->warning;
}

const std::string &ModuleStore::user_root() const { return state_->user_root; }

}  // namespace flashcore
