// SPDX-License-Identifier: Apache-2.0
//
// Readers need no protection: they have read a whole file, or they find none, which is a miss.
#include "cache/cache_eviction.hpp"

#include <algorithm>

#include "base/file_lock.hpp"
#include "cache/module_key.hpp"

namespace flashcore {
namespace {

constexpr int64_t temporary_age_limit_ns = int64_t{3600} * 1'000'000'000;
constexpr int64_t eviction_lock_offset = int64_t{1} << 62;  // past those of all keys

struct Candidate {
  int64_t modified_unix_ns, bytes;
  std::string arch, name;
};

std::vector<std::string> names_in(const ModuleFolder &folder, std::string_view prefix = {}) {
  if (!folder.directory) return {};
  Result<std::vector<std::string>> names = list_directory(folder.directory, prefix);
  return names.ok() ? std::move(names).value() : std::vector<std::string>();
}

void collect_shard(const ModuleFolder &shard, const std::string &arch, std::vector<Candidate> &out) {
  for (const std::string &name : names_in(shard)) {
    if (!parse_module_file_name(name)) continue;
    const std::optional<FileStatus> status = file_status_at(shard.directory, name);
    if (status && status->own_regular_file) out.push_back({status->modified_unix_ns, status->bytes, arch, name});
  }
}

// Folders that fail a check are left alone: nothing in them is ever read either.
std::vector<Candidate> collect(const ModuleFolder &layout) {
  std::vector<Candidate> all;
  for (const std::string &arch : names_in(layout)) {
    if (!is_module_arch(arch)) continue;
    const Result<ModuleFolder> arch_folder = open_subfolder(layout, arch, IfMissing::leave);
    if (!arch_folder.ok()) continue;
    for (const std::string &name : names_in(arch_folder.value())) {
      if (!is_shard_name(name)) continue;
      const Result<ModuleFolder> shard = open_subfolder(arch_folder.value(), name, IfMissing::leave);
      if (shard.ok()) collect_shard(shard.value(), arch, all);
    }
  }
  return all;
}

}  // namespace

void sweep_temporary_files(const ModuleFolder &folder) {
  const int64_t now_ns = unix_time_ns();
  for (const std::string &name : names_in(folder, temporary_prefix)) {
    const std::optional<FileStatus> status = file_status_at(folder.directory, name);
    if (status && status->own_regular_file && now_ns - status->modified_unix_ns > temporary_age_limit_ns)
      remove_file_at(folder.directory, name);
  }
}

void evict_modules(const ModuleFolder &layout, int64_t limit_bytes, const std::string &kept_name) {
  const FileLock lock(layout.directory, lock_file, eviction_lock_offset, 0);
  if (lock.outcome() == LockOutcome::busy) return;
  std::vector<Candidate> entries = collect(layout);
  int64_t total_bytes = 0;
  for (const Candidate &entry : entries) total_bytes += entry.bytes;
  if (total_bytes <= limit_bytes) return;
  std::sort(entries.begin(), entries.end(), [](const Candidate &a, const Candidate &b) {
    return a.modified_unix_ns != b.modified_unix_ns ? a.modified_unix_ns < b.modified_unix_ns : a.name < b.name;
  });
  const int64_t target_bytes = limit_bytes / 10 * 9;
  for (const Candidate &entry : entries) {
    if (total_bytes <= target_bytes) return;
    if (entry.name == kept_name) continue;
    const Result<ModuleFolder> shard = open_user_shard(layout, entry.arch, entry.name, IfMissing::leave);
    if (shard.ok() && shard.value().directory && remove_file_at(shard.value().directory, entry.name))
      total_bytes -= entry.bytes;
  }
}

}  // namespace flashcore
