// SPDX-License-Identifier: Apache-2.0
//
// Run a function in a forked child and bring back what it says: CUDA starts once per process, so every way in which the
// start can fail needs a process of its own. The parent must not have started CUDA itself, unless that is the point.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <string>

#include "../leave_child.hpp"

struct ChildResult {
  int exit_code = -1;  // -1: ended by a signal
  int signal = 0;
  std::string text;
};

// `body` returns what the child has to say. It must not use the test framework: the child leaves by _exit.
template <typename Body>
ChildResult run_in_child(Body body) {
  ChildResult result;
  int ends[2];
  std::fflush(nullptr);
  if (pipe(ends) != 0) return result;
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    std::string text;
    try {
      text = body();
    } catch (const std::exception &exception) {
      text = std::string("threw ") + exception.what();
    }
    const ssize_t written = write(ends[1], text.data(), text.size());
    leave_child(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  char buffer[4096];
  for (ssize_t count = 0; (count = read(ends[0], buffer, sizeof(buffer))) > 0;)
    result.text.append(buffer, static_cast<size_t>(count));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  return result;
}
