// SPDX-License-Identifier: Apache-2.0
//
// Every rule is checked on an open descriptor, never on a path that could change in between. Messages begin with the
// name that was given; the caller puts the folder in front.
#include "base/file.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <new>
#include <system_error>

#include "base/uninterrupted.hpp"

namespace flashcore {
namespace {

Error io_error(const std::string &name, const std::string &reason) {
  return {FLASHCORE_IO_ERROR, name + ": " + reason};
}

Error system_error(const std::string &name, const char *action, int code) {
  if (code == ENOMEM) throw std::bad_alloc();  // says nothing about the file
  return io_error(name, std::string(action) + ": " + std::generic_category().message(code));
}

// ESTALE: a network file system lost the file under our feet, which is another way to be missing.
bool is_missing(int code) { return code == ENOENT || code == ESTALE; }

bool is_one_component(const std::string &name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

Error bad_component(const std::string &name) { return {FLASHCORE_INTERNAL, "\"" + name + "\" is no name of a file"}; }

std::string octal(mode_t mode) {
  std::string text = "0000";
  for (int i = 3; i >= 0; --i, mode >>= 3) text[static_cast<size_t>(i)] = static_cast<char>('0' + (mode & 7));
  return text;
}

// Clamped to 1970..2255: a file may carry any time, and the product must not overflow.
int64_t nanoseconds(const timespec &time) {
  return std::clamp<int64_t>(time.tv_sec, 0, 9'000'000'000) * 1'000'000'000 + time.tv_nsec;
}

bool has(const std::array<int64_t, 2> &ids, int64_t id) { return ids[0] == id || ids[1] == id; }

// What `trust` asks of a folder and of a file in it alike. Empty: nothing is wrong.
std::string broken_rule(const struct stat &status, const DirectoryTrust &trust) {
  const uid_t self = geteuid(), owner = status.st_uid;
  if (owner != self && !(trust.root_may_own && owner == 0) && !has(trust.owners, owner)) {
    std::string wanted = "user " + std::to_string(self);
    for (const int64_t other : trust.owners)
      if (other > 0 && other != self) wanted += " or " + std::to_string(other);
    return "it belongs to user " + std::to_string(owner) + " (mode " + octal(status.st_mode) + "); wanted: " + wanted +
           (trust.root_may_own && self != 0 ? " or root" : "");
  }
  const bool group_writes = (status.st_mode & S_IWGRP) != 0 && !has(trust.writing_groups, status.st_gid);
  const bool others_write = (status.st_mode & S_IWOTH) != 0;
  if ((group_writes || others_write) && !trust.others_may_write)
    return "group or others may write to it (mode " + octal(status.st_mode) + "), and it belongs to user " +
           std::to_string(owner) + ", group " + std::to_string(status.st_gid) +
           "; wanted: only its owner may write (chmod go-w)";
  return {};
}

// A trailing slash would make the kernel follow a link in spite of O_NOFOLLOW.
std::string without_trailing_slashes(const std::string &path) {
  size_t size = path.size();
  while (size > 1 && path[size - 1] == '/') --size;
  return path.substr(0, size);
}

int make_directories(int parent, const std::string &path, mode_t mode) {
  if (mkdirat(parent, path.c_str(), mode) == 0 || errno == EEXIST) return 0;
  const size_t slash = path.find_last_of('/');
  if (errno != ENOENT || slash == std::string::npos || slash == 0) return errno;
  if (const int code = make_directories(parent, path.substr(0, slash), mode); code != 0) return code;
  return mkdirat(parent, path.c_str(), mode) == 0 || errno == EEXIST ? 0 : errno;
}

Result<FileDescriptor> open_checked_directory(int parent, const std::string &path, const DirectoryTrust &trust,
                                              IfMissing if_missing) {
  constexpr int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  FileDescriptor directory(openat(parent, path.c_str(), flags));
  int code = errno;
  if (!directory && is_missing(code)) {
    if (if_missing == IfMissing::leave) return FileDescriptor();
    code = make_directories(parent, path, if_missing == IfMissing::create_private ? 0700 : 0755);
    if (code != 0) return system_error(path, "it could not be made", code);
    directory = FileDescriptor(openat(parent, path.c_str(), flags));
    code = errno;
  }
  struct stat status {};
  if (!directory) {
    const bool is_link = fstatat(parent, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(status.st_mode);
    if (is_link) return io_error(path, "it is a symbolic link; name the folder that it points to");
    return system_error(path, "it could not be opened", code);
  }
  if (fstat(directory.get(), &status) != 0) return system_error(path, "fstat failed", errno);
  const std::string rule = broken_rule(status, trust);
  if (!rule.empty()) return io_error(path, rule);
  return directory;
}

Status read_to_end(int descriptor, const std::string &name, Bytes &bytes) {
  size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = uninterrupted([&] { return read(descriptor, bytes.data() + filled, bytes.size() - filled); });
    if (got < 0) return system_error(name, "it could not be read", errno);
    // It shrank since fstat. That is no proof of damage: files of the cache are replaced, never changed.
    if (got == 0)
      return io_error(name,
                      "it ended after " + std::to_string(filled) + " of " + std::to_string(bytes.size()) + " bytes");
    filled += static_cast<size_t>(got);
  }
  return success();
}

// `trust` == nullptr: any owner and mode.
Result<std::optional<FileContents>> read_checked_file(int directory, const std::string &name, int flags,
                                                      const DirectoryTrust *trust, int64_t limit_bytes) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer. It means nothing to a regular file.
  const FileDescriptor file(openat(directory, name.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | flags));
  if (!file && is_missing(errno)) return std::optional<FileContents>();
  if (!file && errno == ELOOP) return io_error(name, "it is a symbolic link, or a loop of them");
  if (!file) return system_error(name, "it could not be opened", errno);
  struct stat status {};
  if (fstat(file.get(), &status) != 0) return system_error(name, "fstat failed", errno);
  if (!S_ISREG(status.st_mode)) return io_error(name, "it is no regular file");
  const std::string rule = trust == nullptr ? std::string() : broken_rule(status, *trust);
  if (!rule.empty()) return io_error(name, rule);
  if (status.st_size > limit_bytes)
    return io_error(name,
                    "it has " + std::to_string(status.st_size) + " bytes; allowed: " + std::to_string(limit_bytes));
  FileContents contents;
  contents.device = status.st_dev;
  contents.inode = status.st_ino;
  contents.modified_unix_seconds = status.st_mtim.tv_sec;
  contents.bytes.resize(static_cast<size_t>(status.st_size));
  FLASHCORE_TRY(read_to_end(file.get(), name, contents.bytes));
  return std::optional<FileContents>(std::move(contents));
}

// Process id for whoever finds one left behind by a crash, 64 random bits against every other writer.
std::string temporary_name() {
  uint64_t random = 0;
  if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
    random = static_cast<uint64_t>(unix_time_ns()) ^ static_cast<uint64_t>(reinterpret_cast<uintptr_t>(&random)) << 20;
  return std::string(temporary_prefix) + std::to_string(getpid()) + "-" + std::to_string(random);
}

int write_and_sync(FileDescriptor &file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = uninterrupted([&] { return write(file.get(), bytes.data(), bytes.size()); });
    if (wrote < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(wrote));
  }
  if (fsync(file.get()) != 0) return errno;
  return file.close();
}

// EINVAL: the file system has nothing to sync for a folder.
int sync_directory(const FileDescriptor &directory) {
  return fsync(directory.get()) == 0 || errno == EINVAL ? 0 : errno;
}

}  // namespace

FileDescriptor &FileDescriptor::operator=(FileDescriptor &&other) noexcept {
  if (this != &other) {
    close();
    descriptor_ = std::exchange(other.descriptor_, -1);
  }
  return *this;
}

int FileDescriptor::close() {
  if (descriptor_ < 0) return 0;
  // On Linux the descriptor is gone even after EINTR; a second close could hit another thread's file.
  return ::close(std::exchange(descriptor_, -1)) == 0 || errno == EINTR ? 0 : errno;
}

DirectoryTrust DirectoryTrust::beside(const std::string &file) {
  DirectoryTrust trust = readable;
  struct stat own {
  }, folder{};
  const size_t slash = file.rfind('/');
  if (slash == std::string::npos || stat(file.c_str(), &own) != 0 ||
      stat(file.substr(0, slash + 1).c_str(), &folder) != 0)
    return trust;
  if ((folder.st_mode & S_ISVTX) != 0)
    folder.st_mode &= ~mode_t{S_IWGRP | S_IWOTH};  // only owners replace what is in it
  trust.owners = {own.st_uid, folder.st_uid};
  trust.others_may_write = ((own.st_mode | folder.st_mode) & S_IWOTH) != 0;
  if ((own.st_mode & S_IWGRP) != 0) trust.writing_groups[0] = own.st_gid;
  if ((folder.st_mode & S_IWGRP) != 0) trust.writing_groups[1] = folder.st_gid;
  return trust;
}

Result<FileDescriptor> open_directory(const std::string &path, const DirectoryTrust &trust, IfMissing if_missing) {
  return open_checked_directory(AT_FDCWD, without_trailing_slashes(path), trust, if_missing);
}

Result<FileDescriptor> open_directory_at(const FileDescriptor &parent, const std::string &name,
                                         const DirectoryTrust &trust, IfMissing if_missing) {
  if (!is_one_component(name)) return bad_component(name);
  if (!parent) return FileDescriptor();
  return open_checked_directory(parent.get(), name, trust, if_missing);
}

Result<std::optional<FileContents>> read_file_at(const FileDescriptor &directory, const std::string &name,
                                                 const DirectoryTrust &trust, int64_t limit_bytes) {
  if (!is_one_component(name)) return bad_component(name);
  return read_checked_file(directory.get(), name, O_NOFOLLOW, &trust, limit_bytes);
}

Result<std::optional<FileContents>> read_file(const std::string &path, int64_t limit_bytes) {
  return read_checked_file(AT_FDCWD, path, 0, nullptr, limit_bytes);
}

Status publish_file_at(const FileDescriptor &temporary_directory, const FileDescriptor &directory,
                       const std::string &name, std::span<const uint8_t> bytes, FileSharing sharing) {
  if (!is_one_component(name)) return bad_component(name);
  // A write past RLIMIT_FSIZE raises SIGXFSZ, which ends a process that did not prepare for it: ask instead.
  rlimit limit{};
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && bytes.size() > limit.rlim_cur)
    return system_error(name, "it could not be written", EFBIG);
  const std::string temporary = temporary_name();
  const mode_t mode = sharing == FileSharing::owner_only ? 0600 : 0644;
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  FileDescriptor file(openat(temporary_directory.get(), temporary.c_str(), flags, mode));
  if (!file) return system_error(name, "no temporary file could be made", errno);
  int code = write_and_sync(file, bytes);
  if (code == 0 && renameat(temporary_directory.get(), temporary.c_str(), directory.get(), name.c_str()) != 0)
    code = errno;
  if (code != 0) {
    unlinkat(temporary_directory.get(), temporary.c_str(), 0);
    return system_error(name, "it could not be written", code);
  }
  if (code = sync_directory(directory); code != 0) {
    unlinkat(directory.get(), name.c_str(), 0);
    return system_error(name, "its folder could not be synced", code);
  }
  return success();
}

void remove_if_same(const FileDescriptor &directory, const std::string &name, const FileContents &contents) {
  struct stat status {};
  if (fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (status.st_dev == contents.device && status.st_ino == contents.inode) unlinkat(directory.get(), name.c_str(), 0);
}

std::optional<FileStatus> file_status_at(const FileDescriptor &directory, const std::string &name) {
  struct stat status {};
  if (fstatat(directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return std::nullopt;
  return FileStatus{status.st_size, nanoseconds(status.st_mtim), S_ISREG(status.st_mode) && status.st_uid == geteuid()};
}

void set_modified_now(const FileDescriptor &directory, const std::string &name) {
  utimensat(directory.get(), name.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
}

bool remove_file_at(const FileDescriptor &directory, const std::string &name) {
  return unlinkat(directory.get(), name.c_str(), 0) == 0 || is_missing(errno);
}

int64_t unix_time_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return nanoseconds(now);
}

Result<std::vector<std::string>> list_directory(const FileDescriptor &directory, std::string_view prefix) {
  // A descriptor of its own: fdopendir takes it over, and the read position of a shared one would be shared too.
  FileDescriptor own(openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!own) return system_error(".", "it could not be listed", errno);
  const std::unique_ptr<DIR, int (*)(DIR *)> stream(fdopendir(own.get()), closedir);
  if (stream == nullptr) return system_error(".", "it could not be listed", errno);
  own.release();
  std::vector<std::string> names;
  errno = 0;
  while (const dirent *entry = readdir(stream.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && name.starts_with(prefix)) names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return system_error(".", "it could not be listed", errno);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace flashcore
