// SPDX-License-Identifier: Apache-2.0
//
// No folder is kept open between calls: they are rare (one per module and process), a descriptor less is held, and a
// cache that somebody removed or repaired meanwhile simply works again.
#include "cache/module_store.hpp"

#include <algorithm>
#include <new>

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
  std::string user_root;     // empty: off, or refused when the store was made
  std::string user_refusal;  // why it was refused
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

  Result<ModuleFolder> open_read_only(const std::string &root_path, std::string_view arch, Refusals &refusals) const {
    FLASHCORE_TRY_ASSIGN(const ModuleFolder root,
                         open_root_folder(root_path, options.read_only_trust, IfMissing::leave));
    if (!root.directory) refusals.add(root_path + ": there is no such folder");
    return open_subfolder(root, std::string(arch), IfMissing::leave);
  }

  Result<ModuleFolder> open_user(std::string_view arch, std::string_view key) const {
    FLASHCORE_TRY_ASSIGN(const ModuleFolder layout, open_layout(IfMissing::leave));
    return open_user_shard(layout, arch, key, IfMissing::leave);
  }

  std::optional<FoundModule> take(const ModuleFolder &folder, ModuleOrigin origin, const std::string &name,
                                  Refusals &refusals) {
    std::optional<ModuleFile> file = read_module_at(folder, name);
    if (!file) return std::nullopt;
    const bool writable = origin == ModuleOrigin::user_cache && writes();
    if (!file->entry.ok()) {
      const Error &why = file->entry.error();
      rejected.fetch_add(1, std::memory_order_relaxed);
      // Removed, so that its next reader pays nothing; but only what was read whole and is damaged. What could not be read may be
      // sound, or not ours.
      if (writable && file->contents && why.status == FLASHCORE_MODULE_CORRUPT)
        remove_if_same(folder.directory, name, *file->contents);
      refusals.add(why.message);
      warn("a module file is not used: " + why.message);
      return std::nullopt;
    }
    if (writable && unix_time_ns() / 1'000'000'000 - file->contents->modified_unix_seconds > renew_after_seconds)
      set_modified_now(folder.directory, name);
    return FoundModule{std::move(file->entry).value(), origin, folder.path + "/" + name};
  }

  // True: `accept` took one.
  bool search(const Result<ModuleFolder> &folder, ModuleOrigin origin, std::string_view key,
              std::string_view compiler_id, const Accept &accept, Refusals &refusals) {
    if (!folder.ok()) {
      refusals.add(folder.error().message);
      warn("a module folder is not used: " + folder.error().message);
      return false;
    }
    const auto accepted = [&](const std::string &name) {
      std::optional<FoundModule> found = take(folder.value(), origin, name, refusals);
      return found && accept(*found);
    };
    const std::string preferred = compiler_id.empty() ? std::string() : module_file_name(key, compiler_id);
    if (!preferred.empty() && accepted(preferred)) return true;
    const Result<std::vector<std::string>> names = names_of_key(folder.value(), key);
    if (!names.ok()) {
      refusals.add(names.error().message);
      warn("a module folder is not used: " + names.error().message);
      return false;
    }
    for (const std::string &name : names.value())
      if (name != preferred && accepted(name)) return true;
    return false;
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

void Refusals::add(std::string text) {
  if (std::find(texts_.begin(), texts_.end(), text) == texts_.end()) texts_.push_back(std::move(text));
}

std::string Refusals::in_brackets() const {
  if (texts_.empty()) return {};
  constexpr size_t most = 3;  // an error's message has room for no more
  std::string text;
  for (size_t i = 0; i < std::min(texts_.size(), most); ++i) text += (i == 0 ? " (" : "; ") + texts_[i];
  if (texts_.size() > most) text += "; and " + std::to_string(texts_.size() - most) + " more";
  return text + ")";
}

ModuleStore::ModuleStore(ModuleStoreOptions options) : state_(std::make_unique<State>()) {
  state_->options = std::move(options);
  if (state_->options.mode == CacheMode::off || state_->options.user_root.empty()) return;
  const Result<FileDescriptor> root = open_directory(state_->options.user_root, state_->user_trust(), IfMissing::leave);
  if (root.ok()) {
    state_->user_root = state_->options.user_root;
    return;
  }
  state_->user_refusal = root.error().message;
  state_->warn("the user cache is not used: " + root.error().message);
}

ModuleStore::~ModuleStore() = default;

void ModuleStore::search(std::string_view arch, std::string_view key, std::string_view compiler_id,
                         const Accept &accept, Refusals &refusals) {
  if (!is_module_arch(arch) || !is_lower_hex(key, 64)) return;
  if (!is_lower_hex(compiler_id, 32)) compiler_id = {};
  for (const std::string &root : state_->options.read_only_roots)
    if (state_->search(state_->open_read_only(root, arch, refusals), ModuleOrigin::shipped, key, compiler_id, accept,
                       refusals))
      return;
  if (!state_->user_refusal.empty()) refusals.add(state_->user_refusal);
  if (state_->user_root.empty()) return;
  state_->search(state_->open_user(arch, key), ModuleOrigin::user_cache, key, compiler_id, accept, refusals);
}

std::optional<FoundModule> ModuleStore::find(std::string_view arch, std::string_view key,
                                             std::string_view compiler_id) {
  std::optional<FoundModule> first;
  Refusals refusals;
  search(
      arch, key, compiler_id,
      [&first](FoundModule &found) {
        first = std::move(found);
        return true;
      },
      refusals);
  return first;
}

// Memory that is gone counts as a failure to write: the caller has the module, and goes on.
void ModuleStore::keep(const ModuleRecord &record, std::span<const uint8_t> encoded) {
  if (!state_->writes()) return;
  try {
    const Status published = state_->publish(record, encoded);
    if (published.ok()) return;
    state_->write_failures.fetch_add(1, std::memory_order_relaxed);
    state_->warn("a compiled module could not be kept in the user cache: " + published.error().message);
  } catch (const std::bad_alloc &) {
    state_->write_failures.fetch_add(1, std::memory_order_relaxed);
  }
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

std::string ModuleStore::last_warning(bool may_wait) const {
  std::unique_lock lock(state_->mutex, std::defer_lock);
  if (may_wait)
    lock.lock();
  else if (!lock.try_lock())
    return {};
  return state_->warning;
}

const std::string &ModuleStore::user_root() const { return state_->user_root; }

}  // namespace flashcore
