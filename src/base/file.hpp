// SPDX-License-Identifier: Apache-2.0
//
// The file system as the module cache needs it: folders that only the right owner can write, entries read whole through a
// checked descriptor, and publication by temporary file, fsync and rename. Nothing here knows what the bytes mean.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace flashcore {

using Bytes = std::vector<uint8_t>;

class FileDescriptor {  // owns a descriptor
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int descriptor) : descriptor_(descriptor) {}
  FileDescriptor(FileDescriptor &&other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  FileDescriptor &operator=(FileDescriptor &&other) noexcept;
  ~FileDescriptor() { close(); }
  int get() const { return descriptor_; }
  explicit operator bool() const { return descriptor_ >= 0; }
  void close();

 private:
  int descriptor_ = -1;
};

enum class DirectoryTrust {
  owned,    // owned by the effective user, not writable by group or others: what we write to
  readable  // owned by the effective user or root, not writable by others or group: what we load modules from
};

// Open a folder; O_NOFOLLOW on the last component, ownership and mode checked on the descriptor. With `create`, missing
// parents are made with mode 0700. IO_ERROR says which rule was broken.
Result<FileDescriptor> open_directory(const std::string &path, DirectoryTrust trust, bool create);
Result<FileDescriptor> open_directory_at(const FileDescriptor &parent, const std::string &name, DirectoryTrust trust, bool create);

struct FileContents {
  Bytes bytes;
  uint64_t device = 0, inode = 0;  // identity of what was read, for remove_if_same
  int64_t modified_unix_seconds = 0;
};

// Read a whole regular file (never a link, FIFO or device; no more than limit_bytes; owned as `trust` asks).
Result<FileContents> read_file_at(const FileDescriptor &directory, const std::string &name, DirectoryTrust trust, int64_t limit_bytes);

// Write to a temporary name in `directory`, fsync, rename to `name`, fsync the folder. On failure nothing is left behind.
Status publish_file_at(const FileDescriptor &directory, const std::string &name, std::span<const uint8_t> bytes);

// Unlink `name` if it is still the file that was read.
void remove_if_same(const FileDescriptor &directory, const std::string &name, const FileContents &contents);

// Names in a folder, sorted; without "." and "..".
Result<std::vector<std::string>> list_directory(const FileDescriptor &directory);

}  // namespace flashcore
