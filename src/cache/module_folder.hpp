// SPDX-License-Identifier: Apache-2.0
//
// One folder of module files, of either layout: what is in it, and whether a file is the entry that its name and place
// claim. Which folders there are, and what to do about a bad file, is the store's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.hpp"
#include "cache/module_entry.hpp"

namespace flashcore {

struct ModuleFolder {
  FileDescriptor directory;  // empty: the folder does not exist
  std::string path;
  std::string arch;  // that of every entry in it
  DirectoryTrust trust = DirectoryTrust::owned;
};

// A folder below `parent`, with its trust; messages begin with the whole path. `arch` is the last name.
Result<ModuleFolder> open_subfolder(const ModuleFolder &parent, const std::string &name, IfMissing if_missing);
Result<ModuleFolder> open_root_folder(const std::string &path, const DirectoryTrust &trust, IfMissing if_missing);

// <root>/v1 of the user cache, and the folder of one key in it.
inline constexpr const char *user_layout_folder = "v1";
inline constexpr const char *temporary_folder = "tmp";
inline constexpr const char *lock_file = "lock";
Result<ModuleFolder> open_user_shard(const ModuleFolder &layout, std::string_view arch, std::string_view key,
                                     IfMissing if_missing);
bool is_shard_name(std::string_view name);

struct ModuleFile {
  Result<ModuleEntry> entry;
  std::optional<FileContents> contents;  // identity and times, bytes dropped; nullopt: it could not be read
  int64_t file_bytes = 0;
};
// Read, decode and compare with the name and the folder. nullopt: there is no such file.
std::optional<ModuleFile> read_module_at(const ModuleFolder &folder, const std::string &name);

// Names of entries of this key by any compiler, newest first.
Result<std::vector<std::string>> names_of_key(const ModuleFolder &folder, std::string_view key);

}  // namespace flashcore
