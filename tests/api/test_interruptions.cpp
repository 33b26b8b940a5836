// SPDX-License-Identifier: Apache-2.0
//
// What reaches a thread from outside while it is in the library: a cancelled thread ends after the call, which does all of its work and
// leaves the context usable; a storm of signals changes nothing; a child that is forked meanwhile is answered.
#define BOOST_TEST_MODULE interruptions
#include <atomic>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <csignal>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/time.h>

#include "extent.hpp"
#include "flashcore/flashcore_inspect.h"
#include "gpu_fixture.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

// One public call on a context of a GPU or of the CPU, with a problem in its memory.
struct Call {
  const char *name;
  int32_t device_kind;
  flashcore_status (*run)(flashcore_context, const flashcore_attention_args &);
};
std::ostream &operator<<(std::ostream &stream, const Call &call) { return stream << call.name; }

flashcore_status forward(flashcore_context context, const flashcore_attention_args &args) {
  return flashcore_attention_fwd(context, &args, nullptr, nullptr);
}
// The second one is known, and goes straight to the launch.
flashcore_status forward_twice(flashcore_context context, const flashcore_attention_args &args) {
  const flashcore_status first = forward(context, args);
  return first == FLASHCORE_OK ? forward(context, args) : first;
}
flashcore_status prepare(flashcore_context context, const flashcore_attention_args &args) {
  return flashcore_attention_prepare(context, &args, nullptr);
}
flashcore_status list(flashcore_context, const flashcore_attention_args &) {
  flashcore_module_list modules = nullptr;
  const flashcore_status status = flashcore_module_list_create(nullptr, &modules, nullptr);
  flashcore_module_list_destroy(modules);
  return status;
}
flashcore_status report(flashcore_context, const flashcore_attention_args &) {
  std::vector<char> text(16384);
  return flashcore_environment_describe(nullptr, text.data(), static_cast<int64_t>(text.size()), nullptr);
}
flashcore_status create_and_destroy(flashcore_context, const flashcore_attention_args &args) {
  const flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
  flashcore_context context = nullptr;
  flashcore_status status = flashcore_context_create(&options, &context, nullptr);
  if (status == FLASHCORE_OK) status = prepare(context, args);
  flashcore_context_destroy(context);
  return status;
}

const Call calls[] = {
    {"a first call", FLASHCORE_DEVICE_CUDA, forward},
    {"a call that is known", FLASHCORE_DEVICE_CUDA, forward_twice},
    {"a module that is loaded", FLASHCORE_DEVICE_CUDA, prepare},
    {"a list of modules", FLASHCORE_DEVICE_CUDA, list},
    {"a report", FLASHCORE_DEVICE_CUDA, report},
    {"a context", FLASHCORE_DEVICE_CUDA, create_and_destroy},
    {"a call on the CPU", FLASHCORE_DEVICE_CPU, forward},
};

struct Started {
  flashcore_context context = nullptr;
  flashcore_attention_args args = small_args();
  explicit Started(const Call &call) {
    flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
    options.device_kind = call.device_kind;
    flashcore_error error = fresh_error();
    if (flashcore_context_create(&options, &context, &error) != FLASHCORE_OK) throw std::runtime_error(error.message);
    problem.emplace(context);
    args = problem->args;
  }
  ~Started() {
    problem.reset();
    flashcore_context_destroy(context);
  }
  std::optional<GpuProblem> problem;
};

struct CancelledThread {
  const std::function<flashcore_status()> &call;
  flashcore_status status = FLASHCORE_INTERNAL;
  bool returned = false;
};

// The cancellation is asked for before the call, so that it takes effect at the first system call that allows it.
void *cancel_and_call(void *given) {
  auto &thread = *static_cast<CancelledThread *>(given);
  pthread_cancel(pthread_self());
  thread.status = thread.call();
  thread.returned = true;
  pthread_testcancel();
  return nullptr;
}

std::string call_in_cancelled_thread(const std::function<flashcore_status()> &call) {
  CancelledThread thread{call};
  pthread_t id{};
  void *result = nullptr;
  if (pthread_create(&id, nullptr, cancel_and_call, &thread) != 0 || pthread_join(id, &result) != 0) return "no thread";
  return std::string(thread.returned ? flashcore_status_name(thread.status) : "did not return") +
         (result == PTHREAD_CANCELED ? ", cancelled after it" : ", not cancelled");
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(a_cancelled_thread_ends_after_the_call, data::make(calls), call) {
  const ChildResult child = run_in_child([&call] {
    alarm(20);
    Started started(call);
    const auto run = [&] { return call.run(started.context, started.args); };
    const std::string cancelled = call_in_cancelled_thread(run);
    return cancelled + "; then " + flashcore_status_name(run());
  });
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.text == "OK, cancelled after it; then OK");
}

// Every system call of cold calls meets signals whose handler does not restart what it interrupted.
BOOST_TEST_DECORATOR(*precondition(modules_exist))
BOOST_DATA_TEST_CASE(a_storm_of_signals_changes_nothing, data::make(calls), call) {
  const ChildResult child = run_in_child([&call] {
    static volatile sig_atomic_t signals = 0;
    struct sigaction action {};
    action.sa_handler = [](int) { signals = signals + 1; };
    sigaction(SIGALRM, &action, nullptr);
    const itimerval every_50_us{{0, 50}, {0, 50}}, never{};
    setitimer(ITIMER_REAL, &every_50_us, nullptr);
    std::string text;
    for (int i = 0; (signals < 2000 || i < 20) && text.empty(); ++i) {
      Started started(call);
      const flashcore_status status = call.run(started.context, started.args);
      flashcore_context_info info{};
      info.struct_size = sizeof(info);
      if (flashcore_context_describe(started.context, &info, nullptr) != FLASHCORE_OK) text += "no description ";
      if (status != FLASHCORE_OK) text += flashcore_status_name(status);
      if (info.cache_rejected != 0 || info.cache_write_failures != 0 || info.cache_warning[0] != '\0')
        text += info.cache_warning;
    }
    setitimer(ITIMER_REAL, &never, nullptr);
    return text.empty() ? std::string("OK") : text;
  });
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.text == "OK");
}

// Whatever lock another thread holds at the fork is never let go of in the child: no function may wait for one there.
BOOST_AUTO_TEST_CASE(a_child_forked_in_the_middle_of_calls_is_answered, *precondition(modules_exist)) {
  const ChildResult outer = run_in_child([] {
    alarm(extent::is_long() ? 1200 : 150);
    Started started(calls[0]);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (const Call &call : calls)
      threads.emplace_back([&stop, &call, &started] {
        while (!stop) {
          Started own(call);
          if (call.run(own.context, own.args) != FLASHCORE_OK) std::abort();
          flashcore_context_info info{};
          info.struct_size = sizeof(info);
          if (flashcore_context_describe(started.context, &info, nullptr) != FLASHCORE_OK) std::abort();
        }
      });
    const int forks = extent::is_long() ? 1000 : 100;
    int stuck = 0;
    for (int i = 0; i < forks; ++i) {
      const ChildResult inner = run_in_child([&started] {
        alarm(10);
        flashcore_context_info info{};
        info.struct_size = sizeof(info);
        flashcore_attention_explanation explanation{};
        explanation.struct_size = sizeof(explanation);
        int64_t bytes = 0;
        std::string text;
        for (const flashcore_status status :
             {flashcore_context_describe(started.context, &info, nullptr),
              flashcore_attention_explain(started.context, &started.args, &explanation, nullptr),
              flashcore_attention_workspace_bytes(started.context, &started.args, &bytes, nullptr),
              list(started.context, started.args), prepare(started.context, started.args),
              forward(started.context, started.args)})
          text += std::string(flashcore_status_name(status)) + " ";
        flashcore_context_destroy(started.context);
        return text;
      });
      stuck += inner.signal != 0 || inner.text != "OK OK OK OK FORKED FORKED ";
    }
    stop = true;
    for (std::thread &thread : threads) thread.join();
    return std::to_string(stuck) + " of " + std::to_string(forks);
  });
  BOOST_TEST(outer.signal == 0);
  BOOST_TEST(outer.text.rfind("0 of ", 0) == 0u, outer.text);
  if (outer.text.rfind("0 of ", 0) == 0)
    extent::figure(std::atoll(outer.text.c_str() + 5),
                   "children forked in the middle of seven threads' calls, all answered");
}
