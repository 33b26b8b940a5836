// SPDX-License-Identifier: Apache-2.0
//
// Runs work in a child that stops before and after each of its system calls, so that a test can kill it at every one of
// them, or let chosen calls fail. What a crash or a bad disk can do to a write is then tried completely, not by chance.
#pragma once

#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/test/unit_test.hpp>
#include <csignal>
#include <cstring>
#include <functional>
#include <ostream>
#include <vector>

#include "unit/base/scratch.hpp"

namespace stepper {

// What a chosen call is answered with.
struct Fault {
  int code;  // errno's
  bool for_ever;
};
inline std::ostream &operator<<(std::ostream &stream, const Fault &fault) {
  return stream << std::strerror(fault.code) << (fault.for_ever ? ", from then on" : ", once");
}

inline void no_preparation() {}

// `body` runs to its end unless it is killed; its value is the exit status. What `prepare` does in the child is not seen.
inline pid_t start_traced(const std::function<int()> &body, const std::function<void()> &prepare = no_preparation) {
  const pid_t child = scratch::start_child([&] {
    prepare();
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 255;
    raise(SIGSTOP);
    return body();
  });
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  BOOST_REQUIRE(WIFSTOPPED(status));
  BOOST_REQUIRE(ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
  return child;
}

// Go on to the next stop at a system call. false: the child has ended, with *status.
inline bool next_stop(pid_t child, int *status) {
  int signal = 0;
  while (true) {
    // Not BOOST_REQUIRE, which would take most of the time of the hundred thousand steps.
    if (ptrace(PTRACE_SYSCALL, child, nullptr, signal) != 0 || waitpid(child, status, 0) != child)
      BOOST_FAIL("the traced child was lost");
    if (!WIFSTOPPED(*status)) return false;
    if (WSTOPSIG(*status) == (SIGTRAP | 0x80)) return true;
    signal = WSTOPSIG(*status);
  }
}

inline int exit_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status); }

// Kill at the n-th stop. false: the child ended before, so every point has been tried.
inline bool kill_at_stop(int n, const std::function<int()> &body,
                         const std::function<void()> &prepare = no_preparation) {
  const pid_t child = start_traced(body, prepare);
  int status = 0;
  for (int i = 0; i < n; ++i)
    if (!next_stop(child, &status)) {
      BOOST_TEST(exit_code(status) == 0);
      return false;
    }
  kill(child, SIGKILL);
  BOOST_TEST(scratch::wait_for(child) == -SIGKILL);
  return true;
}

inline boost::test_tools::assertion_result can_trace(boost::unit_test::test_unit_id) {
  const pid_t child = fork();
  if (child == 0) _exit(ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  return scratch::wait_for(child) == 0 ? scratch::Reason(true) : scratch::skip_because("ptrace is not permitted here");
}

#if defined(__x86_64__)

inline bool touches_files(uint64_t number) {
  switch (number) {
    case SYS_openat:
    case SYS_mkdirat:
    case SYS_newfstatat:
    case SYS_fstat:
    case SYS_getdents64:
    case SYS_read:
    case SYS_write:
    case SYS_fsync:
    case SYS_close:
    case SYS_renameat:
    case SYS_renameat2:
    case SYS_unlinkat:
    case SYS_fcntl:
    case SYS_utimensat:
    case SYS_getrandom:
    case SYS_prlimit64:
      return true;
    default:
      return false;
  }
}

// The numbers of the calls that touch files, in their order.
inline std::vector<uint64_t> calls_of(const std::function<int()> &body) {
  const pid_t child = start_traced(body);
  int status = 0;
  std::vector<uint64_t> numbers;
  for (bool entering = true; next_stop(child, &status); entering = !entering) {
    user_regs_struct registers{};
    if (ptrace(PTRACE_GETREGS, child, nullptr, &registers) != 0) BOOST_FAIL("PTRACE_GETREGS failed");
    if (entering && touches_files(registers.orig_rax)) numbers.push_back(registers.orig_rax);
  }
  BOOST_TEST(exit_code(status) == 0);
  return numbers;
}

// Let the n-th call that touches files fail with `code`, and with `for_ever` every later one too. *exit_status: the
// child's; *failed_call: the number of the first call that failed. false: the child made fewer calls.
inline bool fail_at_call(int n, int code, bool for_ever, const std::function<int()> &body, int *exit_status,
                         uint64_t *failed_call, const std::function<void()> &prepare = no_preparation) {
  const pid_t child = start_traced(body, prepare);
  int status = 0, calls = 0;
  bool entering = true, failing = false, reached = false;
  while (next_stop(child, &status)) {
    user_regs_struct registers{};
    if (ptrace(PTRACE_GETREGS, child, nullptr, &registers) != 0) BOOST_FAIL("PTRACE_GETREGS failed");
    bool changed = false;
    if (entering && touches_files(registers.orig_rax)) {
      failing = calls == n || (for_ever && calls > n);
      if (calls == n) *failed_call = registers.orig_rax;
      reached = reached || failing;
      ++calls;
      if (failing) registers.orig_rax = ~uint64_t{0};  // no such call: nothing is done
      changed = failing;
    } else if (!entering && failing) {
      registers.rax = static_cast<uint64_t>(-static_cast<int64_t>(code));
      failing = false;
      changed = true;
    }
    if (changed && ptrace(PTRACE_SETREGS, child, nullptr, &registers) != 0) BOOST_FAIL("PTRACE_SETREGS failed");
    entering = !entering;
  }
  *exit_status = exit_code(status);
  return reached;
}

inline boost::test_tools::assertion_result can_fail_calls(boost::unit_test::test_unit_id id) { return can_trace(id); }

#else

inline std::vector<uint64_t> calls_of(const std::function<int()> &) { return {}; }
inline bool fail_at_call(int, int, bool, const std::function<int()> &, int *, uint64_t *,
                         const std::function<void()> & = no_preparation) {
  return false;
}
inline boost::test_tools::assertion_result can_fail_calls(boost::unit_test::test_unit_id) {
  return scratch::skip_because("changing a system call's result is written for x86-64 only");
}

#endif

}  // namespace stepper
