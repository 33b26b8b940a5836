// SPDX-License-Identifier: Apache-2.0
//
// The file system fails, lags or is gone at every system call of a cold call, or the process is killed there. Where a module can be
// compiled the call succeeds whatever the disk says, and no other process ever finds anything but the whole module or none.
#define BOOST_TEST_MODULE file_failures
#include <sys/mman.h>

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cerrno>

#include "extent.hpp"
#include "gpu_fixture.hpp"
#include "unit/cache/syscall_stepper.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

using stepper::Fault;

// ENOENT and ESTALE are what a network file system says that shows another machine's files late.
std::vector<Fault> faults() {
  if (!extent::is_long())
    return {{EIO, false}, {EIO, true}, {EROFS, true}, {EINTR, true}, {ENOENT, true}, {ENOMEM, true}};
  std::vector<Fault> all;
  for (const int code : {ENOSPC, EDQUOT, EIO, EACCES, EROFS, EINTR, EMFILE, ENOMEM, ENOENT, ESTALE})
    for (const bool for_ever : {false, true}) all.push_back({code, for_ever});
  return all;
}

enum Exit { exit_ok, exit_no_memory, exit_no_module, exit_wrong };

char *const said = static_cast<char *>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

// A process that makes its first call of a shape, with the cache in a folder of its own.
class ColdCall {
 public:
  explicit ColdCall(int32_t jit_mode) : jit_mode_(jit_mode) { static_cast<void>(given_cubin()); }

  // Before the steps are watched: what the loader of libraries does is not the cache's.
  void start() {
    setenv("FLASHCORE_CACHE_DIR", folder().c_str(), 1);
    setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
    auto *compiler = new FakeNvrtc(FAKE_LIBNVRTC);
    compiler->fake_nvrtc_set_cubin(given_cubin().data(), static_cast<int64_t>(given_cubin().size()));
    context_ = std::make_unique<GpuContext>(jit_mode_);
    std::vector<char> report(16384);
    if (flashcore_environment_describe(nullptr, report.data(), 16384, nullptr) != FLASHCORE_OK) _exit(exit_wrong);
  }
  int call() {
    const flashcore_attention_args args = small_args();
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_attention_prepare(context_->handle, &args, &error);
    if (status == FLASHCORE_OK) return exit_ok;
    std::snprintf(said, 4096, "%s", describe(status, error).c_str());
    if (status == FLASHCORE_OUT_OF_HOST_MEMORY) return exit_no_memory;
    return status == FLASHCORE_COMPILER_UNAVAILABLE ? exit_no_module : exit_wrong;
  }
  int run() {
    return scratch::run_child([this] {
      start();
      return call();
    });
  }
  static std::string folder() { return Sandbox::get().folder() + "/faulty"; }

 private:
  // Made in a child: CUDA does not start in this process.
  static const std::string &given_cubin() {
    static const std::string cubin = run_in_child([] {
                                       const std::vector<char> bytes = cubin_of_the_small_problem();
                                       return std::string(bytes.begin(), bytes.end());
                                     }).text;
    return cubin;
  }
  int32_t jit_mode_;
  std::unique_ptr<GpuContext> context_;
};

// What every other process finds: "<sound> sound, <bad> bad".
std::string modules_in_cache() {
  return run_in_child([] {
           setenv("FLASHCORE_CACHE_DIR", ColdCall::folder().c_str(), 1);
           flashcore_module_list list = nullptr;
           int64_t sound = 0, bad = 0;
           if (flashcore_module_list_create(nullptr, &list, nullptr) != FLASHCORE_OK) return std::string("no list");
           for (int64_t i = 0; i < flashcore_module_list_count(list); ++i) {
             flashcore_module_info info{};
             info.struct_size = sizeof(info);
             if (flashcore_module_list_get(list, i, &info, nullptr) != FLASHCORE_OK || info.status != FLASHCORE_OK)
               ++bad;
             else
               ++sound;
           }
           return std::to_string(sound) + " sound, " + std::to_string(bad) + " bad";
         })
      .text;
}

void prepare_cache(bool populated) {
  std::filesystem::remove_all(ColdCall::folder());
  if (populated) BOOST_REQUIRE(ColdCall(FLASHCORE_JIT_ALLOWED).run() == exit_ok);
}

// Returns how many faults were tried.
int64_t fail_every_call(const Fault &fault, bool populated, int32_t jit_mode) {
  int calls = 0;
  for (;; ++calls) {
    if (!populated || calls == 0) prepare_cache(populated);
    ColdCall cold(jit_mode);
    int exit_status = 0;
    uint64_t failed_call = 0;
    if (!stepper::fail_at_call(
            calls, fault.code, fault.for_ever, [&] { return cold.call(); }, &exit_status, &failed_call,
            [&] { cold.start(); }))
      break;
    BOOST_TEST_CONTEXT("call " << calls << ", system call " << failed_call) {
      const bool may_fail = (fault.code == ENOMEM && exit_status == exit_no_memory) ||
                            (jit_mode == FLASHCORE_JIT_FORBIDDEN && exit_status == exit_no_module);
      BOOST_TEST((exit_status == exit_ok || may_fail), "exit " << exit_status << ": " << said);
      const std::string found = modules_in_cache();
      BOOST_TEST((found == "1 sound, 0 bad" || (!populated && found == "0 sound, 0 bad")), found);
    }
  }
  BOOST_TEST(ColdCall(jit_mode).run() == (populated || jit_mode == FLASHCORE_JIT_ALLOWED ? exit_ok : exit_no_module));
  return calls;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_TEST_DECORATOR(*precondition(modules_exist) * precondition(stepper::can_fail_calls))
BOOST_DATA_TEST_CASE(a_call_that_compiles, data::make(faults()), fault) {
  const int64_t tried = fail_every_call(fault, false, FLASHCORE_JIT_ALLOWED);
  BOOST_TEST(tried > 40);
  extent::figure(tried, "faults of the file system in a call that compiles and keeps its module");
}

BOOST_TEST_DECORATOR(*precondition(modules_exist) * precondition(stepper::can_fail_calls))
BOOST_DATA_TEST_CASE(a_call_that_finds_its_module,
                     data::make({FLASHCORE_JIT_ALLOWED, FLASHCORE_JIT_FORBIDDEN}) * data::make(faults()), jit_mode,
                     fault) {
  const int64_t tried = fail_every_call(fault, true, jit_mode);
  BOOST_TEST(tried > 12);
  extent::figure(tried, "faults of the file system in a call that finds its module");
}

// The processes that come after a killed one find what was there before, or the whole module, and work.
BOOST_TEST_DECORATOR(*precondition(modules_exist) * precondition(stepper::can_trace))
BOOST_AUTO_TEST_CASE(killed_at_every_system_call) {
  const int step = extent::is_long() ? 1 : 3;
  int killed = 0;
  for (int stop = 1;; stop += step, ++killed) {
    prepare_cache(false);
    ColdCall cold(FLASHCORE_JIT_ALLOWED);
    if (!stepper::kill_at_stop(
            stop, [&] { return cold.call(); }, [&] { cold.start(); }))
      break;
    const std::string found = modules_in_cache();
    BOOST_TEST((found == "1 sound, 0 bad" || found == "0 sound, 0 bad"), found);
    BOOST_TEST(ColdCall(FLASHCORE_JIT_ALLOWED).run() == exit_ok);
    BOOST_TEST(modules_in_cache() == "1 sound, 0 bad");
  }
  BOOST_TEST(killed > 60);
  extent::figure(killed, "processes killed in a call that compiles, one at each system call's beginning and end");
}

// A damaged entry, a cache that may not be written, and a compiler that fails: one error, which names them.
BOOST_AUTO_TEST_CASE(everything_fails_at_once, *precondition(modules_exist)) {
  prepare_cache(true);
  std::string entry;
  for (const std::string &path : scratch::files_below(ColdCall::folder()))
    if (path.ends_with(".fcm")) entry = path;
  flashcore::Bytes bytes = scratch::read_bytes(entry);
  bytes[bytes.size() / 2] = static_cast<uint8_t>(bytes[bytes.size() / 2] ^ 1);
  scratch::write_file(entry, bytes);
  setenv("FLASHCORE_CACHE", "ro", 1);
  ColdCall cold(FLASHCORE_JIT_ALLOWED);
  const int exit_status = scratch::run_child([&cold] {
    cold.start();
    FakeNvrtc(FAKE_LIBNVRTC).fake_nvrtc_fail_function("nvrtcCompileProgram", 1, 7, 1);
    return cold.call();
  });
  unsetenv("FLASHCORE_CACHE");
  BOOST_TEST(exit_status == exit_no_module);
  for (const char *part : {"COMPILER_UNAVAILABLE 7 ", "nvrtcCompileProgram"}) CHECK_TEXT(said, part);
  BOOST_TEST((scratch::read_bytes(entry) == bytes));
}
