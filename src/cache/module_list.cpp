// SPDX-License-Identifier: Apache-2.0
//
// Module files as a person or a build asks for them: all that there are, one by its path, and writing a pack folder.
// The path of a running context is module_store's.
#include <algorithm>

#include "cache/cache_eviction.hpp"
#include "cache/module_folder.hpp"
#include "cache/module_key.hpp"
#include "cache/module_record.hpp"
#include "cache/module_store.hpp"

namespace flashcore {
namespace {

ListedModule listed(const std::string &path, ModuleOrigin origin, ModuleFile file) {
  const int64_t modified = file.contents ? file.contents->modified_unix_seconds : 0;
  return {path, origin, file.file_bytes, modified, std::move(file.entry)};
}

// A folder that exists and cannot be used is shown in the list, so that the person sees why its modules are missing.
void list_folder(const Result<ModuleFolder> &folder, const std::string &path, ModuleOrigin origin,
                 std::vector<ListedModule> &out) {
  if (!folder.ok()) return out.push_back({path, origin, 0, 0, folder.error()});
  if (!folder.value().directory) return;
  Result<std::vector<std::string>> names = list_directory(folder.value().directory);
  if (!names.ok()) return out.push_back({path, origin, 0, 0, names.error()});
  for (const std::string &name : names.value()) {
    if (!name.ends_with(".fcm")) continue;
    std::optional<ModuleFile> file = read_module_at(folder.value(), name);
    if (!file) continue;
    // Checked, and not kept: a small file may unpack to 64 MiB, and there may be hundreds.
    if (file->entry.ok()) file->entry.value().cubin = Bytes();
    out.push_back(listed(path + "/" + name, origin, std::move(*file)));
  }
}

template <typename Accept, typename Take>
Status for_each_subfolder(const ModuleFolder &parent, Accept accept, Take take) {
  if (!parent.directory) return success();
  Result<std::vector<std::string>> names = list_directory(parent.directory);
  if (!names.ok()) return Error{FLASHCORE_IO_ERROR, parent.path + "/" + names.error().message};
  for (const std::string &name : names.value())
    if (accept(name)) take(open_subfolder(parent, name, IfMissing::leave), parent.path + "/" + name);
  return success();
}

Status list_read_only_root(const std::string &path, const DirectoryTrust &trust, std::vector<ListedModule> &out) {
  FLASHCORE_TRY_ASSIGN(const ModuleFolder root, open_root_folder(path, trust, IfMissing::leave));
  return for_each_subfolder(root, is_module_arch,
                            [&](const Result<ModuleFolder> &folder, const std::string &folder_path) {
                              list_folder(folder, folder_path, ModuleOrigin::shipped, out);
                            });
}

Status list_user_root(const std::string &path, const DirectoryTrust &trust, std::vector<ListedModule> &out) {
  FLASHCORE_TRY_ASSIGN(const ModuleFolder root, open_root_folder(path, trust, IfMissing::leave));
  FLASHCORE_TRY_ASSIGN(const ModuleFolder layout, open_subfolder(root, user_layout_folder, IfMissing::leave));
  return for_each_subfolder(
      layout, is_module_arch, [&](const Result<ModuleFolder> &arch, const std::string &arch_path) {
        if (!arch.ok()) return out.push_back({arch_path, ModuleOrigin::user_cache, 0, 0, arch.error()});
        Status walked = for_each_subfolder(arch.value(), is_shard_name,
                                           [&](Result<ModuleFolder> shard, const std::string &shard_path) {
                                             if (shard.ok()) shard.value().arch = arch.value().arch;
                                             list_folder(shard, shard_path, ModuleOrigin::user_cache, out);
                                           });
        if (!walked.ok()) out.push_back({arch_path, ModuleOrigin::user_cache, 0, 0, walked.error()});
      });
}

}  // namespace

Result<std::vector<ListedModule>> list_modules(const ModuleStoreOptions &options) {
  std::vector<ListedModule> all;
  for (const std::string &root : options.read_only_roots)
    FLASHCORE_TRY(list_read_only_root(root, options.read_only_trust, all));
  if (options.mode == CacheMode::off || options.user_root.empty()) return all;
  const bool writes = options.mode == CacheMode::read_write;
  FLASHCORE_TRY(list_user_root(options.user_root, writes ? DirectoryTrust::owned : DirectoryTrust::readable, all));
  return all;
}

Result<ListedModule> read_module_file(const std::string &path) {
  FLASHCORE_TRY_ASSIGN(std::optional<FileContents> contents, read_file(path, module_file_limit_bytes));
  if (!contents) return Error{FLASHCORE_IO_ERROR, path + ": there is no such file"};
  const auto file_bytes = static_cast<int64_t>(contents->bytes.size());
  Result<ModuleEntry> entry = decode_module_entry(contents->bytes);
  return listed(path, ModuleOrigin::shipped, {std::move(entry), std::move(contents), file_bytes});
}

namespace {

// Through the checked folders, whatever lies at the path by now.
bool remove_listed(const ModuleFolder &layout, const std::string &path) {
  const std::string below = path.substr(layout.path.size() + 1);
  const size_t arch_end = below.find('/'), shard_end = below.rfind('/');
  if (arch_end == std::string::npos || arch_end == shard_end) return false;  // a folder that cannot be used
  const Result<ModuleFolder> arch = open_subfolder(layout, below.substr(0, arch_end), IfMissing::leave);
  if (!arch.ok()) return false;
  const Result<ModuleFolder> shard =
      open_subfolder(arch.value(), below.substr(arch_end + 1, shard_end - arch_end - 1), IfMissing::leave);
  if (!shard.ok()) return false;
  return !shard.value().directory || remove_file_at(shard.value().directory, below.substr(shard_end + 1));
}

}  // namespace

Result<CacheRemoval> remove_modules(const ModuleStoreOptions &options, const Unwanted &unwanted, int64_t most_bytes,
                                    bool dry_run) {
  FLASHCORE_TRY_ASSIGN(const ModuleFolder root,
                       open_root_folder(options.user_root, DirectoryTrust::owned, IfMissing::leave));
  FLASHCORE_TRY_ASSIGN(const ModuleFolder layout, open_subfolder(root, user_layout_folder, IfMissing::leave));
  if (!layout.directory) return CacheRemoval{};
  std::vector<ListedModule> files;
  FLASHCORE_TRY(list_user_root(options.user_root, DirectoryTrust::owned, files));
  std::stable_sort(files.begin(), files.end(), [](const ListedModule &a, const ListedModule &b) {
    return a.modified_unix_seconds > b.modified_unix_seconds;
  });
  CacheRemoval done;
  for (const ListedModule &file : files) {
    if (!unwanted(file) && (most_bytes < 0 || done.kept_bytes + file.file_bytes <= most_bytes)) {
      ++done.kept_files, done.kept_bytes += file.file_bytes;
      continue;
    }
    if (!dry_run && !remove_listed(layout, file.path))
      return Error{FLASHCORE_IO_ERROR,
                   file.path + " cannot be removed; " + std::to_string(done.removed_files) + " files were"};
    ++done.removed_files, done.removed_bytes += file.file_bytes;
  }
  if (dry_run) return done;
  FLASHCORE_TRY_ASSIGN(const ModuleFolder temporary, open_subfolder(layout, temporary_folder, IfMissing::leave));
  sweep_temporary_files(temporary);
  return done;
}

Status export_module_file(const std::string &path, const std::string &root) {
  FLASHCORE_TRY_ASSIGN(const std::optional<FileContents> contents, read_file(path, module_file_limit_bytes));
  if (!contents) return Error{FLASHCORE_IO_ERROR, path + ": there is no such file"};
  FLASHCORE_TRY_ASSIGN(const ModuleEntry entry, decode_module_entry(contents->bytes));
  return write_pack_entry(root, entry.record, contents->bytes);
}

Status write_pack_entry(const std::string &root, const ModuleRecord &record, std::span<const uint8_t> encoded) {
  const std::string name = module_file_name(record.key, record.compiler_id);
  if (!parse_module_file_name(name) || !is_module_arch(record.arch))
    return Error{FLASHCORE_INTERNAL,
                 "the record of " + record.module + " has no sound key, compiler id or architecture"};
  FLASHCORE_TRY_ASSIGN(const ModuleFolder folder,
                       open_root_folder(root, DirectoryTrust::owned, IfMissing::create_shared));
  FLASHCORE_TRY_ASSIGN(const ModuleFolder pack, open_subfolder(folder, record.arch, IfMissing::create_shared));
  if (const std::optional<ModuleFile> present = read_module_at(pack, name); present && present->entry.ok())
    return success();
  sweep_temporary_files(pack);
  Status published = publish_file_at(pack.directory, pack.directory, name, encoded, FileSharing::readable_by_all);
  if (!published.ok()) return Error{FLASHCORE_IO_ERROR, pack.path + "/" + published.error().message};
  return success();
}

}  // namespace flashcore
