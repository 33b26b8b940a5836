// SPDX-License-Identifier: Apache-2.0
//
// Where modules lie on disk: read-only folders (shipped, configured) and the user cache. Layout of every root:
//   user cache   <root>/v1/<arch>/<first two digits of key>/<key>.<compiler16>.fcm
//   read-only    <root>/<arch>/<key>.<compiler16>.fcm
// A read failure is a miss, a write failure a warning; both are counted, neither fails a call. Safe for many threads
// and many processes at once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "cache/module_entry.hpp"

namespace flashcore {

enum class CacheMode { read_write, read_only, off };
enum class ModuleOrigin { shipped, user_cache };

struct ModuleStoreOptions {
  std::vector<std::string> read_only_roots;  // searched in order, before the user cache
  DirectoryTrust read_only_trust = DirectoryTrust::readable;
  std::string user_root;  // empty: no user cache
  CacheMode mode = CacheMode::read_write;
  int64_t user_limit_bytes = 256 << 20;
  int64_t lock_wait_ms = 30'000;  // how long with_key_lock waits for another process
};

struct ModuleStoreCounters {
  int64_t rejected = 0;  // entries that failed a check
  int64_t write_failures = 0;
};

// Why nothing was found, in the order of the search, no text twice.
class Refusals {
 public:
  void add(std::string text);
  const std::vector<std::string> &texts() const { return texts_; }
  // " (<text>; <text>; and 3 more)", or nothing.
  std::string in_brackets() const;

 private:
  std::vector<std::string> texts_;
};

struct FoundModule {
  ModuleEntry entry;
  ModuleOrigin origin = ModuleOrigin::shipped;
  std::string path;
};

class ModuleStore {
 public:
  explicit ModuleStore(ModuleStoreOptions options);
  ~ModuleStore();

  // Show `accept` each sound entry for (arch, key) until it takes one. Layers in order; with a `compiler_id` that one is first in
  // each layer, then the newest. A corrupt user entry is removed. `refusals` gets a text, path first, for each folder and file that
  // was there and could not be used, and for each root that is not there.
  using Accept = std::function<bool(FoundModule &)>;
  void search(std::string_view arch, std::string_view key, std::string_view compiler_id, const Accept &accept,
              Refusals &refusals);
  // The first entry. nullopt: a miss.
  std::optional<FoundModule> find(std::string_view arch, std::string_view key, std::string_view compiler_id);

  // Keep a compiled module in the user cache; the caller goes on with its own bytes whatever happens here.
  void keep(const ModuleRecord &record, std::span<const uint8_t> encoded);

  // Run `work` while holding the cross-process lock of this key, if it can be had in lock_wait_ms; else run it without.
  // An optimisation only (one compile instead of N); correctness never depends on it.
  void with_key_lock(std::string_view key, const std::function<void()> &work);

  ModuleStoreCounters counters() const;
  // Empty: none. A forked child must not wait: the thread that held the lock at the fork is not there to let go of it.
  std::string last_warning(bool may_wait = true) const;
  const std::string &user_root() const;  // empty where the user cache is off or was refused

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One file met while looking through every root, for inspection. list_modules leaves the cubins empty: the records say what they are.
struct ListedModule {
  std::string path;
  ModuleOrigin origin;
  int64_t file_bytes = 0;
  int64_t modified_unix_seconds = 0;
  Result<ModuleEntry> entry;
};
Result<std::vector<ListedModule>> list_modules(const ModuleStoreOptions &options);
Result<ListedModule> read_module_file(const std::string &path);

// What went from the user cache, or would go, and what stays.
struct CacheRemoval {
  int64_t removed_files = 0, removed_bytes = 0, kept_files = 0, kept_bytes = 0;
};
// Files of the user cache that are unwanted, then the oldest until no more than most_bytes are left (negative: as many as there are); and
// what killed writers left an hour ago, which counts nowhere. dry_run: nothing goes. IO_ERROR: a file or folder that cannot be removed.
using Unwanted = std::function<bool(const ListedModule &)>;
Result<CacheRemoval> remove_modules(const ModuleStoreOptions &options, const Unwanted &unwanted, int64_t most_bytes,
                                    bool dry_run);

// Write an entry as a file of a read-only root (building packs). Keeps a file that is there and decodes.
Status write_pack_entry(const std::string &root, const ModuleRecord &record, std::span<const uint8_t> encoded);
// The module of a file, checked, as such an entry.
Status export_module_file(const std::string &path, const std::string &root);

}  // namespace flashcore
