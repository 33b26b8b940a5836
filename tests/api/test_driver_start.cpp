// SPDX-License-Identifier: Apache-2.0
//
// The public library where CUDA cannot start, and after a fork. CUDA starts once per process, so every case has its
// own; this process itself never starts it.
#define BOOST_TEST_MODULE driver_start
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "gpu_fixture.hpp"
#include "malloc_counter.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

std::string create_cuda() {
  const flashcore_context_options options = gpu_options(FLASHCORE_JIT_FORBIDDEN);
  flashcore_context context = nullptr;
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_context_create(&options, &context, &error);
  if (status == FLASHCORE_OK) flashcore_context_destroy(context);
  return describe(status, error);
}

// "CPU: why" or "CUDA: why", then what a small attention on it gave.
std::string create_auto() {
  flashcore_context context = nullptr;
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_context_create(nullptr, &context, &error);
  if (status != FLASHCORE_OK) return describe(status, error);
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  if (flashcore_context_describe(context, &info, &error) != FLASHCORE_OK) return error.message;
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  if (flashcore_context_describe_device(context, &device, &error) != FLASHCORE_OK) return error.message;
  std::string text = device.kind == FLASHCORE_DEVICE_CPU ? "CPU: " : "CUDA: ";
  text += info.device_reason;
  flashcore_context_destroy(context);
  return text;
}

// The count and what came with it; then, where it is 0, why there is no first device.
std::string count_devices() {
  int32_t count = -1;
  flashcore_error error = fresh_error();
  flashcore_status status = flashcore_device_count(&count, &error);
  const std::string counted = std::to_string(count) + " " + describe(status, error);
  if (count > 0) return counted;
  flashcore_device_info info{};
  info.struct_size = sizeof(info);
  status = flashcore_device_describe(0, &info, &error);
  return counted + "|" + describe(status, error);
}

struct Start {
  const char *library;   // nullptr: the stand-in
  const char *settings;  // FAKE_CUDA
  const char *status;    // of FLASHCORE_DEVICE_CUDA
  const char *part;      // of every message
};
std::ostream &operator<<(std::ostream &stream, const Start &start) {
  return stream << (start.library != nullptr ? start.library : "stand-in") << " " << start.settings;
}

const Start starts[] = {
    {"/nonexistent/libcuda.so.1", "", "NO_DRIVER 0 ", "/nonexistent/libcuda.so.1"},
    {nullptr, "stub=1", "NO_DRIVER 34 ", "stub"},
    {nullptr, "version=11080", "DRIVER_TOO_OLD 0 ", "11.8"},
    {nullptr, "devices=0", "NO_DEVICE 100 ", "CUDA_VISIBLE_DEVICES"},
    {nullptr, "init=100", "NO_DEVICE 100 ", "CUDA_VISIBLE_DEVICES"},
    {nullptr, "init=802", "DEVICE_NOT_READY 802 ", "nvidia-fabricmanager"},
    {nullptr, "init=803", "DEVICE_NOT_READY 803 ", "different driver versions"},
    {nullptr, "init=804", "DRIVER_TOO_OLD 804 ", "cuda-compat"},
    {nullptr, "init=3", "FORKED 3 ", "fork"},
    {nullptr, "init=999", "CUDA_ERROR 999 ", "nvidia_uvm"},
    {nullptr, "fail=cuDevicePrimaryCtxRetain:1:46:sticky", "DEVICE_NOT_READY 46 ", "holds the device"},
    {nullptr, "arch=75", "UNSUPPORTED 0 ", "7.5"},
};

struct Folder {
  Folder() { Sandbox::get(); }
};

template <typename Body>
std::string in_child(const Start &start, Body body) {
  const ChildResult child = run_in_child([&] {
    setenv("FAKE_CUDA", start.settings, 1);
    if (start.library != nullptr) setenv("FLASHCORE_LIBCUDA", start.library, 1);
    return body();
  });
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.exit_code == 0);
  return child.text;
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

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Folder);

BOOST_DATA_TEST_CASE(a_gpu_that_cannot_start_is_an_error_where_it_was_asked_for, data::make(starts), start) {
  const std::string text = in_child(start, create_cuda);
  BOOST_TEST(text.rfind(start.status, 0) == 0u, text);
  CHECK_TEXT(text, start.part);
}

BOOST_DATA_TEST_CASE(auto_falls_to_the_cpu_and_says_why, data::make(starts), start) {
  const std::string text = in_child(start, create_auto);
  BOOST_TEST(text.rfind("CPU: no usable GPU: ", 0) == 0u, text);
  CHECK_TEXT(text, start.part);
}

BOOST_AUTO_TEST_CASE(auto_takes_a_gpu_that_works) {
  BOOST_TEST(in_child({nullptr, "", "", ""}, create_auto) == "CUDA: the first usable GPU");
}

BOOST_DATA_TEST_CASE(counting_devices_says_none_and_describing_one_says_why, data::make(starts), start) {
  const std::string text = in_child(start, count_devices);
  const std::string status = start.status;
  const bool counts = contains(start.settings, "arch=75") || contains(start.settings, "fail=cuDevicePrimaryCtxRetain");
  if (counts) {
    BOOST_TEST(text.rfind("1 OK", 0) == 0u, text);
  } else if (status.rfind("FORKED", 0) == 0) {
    BOOST_TEST(text.rfind("0 FORKED", 0) == 0u, text);
  } else {
    BOOST_TEST(text.rfind("0 OK 0 [] |" + status, 0) == 0u, text);
    CHECK_TEXT(text, start.part);
  }
}

BOOST_AUTO_TEST_CASE(the_real_stub_of_the_toolkit_is_no_driver, *precondition(stub_exists)) {
  const std::string stub = toolkit_stub();
  const std::string text = in_child({stub.c_str(), "", "", ""}, create_cuda);
  BOOST_TEST(text.rfind("NO_DRIVER 34 ", 0) == 0u, text);
}

// Nothing of CUDA is in the process before a call needs it, nor after calls that do not.
BOOST_AUTO_TEST_CASE(calls_that_need_no_gpu_load_no_driver) {
  const std::string text = in_child({nullptr, "", "", ""}, [] {
    flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
    options.device_kind = FLASHCORE_DEVICE_CPU;
    flashcore_context context = nullptr;
    if (flashcore_version() == 0 || flashcore_context_create(&options, &context, nullptr) != FLASHCORE_OK)
      return std::string("failed");
    flashcore_context_destroy(context);
    return std::string(dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD) == nullptr &&
                               dlopen(FAKE_LIBCUDA, RTLD_NOW | RTLD_NOLOAD) == nullptr
                           ? "none"
                           : "loaded");
  });
  BOOST_TEST(text == "none");
}

// ---- the warm path

namespace {

boost::test_tools::assertion_result strict_mode_exists(boost::unit_test::test_unit_id) {
  const ChildResult child = run_in_child([] {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0) syscall(SYS_exit, 42);
    return std::string();
  });
  boost::test_tools::assertion_result result(child.exit_code == 42);
  result.message() << "this system has no seccomp strict mode";
  return result;
}

}  // namespace

// In a process that the kernel ends at its first system call and whose environment cannot be read.
BOOST_AUTO_TEST_CASE(a_warm_call_makes_no_system_call_and_reads_no_environment,
                     *precondition(modules_exist) * precondition(no_sanitizer) * precondition(strict_mode_exists)) {
  const auto warm_calls_in_strict_mode = [](bool misbehave) {
    return run_in_child([misbehave] {
      GpuContext context;
      GpuProblem problem(context.handle);
      flashcore_error error = fresh_error();
      fake().fake_set_option("record", 0);
      if (flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) != FLASHCORE_OK)
        return std::string(error.message);
      environ = reinterpret_cast<char **>(8);
      if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return std::string("no strict mode");
      int failures = 0;
      for (int i = 0; i < 1000; ++i)
        failures += flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) != FLASHCORE_OK;
      if (misbehave) syscall(SYS_getppid);
      syscall(SYS_exit, failures == 0 ? 42 : 43);
      return std::string();
    });
  };
  const ChildResult misbehaved = warm_calls_in_strict_mode(true);
  BOOST_TEST(misbehaved.signal == SIGKILL);
  const ChildResult child = warm_calls_in_strict_mode(false);
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.exit_code == 42, child.text);
}

// ---- fork

namespace {

// Every function that takes a context, in the child of the process that made it: name and status where it is not
// FORKED.
std::string statuses_that_are_not_forked(flashcore_context context, const flashcore_attention_args &args,
                                         uint64_t buffer, void *stream, void *event) {
  char bytes[16] = {};
  uint64_t address = 0;
  void *pointer = nullptr;
  double elapsed_us = 0;
  const std::pair<const char *, flashcore_status> statuses[] = {
      {"fwd", flashcore_attention_fwd(context, &args, nullptr, nullptr)},
      {"prepare", flashcore_attention_prepare(context, &args, nullptr)},
      {"synchronize", flashcore_context_synchronize(context, nullptr)},
      {"buffer_alloc", flashcore_buffer_alloc(context, 16, &address, nullptr)},
      {"host_alloc", flashcore_host_alloc(context, 16, &pointer, nullptr)},
      {"copy_to_device", flashcore_copy_to_device(context, buffer, bytes, 16, nullptr, nullptr)},
      {"copy_to_host", flashcore_copy_to_host(context, bytes, buffer, 16, nullptr, nullptr)},
      {"copy_on_device", flashcore_copy_on_device(context, buffer, buffer + 16, 16, nullptr, nullptr)},
      {"buffer_fill", flashcore_buffer_fill(context, buffer, 1, 16, nullptr, nullptr)},
      {"buffer_free", flashcore_buffer_free(context, buffer, nullptr)},
      {"stream_create", flashcore_stream_create(context, &pointer, nullptr)},
      {"stream_synchronize", flashcore_stream_synchronize(context, stream, nullptr)},
      {"stream_destroy", flashcore_stream_destroy(context, stream, nullptr)},
      {"event_create", flashcore_event_create(context, &pointer, nullptr)},
      {"event_record", flashcore_event_record(context, event, stream, nullptr)},
      {"event_synchronize", flashcore_event_synchronize(context, event, nullptr)},
      {"event_elapsed_us", flashcore_event_elapsed_us(context, event, event, &elapsed_us, nullptr)},
      {"event_destroy", flashcore_event_destroy(context, event, nullptr)},
  };
  std::string text;
  // What needs no GPU is answered.
  int64_t workspace_bytes = 0;
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  if (flashcore_context_describe(context, &info, nullptr) != FLASHCORE_OK) text += "context_describe ";
  if (flashcore_context_describe_device(context, &device, nullptr) != FLASHCORE_OK) text += "context_describe_device ";
  if (flashcore_attention_explain(context, &args, &explanation, nullptr) != FLASHCORE_OK) text += "explain ";
  if (flashcore_attention_workspace_bytes(context, &args, &workspace_bytes, nullptr) != FLASHCORE_OK)
    text += "workspace_bytes ";
  for (const auto &[name, status] : statuses)
    if (status != FLASHCORE_FORKED) text += std::string(name) + "=" + flashcore_status_name(status) + " ";
  int32_t count = 0;
  if (flashcore_device_count(&count, nullptr) != FLASHCORE_FORKED) text += "device_count ";
  const std::string created = create_cuda();
  if (created.rfind("FORKED", 0) != 0) text += "context_create=" + created;
  return text;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_forked_child_is_told_so_by_every_function_and_the_parent_goes_on) {
  const ChildResult outer = run_in_child([] {
    GpuContext context;
    GpuProblem problem(context.handle);
    void *stream = nullptr, *event = nullptr;
    if (flashcore_stream_create(context.handle, &stream, nullptr) != FLASHCORE_OK ||
        flashcore_event_create(context.handle, &event, nullptr) != FLASHCORE_OK)
      return std::string("not started");
    const ChildResult inner = run_in_child([&] {
      fake().fake_reset_calls();
      std::string text = statuses_that_are_not_forked(context.handle, problem.args, problem.memory, stream, event);
      flashcore_context_destroy(context.handle);
      return text + std::to_string(fake().fake_calls("")) + " calls";
    });
    const bool alive = flashcore_stream_synchronize(context.handle, stream, nullptr) == FLASHCORE_OK &&
                       flashcore_event_destroy(context.handle, event, nullptr) == FLASHCORE_OK &&
                       flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK;
    return inner.text + (inner.signal == 0 ? "" : " crash") + (alive ? ", parent alive" : ", parent dead");
  });
  BOOST_TEST(outer.text == "0 calls, parent alive");
}

BOOST_AUTO_TEST_CASE(a_child_forked_before_the_first_use_works) {
  const ChildResult outer = run_in_child([] {
    const std::string before = flashcore_status_name(FLASHCORE_OK);
    return before + " " + run_in_child([] { return create_cuda().substr(0, 2); }).text;
  });
  BOOST_TEST(outer.text == "OK OK");
}
