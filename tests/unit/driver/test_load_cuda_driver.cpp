// SPDX-License-Identifier: Apache-2.0
//
// Every way in which the driver can fail to start, each in a process of its own, and the fork guard.
#define BOOST_TEST_MODULE load_cuda_driver
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <thread>
#include <vector>

#include "driver/cuda_driver.hpp"
#include "fake_library.hpp"
#include "flashcore/flashcore.h"
#include "run_in_child.hpp"

using namespace flashcore;
namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

std::string describe(const Result<const CudaDriver *> &result) {
  if (result.ok()) return "OK " + result.value()->path();
  return std::string(flashcore_status_name(result.error().status)) + " " + std::to_string(result.error().driver_code) +
         " " + result.error().message;
}

std::string load_in_child(const std::string &path, const std::string &settings = "") {
  const ChildResult child = run_in_child([&] {
    setenv("FAKE_CUDA", settings.c_str(), 1);
    return describe(CudaDriver::load(path));
  });
  BOOST_TEST(child.exit_code == 0);
  BOOST_TEST(child.signal == 0);
  return child.text;
}

bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

#define CHECK_TEXT(text, part)                                                                         \
  do {                                                                                                 \
    const std::string checked_text = (text), needed_part = (part);                                     \
    BOOST_TEST(contains(checked_text, needed_part), checked_text << " [lacks " << needed_part << "]"); \
  } while (0)

struct Start {
  const char *settings, *expected;
  std::vector<const char *> parts;
};
std::ostream &operator<<(std::ostream &stream, const Start &start) { return stream << start.settings; }

const Start starts[] = {
    {"", "OK ", {"libcuda.so.1"}},
    {"version=12000", "OK ", {}},
    {"version=11080", "DRIVER_TOO_OLD 0 ", {"CUDA 11.8", "12.0", "525"}},
    {"stub=1", "NO_DRIVER 34 ", {"stub", "LD_LIBRARY_PATH"}},
    {"init=34", "NO_DRIVER 34 ", {"stub"}},
    {"init=100", "NO_DEVICE 100 ", {"CUDA_ERROR_NO_DEVICE", "CUDA_VISIBLE_DEVICES", "nvidia-smi"}},
    {"devices=0", "NO_DEVICE 100 ", {"CUDA_VISIBLE_DEVICES"}},
    {"init=101", "NO_DEVICE 101 ", {"CUDA_VISIBLE_DEVICES"}},
    {"init=802", "DEVICE_NOT_READY 802 ", {"CUDA_ERROR_SYSTEM_NOT_READY", "nvidia-fabricmanager"}},
    {"init=803", "DEVICE_NOT_READY 803 ", {"different driver versions", "restart"}},
    {"init=804", "DRIVER_TOO_OLD 804 ", {"cuda-compat", "LD_LIBRARY_PATH"}},
    {"init=3", "FORKED 3 ", {"fork", "spawn"}},
    {"init=2", "OUT_OF_DEVICE_MEMORY 2 ", {"memory"}},
    {"init=304", "CUDA_ERROR 304 ", {"/dev/nvidia"}},
    {"init=999", "CUDA_ERROR 999 ", {"nvidia_uvm"}},
    {"fail=cuDriverGetVersion:1:803", "DEVICE_NOT_READY 803 ", {"cuDriverGetVersion"}},
    {"fail=cuGetErrorName:1:1;init=100", "NO_DEVICE 100 ", {"CUresult (100)"}},
};

std::string temporary_folder() {
  char name[] = "/tmp/flashcore-test-XXXXXX";
  return mkdtemp(name);
}

std::string toolkit_stub() {
  const char *home = std::getenv("CUDA_HOME");
  return std::string(home != nullptr ? home : "/usr/local/cuda") + "/lib64/stubs/libcuda.so";
}

boost::test_tools::assertion_result stub_exists(boost::unit_test::test_unit_id) {
  struct stat status {};
  boost::test_tools::assertion_result result(stat(toolkit_stub().c_str(), &status) == 0);
  result.message() << "no toolkit stub at " << toolkit_stub();
  return result;
}

boost::test_tools::assertion_result no_driver_exists(boost::unit_test::test_unit_id) {
  const ChildResult child = run_in_child([] { return describe(CudaDriver::load("")); });
  boost::test_tools::assertion_result result(child.text.rfind("NO_DRIVER 0 ", 0) == 0);
  result.message() << "this machine has a driver library: " << child.text;
  return result;
}

}  // namespace

BOOST_DATA_TEST_CASE(each_start_has_its_status_and_a_next_step, data::make(starts), start) {
  const std::string text = load_in_child(FAKE_LIBCUDA, start.settings);
  BOOST_TEST(text.rfind(start.expected, 0) == 0u, text);
  for (const char *part : start.parts) CHECK_TEXT(text, part);
  if (text.rfind("OK", 0) != 0) CHECK_TEXT(text, FAKE_LIBCUDA);  // which library it was
}

BOOST_AUTO_TEST_CASE(an_absent_library_is_no_driver_with_what_to_install) {
  const std::string text = load_in_child("/nonexistent/libcuda.so.1");
  BOOST_TEST(text.rfind("NO_DRIVER 0 ", 0) == 0u, text);
  CHECK_TEXT(text, "/nonexistent/libcuda.so.1");
  CHECK_TEXT(text, "FLASHCORE_LIBCUDA");
}

BOOST_AUTO_TEST_CASE(the_plain_search_tells_where_it_looked, *precondition(no_driver_exists)) {
  const std::string text = load_in_child("");
  BOOST_TEST(text.rfind("NO_DRIVER 0 ", 0) == 0u, text);
  CHECK_TEXT(text, "libcuda.so.1");
  CHECK_TEXT(text, "/usr/lib/wsl/lib");
  CHECK_TEXT(text, "/run/opengl-driver/lib");
  CHECK_TEXT(text, "Install the NVIDIA driver");
}

BOOST_AUTO_TEST_CASE(files_that_are_no_driver_are_refused) {
  const std::string folder = temporary_folder();
  std::ofstream(folder + "/libcuda.so.1") << "not a library at all";
  CHECK_TEXT(load_in_child(folder + "/libcuda.so.1"), "NO_DRIVER 0 ");
  CHECK_TEXT(load_in_child("libm.so.6"), "is no CUDA driver library: it has no cuDriverGetVersion");
  std::remove((folder + "/libcuda.so.1").c_str());
  rmdir(folder.c_str());
}

// The toolkit's own stub, where the toolkit is installed: loads, resolves and refuses everything with 34.
BOOST_AUTO_TEST_CASE(the_real_stub_of_the_toolkit_is_recognised, *precondition(stub_exists)) {
  const std::string stub = toolkit_stub();
  const std::string text = load_in_child(stub);
  BOOST_TEST(text.rfind("NO_DRIVER 34 ", 0) == 0u, text);
  CHECK_TEXT(text, "stub");
}

BOOST_AUTO_TEST_CASE(a_failure_is_not_remembered) {
  const ChildResult child = run_in_child([] {
    FakeCuda fake(FAKE_LIBCUDA);
    std::string text = describe(CudaDriver::load("/nonexistent/libcuda.so.1")).substr(0, 9) + ";";
    fake.fake_set_option("init", 802);
    for (int i = 0; i < 2; ++i) text += describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 16) + ";";
    fake.fake_set_option("init", 0);
    return text + describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 2) + (CudaDriver::forked() ? ";forked" : "");
  });
  BOOST_TEST(child.text == "NO_DRIVER;DEVICE_NOT_READY;DEVICE_NOT_READY;OK");
}

// cuInit takes so long that every thread has begun before the first has finished.
BOOST_AUTO_TEST_CASE(racing_threads_get_one_driver) {
  const ChildResult child = run_in_child([] {
    FakeCuda(FAKE_LIBCUDA).fake_set_option("init_ms", 50);
    std::vector<const CudaDriver *> drivers(8, nullptr);
    std::vector<std::thread> threads;
    for (auto &driver : drivers)
      threads.emplace_back([&driver] {
        auto result = CudaDriver::load(FAKE_LIBCUDA);
        if (result.ok() && result.value()->device_count().ok()) driver = result.value();
      });
    for (auto &thread : threads) thread.join();
    for (const CudaDriver *driver : drivers)
      if (driver == nullptr || driver != drivers[0]) return std::string("different");
    return std::string(CudaDriver::forked() ? "forked" : "one");
  });
  BOOST_TEST(child.text == "one");
}

// ---- fork

BOOST_AUTO_TEST_CASE(a_child_of_a_started_process_is_told_so_and_the_parent_goes_on) {
  const ChildResult outer = run_in_child([] {
    auto loaded = CudaDriver::load(FAKE_LIBCUDA);
    if (!loaded.ok()) return std::string("not loaded");
    const CudaDriver &driver = *loaded.value();
    FakeCuda fake(FAKE_LIBCUDA);
    const auto context = driver.retain_primary_context(0);
    const ChildResult inner = run_in_child([&] {
      fake.fake_reset_calls();
      std::string text = CudaDriver::forked() ? "forked;" : "not forked;";
      text += describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 6) + ";";
      const auto synchronised = driver.stream_synchronize(nullptr);
      text += synchronised.ok() ? "OK;" : std::string(flashcore_status_name(synchronised.error().status)) + ";";
      fake.fake_reset_calls();
      driver.pop_context();
      driver.module_unload(reinterpret_cast<CudaModule>(1));
      driver.release_primary_context(context.value());
      return text + std::to_string(fake.fake_calls(""));
    });
    const bool alive = driver.stream_synchronize(nullptr).ok() || driver.device_count().ok();
    driver.release_primary_context(context.value());
    return inner.text + (alive && !CudaDriver::forked() ? ";parent alive" : ";parent dead");
  });
  BOOST_TEST(outer.text == "forked;FORKED;FORKED;0;parent alive");
}

BOOST_AUTO_TEST_CASE(a_child_of_a_process_whose_start_failed_may_start) {
  const ChildResult outer = run_in_child([] {
    FakeCuda fake(FAKE_LIBCUDA);
    fake.fake_set_option("init", 802);
    std::string text = describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 16) + ";";
    fake.fake_set_option("init", 0);
    const ChildResult inner = run_in_child([] {
      std::string inner_text =
          describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 2) + (CudaDriver::forked() ? " forked" : "");
      const ChildResult grandchild = run_in_child([] { return describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 6); });
      return inner_text + ";" + grandchild.text;
    });
    return text + inner.text;
  });
  BOOST_TEST(outer.text == "DEVICE_NOT_READY;OK;FORKED");
}

// Kernels before 4.14 wipe no page: there the process id decides.
BOOST_AUTO_TEST_CASE(without_a_wiped_page_the_process_id_tells) {
  const ChildResult outer = run_in_child([] {
    fork_guard::arm();
    fork_guard::state.wiped_word.store(nullptr);
    fork_guard::state.armed_process.store(getpid());
    const std::string own = CudaDriver::forked() ? "forked;" : "own;";
    return own + run_in_child([] { return std::string(CudaDriver::forked() ? "forked" : "own"); }).text;
  });
  BOOST_TEST(outer.text == "own;forked");
}

// Some other library of the parent started CUDA: only the driver knows, and says NOT_INITIALIZED.
BOOST_AUTO_TEST_CASE(a_child_of_a_process_started_by_another_library_is_told_so) {
  const ChildResult outer = run_in_child([] {
    void *library = dlopen(FAKE_LIBCUDA, RTLD_NOW | RTLD_LOCAL);
    reinterpret_cast<int (*)(unsigned int)>(dlsym(library, "cuInit"))(0);
    return run_in_child([] { return describe(CudaDriver::load(FAKE_LIBCUDA)).substr(0, 8); }).text;
  });
  BOOST_TEST(outer.text == "FORKED 3");
}
