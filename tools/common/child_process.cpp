// SPDX-License-Identifier: Apache-2.0
#include "child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "measuring.hpp"

extern char **environ;

namespace flashcore::tools {
namespace {

constexpr size_t most_output_bytes = 1 << 20;  // of each stream; more is read and dropped

class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_, O_CLOEXEC) != 0) ends_[0] = ends_[1] = -1;
  }
  Pipe(const Pipe &) = delete;
  Pipe &operator=(const Pipe &) = delete;
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  bool ok() const { return ends_[0] >= 0; }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_end(int end) {
    if (ends_[end] >= 0) close(ends_[end]);
    ends_[end] = -1;
  }
  // False at the end of the stream.
  bool read_some(std::string &text) const {
    char block[4096];
    const ssize_t got = read(ends_[0], block, sizeof(block));
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    text.append(block,
                std::min(static_cast<size_t>(got), most_output_bytes - std::min(text.size(), most_output_bytes)));
    return got > 0;
  }

 private:
  int ends_[2];
};

// 0, or errno.
int spawn(const std::vector<std::string> &words, const Pipe &out, const Pipe &err, pid_t &process) {
  std::vector<char *> arguments;
  for (const std::string &word : words) arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  if (const int code = posix_spawn_file_actions_init(&actions); code != 0) return code;
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write_end(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end(), STDERR_FILENO);
  const int code = posix_spawnp(&process, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return code;
}

int wait_for(pid_t process) {
  int status = 0;
  while (waitpid(process, &status, 0) < 0)
    if (errno != EINTR) return 1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

Outcome<FinishedProcess> run_process(const std::vector<std::string> &words, int timeout_seconds) {
  Pipe out, err;
  if (!out.ok() || !err.ok())
    return Failure{exit_failed_check, fmt::format("{} cannot be started: {}", words[0], std::strerror(errno))};
  FinishedProcess finished;
  finished.started_us = clock_us();
  pid_t process = 0;
  if (const int code = spawn(words, out, err, process); code != 0)
    return Failure{exit_failed_check, fmt::format("{} cannot be started: {}", words[0], std::strerror(code))};
  out.close_end(1);
  err.close_end(1);
  const double deadline_us = finished.started_us + timeout_seconds * 1e6;
  bool out_open = true, err_open = true;
  while (out_open || err_open) {
    pollfd watched[2] = {{out_open ? out.read_end() : -1, POLLIN, 0}, {err_open ? err.read_end() : -1, POLLIN, 0}};
    const int ready = poll(watched, 2, static_cast<int>(std::max(0.0, deadline_us - clock_us()) / 1000) + 1);
    if (ready < 0 && errno != EINTR) break;
    if (ready == 0 && clock_us() >= deadline_us && !finished.timed_out) {
      finished.timed_out = true;
      kill(process, SIGKILL);
      break;
    }
    if (ready > 0 && watched[0].revents != 0) out_open = out.read_some(finished.out);
    if (ready > 0 && watched[1].revents != 0) err_open = err.read_some(finished.err);
  }
  finished.exit_code = wait_for(process);
  return finished;
}

}  // namespace flashcore::tools
