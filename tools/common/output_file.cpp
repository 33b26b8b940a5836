// SPDX-License-Identifier: Apache-2.0
//
// Temporary name, write, fsync, rename; and the signal handler, whose two flags are the only mutable globals of the
// tools.
#include "output_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "uninterrupted.hpp"

namespace flashcore::tools {
namespace {

enum : sig_atomic_t { interrupt_ends, interrupt_ends_at_second, interrupt_waits };
volatile sig_atomic_t interrupt_rule = interrupt_ends;
volatile sig_atomic_t interrupt_seen = 0;

// A flag, not a mask: the library's own threads may be the ones that are given the signal.
void on_interrupt(int) {
  if (interrupt_rule == interrupt_ends || (interrupt_rule == interrupt_ends_at_second && interrupt_seen != 0))
    _exit(exit_interrupted);
  interrupt_seen = 1;
}

// 0, or errno.
int write_whole(int descriptor, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = uninterrupted([&] { return ::write(descriptor, bytes.data(), bytes.size()); });
    if (written < 0) return errno;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return 0;
}

std::string opening(const std::string &option) {
  return option.empty() ? std::string() : fmt::format("option --{}: ", option);
}

// The file behind a link; the path itself where there is nothing yet.
std::string link_target(const std::string &path) {
  char *resolved = realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string target = resolved;
  std::free(resolved);
  return target;
}

}  // namespace

void handle_interrupts(OnInterrupt mode) {
  interrupt_rule = mode == OnInterrupt::end_now ? interrupt_ends : interrupt_ends_at_second;
  struct sigaction action {};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return interrupt_seen != 0; }

HeldInterrupts::HeldInterrupts() { interrupt_rule = interrupt_waits; }

HeldInterrupts::~HeldInterrupts() {
  interrupt_rule = interrupt_ends;
  if (interrupted()) _exit(exit_interrupted);
}

OutputFile::OutputFile(OutputFile &&other) noexcept
    : option_(std::move(other.option_)),
      path_(std::move(other.path_)),
      target_(std::move(other.target_)),
      temporary_(std::exchange(other.temporary_, {})) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

Failure OutputFile::failure(int code) const {
  return {exit_failed_check, fmt::format("{}{} cannot be written: {}", opening(option_), path_, std::strerror(code))};
}

Outcome<OutputFile> OutputFile::plan(const std::string &option, const std::string &path) {
  OutputFile file;
  file.option_ = option;
  file.path_ = path;
  file.target_ = link_target(path);
  struct stat status {};
  if (stat(file.target_.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    return usage_failure(fmt::format("{}{} exists and is not a regular file", opening(option), path));
  const size_t slash = file.target_.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.target_.substr(0, slash + 1);
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    return input_failure(
        fmt::format("{}the folder of {} cannot be written: {}", opening(option), path, std::strerror(errno)));
  return file;
}

Step OutputFile::write(std::initializer_list<std::span<const uint8_t>> parts) {
  // Of others, who may write into the folder too, a file or link of such a name is left alone.
  constexpr int most_tries = 100;
  int descriptor = -1;
  for (int i = 0; descriptor < 0 && i < most_tries; ++i) {
    const std::string name = fmt::format("{}.{}{}.part", target_, getpid(), i == 0 ? "" : fmt::format("-{}", i));
    descriptor = open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor >= 0) temporary_ = name;
    if (descriptor < 0 && errno != EEXIST && errno != ELOOP) break;
  }
  if (descriptor < 0) return failure(errno);
  int code = 0;
  for (const std::span<const uint8_t> part : parts)
    if (code == 0) code = write_whole(descriptor, part);
  if (code == 0 && fsync(descriptor) != 0) code = errno;
  if (close(descriptor) != 0 && code == 0) code = errno;
  if (code != 0) return failure(code);
  return Done{};
}

Step OutputFile::commit() {
  if (rename(temporary_.c_str(), target_.c_str()) != 0) return failure(errno);
  temporary_.clear();
  return Done{};
}

}  // namespace flashcore::tools
