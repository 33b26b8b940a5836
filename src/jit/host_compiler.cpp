// SPDX-License-Identifier: Apache-2.0
#include "jit/host_compiler.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>

#include "base/cut_text.hpp"
#include "base/file.hpp"
#include "base/uninterrupted.hpp"

namespace flashcore {
namespace {

constexpr const char *source_name = "source.cpp", *object_name = "object.so", *log_name = "log";

Error io_error(const std::string &what) { return {FLASHCORE_IO_ERROR, what + ": " + std::strerror(errno)}; }

// A folder that nobody else can look into, and that takes what is in it along.
class PrivateFolder {
 public:
  static Result<PrivateFolder> make() {
    char path[] = "/tmp/flashcore-XXXXXX";
    if (mkdtemp(path) == nullptr) return io_error("no folder for the compiler can be made in /tmp");
    return PrivateFolder(path);
  }
  PrivateFolder(PrivateFolder &&other) noexcept : path_(std::exchange(other.path_, {})) {}
  PrivateFolder(const PrivateFolder &) = delete;
  PrivateFolder &operator=(const PrivateFolder &) = delete;
  ~PrivateFolder() {
    if (path_.empty()) return;
    // Nothing here throws: memory may have run out.
    if (DIR *folder = opendir(path_.c_str()); folder != nullptr) {
      while (const dirent *entry = readdir(folder)) unlinkat(dirfd(folder), entry->d_name, 0);
      closedir(folder);
    }
    rmdir(path_.c_str());
  }
  const std::string &path() const { return path_; }
  std::string file(const char *name) const { return path_ + "/" + name; }

  Status write(const char *name, std::string_view text) const {
    FileDescriptor file(open(this->file(name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file) return io_error(this->file(name) + " cannot be made");
    while (!text.empty()) {
      const ssize_t written = uninterrupted([&] { return ::write(file.get(), text.data(), text.size()); });
      if (written <= 0) return io_error(this->file(name) + " cannot be written");
      text.remove_prefix(static_cast<size_t>(written));
    }
    return file.close() == 0 ? success() : Status(io_error(this->file(name) + " cannot be written"));
  }

 private:
  explicit PrivateFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What the child finds: no signal blocked or ignored, no descriptor of this process but the log, a process group of its own. A rule that was
// left out for want of memory would have it write to the caller's own terminal and files.
class SpawnRules {
 public:
  explicit SpawnRules(const std::string &log) {
    add(posix_spawn_file_actions_init(&actions_));
    add(posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0));
    add(posix_spawn_file_actions_addopen(&actions_, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    add(posix_spawn_file_actions_adddup2(&actions_, 1, 2));
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    add(posix_spawn_file_actions_addclosefrom_np(&actions_, 3));
#endif
    add(posix_spawnattr_init(&attributes_));
    sigset_t none, all;
    sigemptyset(&none), sigfillset(&all);
    add(posix_spawnattr_setsigmask(&attributes_, &none));
    add(posix_spawnattr_setsigdefault(&attributes_, &all));
    add(posix_spawnattr_setpgroup(&attributes_, 0));
    add(posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP));
  }
  int error() const { return error_; }  // of the first rule that could not be added; 0: none
  SpawnRules(const SpawnRules &) = delete;
  SpawnRules &operator=(const SpawnRules &) = delete;
  ~SpawnRules() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  posix_spawn_file_actions_t *actions() { return &actions_; }
  posix_spawnattr_t *attributes() { return &attributes_; }

 private:
  void add(int error) {
    if (error_ == 0) error_ = error;
  }
  int error_ = 0;
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// False: it took too long and was ended. How it ended is not asked: a program may ignore SIGCHLD, and then the kernel does not say.
bool ends_in_time(pid_t child, std::chrono::milliseconds time_limit) {
  const auto start = std::chrono::steady_clock::now();
  while (waitpid(child, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() - start > time_limit) {
      kill(-child, SIGKILL);
      uninterrupted([&] { return waitpid(child, nullptr, 0); });
      return false;
    }
    const timespec pause{0, 5'000'000};
    nanosleep(&pause, nullptr);
  }
  return true;
}

std::string log_of(const PrivateFolder &folder) {
  constexpr int64_t limit_bytes = 1 << 20;
  constexpr size_t kept_bytes = 700;
  const auto log = read_file(folder.file(log_name), limit_bytes);
  if (!log.ok() || !log.value()) return "it said nothing that can be read";
  const Bytes &bytes = log.value()->bytes;
  const std::string_view text(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  const size_t error = text.find(": error"), line = error == std::string_view::npos ? 0 : text.rfind('\n', error) + 1;
  return std::string(cut_text(text.substr(line), kept_bytes));
}

Status run(const std::string &compiler, const PrivateFolder &folder, std::chrono::milliseconds time_limit) {
  const std::string source = folder.file(source_name), object = folder.file(object_name),
                    temporary = "TMPDIR=" + folder.path();
  const char *const arguments[] = {compiler.c_str(), "-std=c++20", "-O2",          "-shared", "-fPIC", "-w",
                                   source.c_str(),   "-o",         object.c_str(), nullptr};
  const char *const environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", temporary.c_str(), nullptr};
  SpawnRules rules(folder.file(log_name));
  if (rules.error() == ENOMEM) throw std::bad_alloc();
  if (errno = rules.error(); errno != 0) return io_error("no rules can be made for " + compiler);
  pid_t child = 0;
  errno = posix_spawn(&child, compiler.c_str(), rules.actions(), rules.attributes(),
                      const_cast<char *const *>(arguments), const_cast<char *const *>(environment));
  if (errno == ENOMEM) throw std::bad_alloc();
  if (errno != 0) return io_error(compiler + " cannot be started");
  if (!ends_in_time(child, time_limit))
    return Error{FLASHCORE_COMPILE_FAILED, compiler + " took more than " + std::to_string(time_limit.count()) + " ms"};
  if (access(object.c_str(), R_OK) == 0) return success();
  return Error{FLASHCORE_COMPILE_FAILED, compiler + " could not compile: " + log_of(folder)};
}

}  // namespace

Result<std::string> find_host_compiler(const std::string &named) {
  const auto runs = [](const char *path) { return access(path, X_OK) == 0; };
  if (!named.empty()) {
    if (named.starts_with("/") && runs(named.c_str())) return named;
    return Error{FLASHCORE_UNSUPPORTED,
                 "FLASHCORE_CXX is \"" + named + "\"; allowed: the absolute path of a C++ compiler that can be run"};
  }
  std::string looked_for;
  for (const char *path : host_compilers) {
    if (runs(path)) return std::string(path);
    looked_for += (looked_for.empty() ? "" : ", ") + std::string(path);
  }
  return Error{FLASHCORE_UNSUPPORTED,
               "no C++ compiler is installed: there is none of " + looked_for + ". FLASHCORE_CXX names another one"};
}

Result<SharedObject> compile_for_host(const std::string &compiler, std::string_view source, const HostText &header,
                                      std::chrono::milliseconds time_limit) {
  FLASHCORE_TRY_ASSIGN(const PrivateFolder folder, PrivateFolder::make());
  FLASHCORE_TRY(folder.write(source_name, source));
  FLASHCORE_TRY(folder.write(header.name, header.text));
  FLASHCORE_TRY(run(compiler, folder, time_limit));
  return SharedObject::open(folder.file(object_name));
}

}  // namespace flashcore
