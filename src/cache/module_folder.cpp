// SPDX-License-Identifier: Apache-2.0
#include "cache/module_folder.hpp"

#include <algorithm>

#include "cache/module_key.hpp"
#include "cache/module_record.hpp"

namespace flashcore {
namespace {

constexpr size_t shard_digits = 2;

// An entry under another's name is refused even though it is sound in itself.
std::string misplaced(const ModuleRecord &record, const std::string &name, const std::string &arch) {
  const std::optional<ModuleFileName> parts = parse_module_file_name(name);
  if (!parts) return "its name is not <key>.<compiler>.fcm";
  if (record.key != parts->key) return "it holds the entry of another key (" + record.key + ")";
  if (!record.compiler_id.starts_with(parts->compiler16))
    return "it holds the entry of another compiler (" + record.compiler_id + ")";
  if (record.arch != arch) return "it holds an entry for " + record.arch + " and lies in a folder for " + arch;
  return {};
}

Error in_folder(const std::string &folder_path, Error error) {
  error.message = folder_path + "/" + error.message;
  return error;
}

}  // namespace

Result<ModuleFolder> open_root_folder(const std::string &path, const DirectoryTrust &trust, IfMissing if_missing) {
  FLASHCORE_TRY_ASSIGN(FileDescriptor directory, open_directory(path, trust, if_missing));
  return ModuleFolder{std::move(directory), path, {}, trust};
}

Result<ModuleFolder> open_subfolder(const ModuleFolder &parent, const std::string &name, IfMissing if_missing) {
  Result<FileDescriptor> directory = open_directory_at(parent.directory, name, parent.trust, if_missing);
  if (!directory.ok()) return in_folder(parent.path, std::move(directory.error()));
  return ModuleFolder{std::move(directory).value(), parent.path + "/" + name, name, parent.trust};
}

Result<ModuleFolder> open_user_shard(const ModuleFolder &layout, std::string_view arch, std::string_view key,
                                     IfMissing if_missing) {
  FLASHCORE_TRY_ASSIGN(const ModuleFolder arch_folder, open_subfolder(layout, std::string(arch), if_missing));
  FLASHCORE_TRY_ASSIGN(ModuleFolder shard,
                       open_subfolder(arch_folder, std::string(key.substr(0, shard_digits)), if_missing));
  shard.arch = arch;
  return shard;
}

bool is_shard_name(std::string_view name) { return is_lower_hex(name, shard_digits); }

std::optional<ModuleFile> read_module_at(const ModuleFolder &folder, const std::string &name) {
  if (!folder.directory) return std::nullopt;
  Result<std::optional<FileContents>> read =
      read_file_at(folder.directory, name, folder.trust, module_file_limit_bytes);
  if (!read.ok()) return ModuleFile{in_folder(folder.path, std::move(read.error())), std::nullopt, 0};
  std::optional<FileContents> contents = std::move(read).value();
  if (!contents) return std::nullopt;
  const auto file_bytes = static_cast<int64_t>(contents->bytes.size());
  ModuleFile file{decode_module_entry(contents->bytes), std::nullopt, file_bytes};
  contents->bytes = Bytes();
  file.contents = std::move(contents);
  if (file.entry.ok())
    if (const std::string reason = misplaced(file.entry.value().record, name, folder.arch); !reason.empty())
      file.entry = Error{FLASHCORE_MODULE_CORRUPT, reason};
  if (!file.entry.ok())
    file.entry = in_folder(folder.path, {file.entry.error().status, name + ": " + file.entry.error().message});
  return file;
}

Result<std::vector<std::string>> names_of_key(const ModuleFolder &folder, std::string_view key) {
  std::vector<std::pair<int64_t, std::string>> found;
  if (!folder.directory) return std::vector<std::string>();
  Result<std::vector<std::string>> names = list_directory(folder.directory, key);
  if (!names.ok()) return in_folder(folder.path, std::move(names.error()));
  for (std::string &name : names.value()) {
    const std::optional<ModuleFileName> parts = parse_module_file_name(name);
    const std::optional<FileStatus> status = parts ? file_status_at(folder.directory, name) : std::nullopt;
    if (status) found.emplace_back(status->modified_unix_ns, std::move(name));
  }
  std::sort(found.rbegin(), found.rend());
  std::vector<std::string> sorted;
  for (auto &[modified, name] : found) sorted.push_back(std::move(name));
  return sorted;
}

}  // namespace flashcore
