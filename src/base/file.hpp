// SPDX-License-Identifier: Apache-2.0
//
// The file system as the module cache needs it: folders that only the right owner can write, entries read whole through
// a checked descriptor, and publication by temporary file, fsync and rename. Nothing here knows what the bytes mean.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
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
  int release() { return std::exchange(descriptor_, -1); }
  int close();  // 0, or the errno: some file systems report a lost write only here

 private:
  int descriptor_ = -1;
};

// Who may own a folder, or a file in it, and who but the owner may write to it.
struct DirectoryTrust {
  static const DirectoryTrust owned;  // owned by the effective user, not writable by group or others: what we write to
  static const DirectoryTrust
      readable;  // owned by the effective user or root, not writable by others or group: what we load modules from
  // As `readable`, and what lies beside `file` may be as open as the file and its folder are: who can put another file in the place of
  // this one gains nothing by it. Where there is no such file: readable.
  static DirectoryTrust beside(const std::string &file);

  bool root_may_own = false;
  bool others_may_write = false;
  std::array<int64_t, 2> owners{-1, -1};          // may own it too; -1: none
  std::array<int64_t, 2> writing_groups{-1, -1};  // may write to it
};
inline constexpr DirectoryTrust DirectoryTrust::owned{};
inline constexpr DirectoryTrust DirectoryTrust::readable{true};

enum class IfMissing {
  leave,           // a missing folder is no error: the descriptor that comes back is empty
  create_private,  // made with its missing parents, mode 0700
  create_shared    // made with its missing parents, mode 0755 less the umask
};

// Open a folder; O_NOFOLLOW on the last component, ownership and mode checked on the descriptor. IO_ERROR says which
// rule was broken.
Result<FileDescriptor> open_directory(const std::string &path, const DirectoryTrust &trust, IfMissing if_missing);
// `name` is one component. An empty `parent` (a folder that was missing) gives an empty descriptor.
Result<FileDescriptor> open_directory_at(const FileDescriptor &parent, const std::string &name,
                                         const DirectoryTrust &trust, IfMissing if_missing);

struct FileContents {
  Bytes bytes;
  uint64_t device = 0, inode = 0;  // identity of what was read, for remove_if_same
  int64_t modified_unix_seconds = 0;
};

// Read a whole regular file (never a link, FIFO or device; no more than limit_bytes; owned as `trust` asks, not
// writable by group or others). nullopt: there is no such file.
Result<std::optional<FileContents>> read_file_at(const FileDescriptor &directory, const std::string &name,
                                                 const DirectoryTrust &trust, int64_t limit_bytes);
// The same for a file that a person named, only to look at it: any owner and mode, links are followed.
Result<std::optional<FileContents>> read_file(const std::string &path, int64_t limit_bytes);

enum class FileSharing { owner_only, readable_by_all };  // mode 0600, or 0644; both less the umask

// Write to a new name in `temporary_directory` (same file system), fsync, rename to `name` in `directory`, fsync the
// folder. On failure nothing is left behind; a killed process may leave the new name, which begins with this.
inline constexpr std::string_view temporary_prefix = ".tmp-";
Status publish_file_at(const FileDescriptor &temporary_directory, const FileDescriptor &directory,
                       const std::string &name, std::span<const uint8_t> bytes, FileSharing sharing);

// Unlink `name` if it is still the file that was read. Between the look and the unlink another process may publish:
// then a good file is lost, which is a miss, never a wrong answer.
void remove_if_same(const FileDescriptor &directory, const std::string &name, const FileContents &contents);

struct FileStatus {
  int64_t bytes = 0;
  int64_t modified_unix_ns = 0;
  bool own_regular_file = false;  // a regular file of the effective user
};
std::optional<FileStatus> file_status_at(const FileDescriptor &directory, const std::string &name);
void set_modified_now(const FileDescriptor &directory, const std::string &name);  // best effort
bool remove_file_at(const FileDescriptor &directory, const std::string &name);    // false: it is still there
int64_t unix_time_ns();

// Names in a folder that begin with `prefix`, sorted; without "." and "..".
Result<std::vector<std::string>> list_directory(const FileDescriptor &directory, std::string_view prefix = {});

}  // namespace flashcore
