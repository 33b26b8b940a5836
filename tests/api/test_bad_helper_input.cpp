// SPDX-License-Identifier: Apache-2.0
//
// Bad input to what surrounds attention in the public C interface, on the CPU device: context options, buffers, copies,
// streams, events.
#define BOOST_TEST_DYN_LINK 1
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <functional>
#include <limits>
#include <thread>

#include "bad_input_fixture.hpp"
#include "flashcore/flashcore_inspect.h"

BOOST_FIXTURE_TEST_SUITE(bad_helper_input_suite, CpuContext)

BOOST_AUTO_TEST_CASE(context_options) {
  using Options = flashcore_context_options;
  const struct {
    const char *field;
    std::function<void(Options &)> spoil;
  } cases[] = {
      {"struct_size", [](Options &options) { options.struct_size = 4; }},
      {"device_kind", [](Options &options) { options.device_kind = 3; }},
      {"device_kind", [](Options &options) { options.device_kind = -1; }},
      {"device_ordinal", [](Options &options) { options.device_ordinal = 1; }},
      {"cpu_threads", [](Options &options) { options.cpu_threads = -1; }},
      {"cache_mode", [](Options &options) { options.cache_mode = 4; }},
      {"jit_mode", [](Options &options) { options.jit_mode = 3; }},
      {"cache_directory", [](Options &options) { std::strcpy(options.cache_directory, "relative/folder"); }},
      {"cache_directory",
       [](Options &options) { std::memset(options.cache_directory, '/', sizeof(options.cache_directory)); }},
      {"module_path", [](Options &options) { std::memset(options.module_path, '/', sizeof(options.module_path)); }},
      {"nvrtc_library",
       [](Options &options) { std::memset(options.nvrtc_library, '/', sizeof(options.nvrtc_library)); }},
  };
  for (const auto &bad : cases) {
    Options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
    options.device_kind = FLASHCORE_DEVICE_CPU;
    bad.spoil(options);
    auto created = reinterpret_cast<flashcore_context>(uintptr_t{1});
    PoisonedError poisoned;
    check_failure(poisoned, flashcore_context_create(&options, &created, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                  bad.field);
    BOOST_TEST((created == nullptr));
  }
}

BOOST_AUTO_TEST_CASE(buffers_and_copies) {
  char host[16] = {};
  uint64_t address = 77;
  void *memory = host;
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_buffer_alloc(context, -1, &address, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "bytes");
  BOOST_TEST(address == 0u);
  poisoned = {};
  check_failure(poisoned, flashcore_buffer_alloc(context, 16, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "address");
  poisoned = {};
  check_failure(poisoned,
                flashcore_buffer_alloc(context, std::numeric_limits<int64_t>::max(), &address, &poisoned.error),
                FLASHCORE_OUT_OF_DEVICE_MEMORY, "bytes");
  BOOST_TEST(flashcore_buffer_alloc(context, 0, &address, nullptr) == FLASHCORE_OK);
  BOOST_TEST(address == 0u);
  BOOST_TEST(flashcore_buffer_free(context, 0, nullptr) == FLASHCORE_OK);
  poisoned = {};
  check_failure(poisoned, flashcore_host_alloc(context, -1, &memory, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "bytes");
  BOOST_TEST((memory == nullptr));
  poisoned = {};
  check_failure(poisoned, flashcore_host_alloc(context, 16, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "memory");

  BOOST_REQUIRE(flashcore_buffer_alloc(context, 16, &address, nullptr) == FLASHCORE_OK);
  BOOST_TEST(address % 256 == 0u);
  using Call = std::function<flashcore_status(flashcore_error *)>;
  const struct {
    const char *field;
    Call call;
  } cases[] = {
      {"bytes", [&](auto *error) { return flashcore_copy_to_device(context, address, host, -1, nullptr, error); }},
      {"destination", [&](auto *error) { return flashcore_copy_to_device(context, 0, host, 1, nullptr, error); }},
      {"source", [&](auto *error) { return flashcore_copy_to_device(context, address, nullptr, 1, nullptr, error); }},
      {"bytes", [&](auto *error) { return flashcore_copy_to_host(context, host, address, -1, nullptr, error); }},
      {"destination",
       [&](auto *error) { return flashcore_copy_to_host(context, nullptr, address, 1, nullptr, error); }},
      {"source", [&](auto *error) { return flashcore_copy_to_host(context, host, 0, 1, nullptr, error); }},
      {"bytes", [&](auto *error) { return flashcore_copy_on_device(context, address, address, -1, nullptr, error); }},
      {"destination", [&](auto *error) { return flashcore_copy_on_device(context, 0, address, 1, nullptr, error); }},
      {"source", [&](auto *error) { return flashcore_copy_on_device(context, address, 0, 1, nullptr, error); }},
      {"bytes", [&](auto *error) { return flashcore_buffer_fill(context, address, 0, -1, nullptr, error); }},
      {"address", [&](auto *error) { return flashcore_buffer_fill(context, 0, 0, 1, nullptr, error); }},
  };
  BOOST_REQUIRE(flashcore_buffer_fill(context, address, 0x15a, 16, nullptr, nullptr) == FLASHCORE_OK);
  for (const auto &bad : cases) {
    poisoned = {};
    check_failure(poisoned, bad.call(&poisoned.error), FLASHCORE_INVALID_ARGUMENT, bad.field);
  }
  BOOST_TEST(flashcore_copy_to_device(context, 0, nullptr, 0, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_copy_to_host(context, host, address, 16, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_TEST(std::all_of(host, host + 16, [](char byte) { return byte == 0x5a; }));
  BOOST_TEST(flashcore_buffer_free(context, address, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(streams_and_events) {
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_stream_create(context, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "stream");
  BOOST_TEST(flashcore_stream_destroy(context, nullptr, nullptr) == FLASHCORE_OK);  // as free(NULL)
  BOOST_TEST(flashcore_event_destroy(context, nullptr, nullptr) == FLASHCORE_OK);
  poisoned = {};
  check_failure(poisoned, flashcore_event_create(context, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "event");
  poisoned = {};
  check_failure(poisoned, flashcore_event_record(context, nullptr, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "event");
  poisoned = {};
  check_failure(poisoned, flashcore_event_synchronize(context, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "event");

  poisoned = {};
  BOOST_TEST(flashcore_context_synchronize(context, &poisoned.error) == FLASHCORE_OK);  // nothing is ever under way
  BOOST_TEST(poisoned.untouched());

  void *start = nullptr, *end = nullptr;
  BOOST_REQUIRE(flashcore_event_create(context, &start, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_event_create(context, &end, nullptr) == FLASHCORE_OK);
  double elapsed_us = -1;
  poisoned = {};
  check_failure(poisoned, flashcore_event_elapsed_us(context, start, end, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "elapsed_us");
  poisoned = {};
  check_failure(poisoned, flashcore_event_elapsed_us(context, nullptr, end, &elapsed_us, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "start");
  poisoned = {};
  check_failure(poisoned, flashcore_event_elapsed_us(context, start, end, &elapsed_us, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "start");
  BOOST_REQUIRE(flashcore_event_record(context, start, nullptr, nullptr) == FLASHCORE_OK);
  poisoned = {};
  check_failure(poisoned, flashcore_event_elapsed_us(context, start, end, &elapsed_us, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "end");
  BOOST_REQUIRE(flashcore_event_record(context, end, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_TEST(flashcore_event_elapsed_us(context, start, end, &elapsed_us, nullptr) == FLASHCORE_OK);
  BOOST_TEST(elapsed_us >= 0);
  BOOST_TEST(flashcore_event_destroy(context, start, nullptr) == FLASHCORE_OK);
  BOOST_TEST(flashcore_event_destroy(context, end, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(modules_that_are_removed_and_exported) {
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  options.cache_mode = FLASHCORE_CACHE_READ_ONLY;
  std::strcpy(options.cache_directory, "/nonexistent/flashcore");
  flashcore_removal_info info{};
  info.struct_size = sizeof(info);
  for (const int32_t what : {0, 3, -1}) {
    PoisonedError poisoned;
    check_failure(poisoned, flashcore_modules_remove(&options, what, -1, 1, &info, &poisoned.error),
                  FLASHCORE_INVALID_ARGUMENT, "what");
  }
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_modules_remove(&options, FLASHCORE_REMOVE_ALL, -1, 1, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "info");
  poisoned = {};
  check_failure(poisoned, flashcore_modules_remove(&options, FLASHCORE_REMOVE_ALL, -1, 1, &info, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "cache_mode");
  options.cache_mode = FLASHCORE_CACHE_OFF;
  poisoned = {};
  check_failure(poisoned, flashcore_modules_remove(&options, FLASHCORE_REMOVE_ALL, -1, 1, &info, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "cache_directory");
  poisoned = {};
  check_failure(
      poisoned,
      flashcore_modules_compile(&options, "merge_states", "sm_89", nullptr, nullptr, nullptr, &poisoned.error),
      FLASHCORE_INVALID_ARGUMENT, "cache_directory");
  options.cache_mode = FLASHCORE_CACHE_READ_WRITE;
  info.struct_size = sizeof(info) - 1;
  poisoned = {};
  check_failure(poisoned, flashcore_modules_remove(&options, FLASHCORE_REMOVE_ALL, -1, 1, &info, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "struct_size");
  poisoned = {};
  check_failure(poisoned, flashcore_modules_export(nullptr, "/tmp", &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "path");
  poisoned = {};
  check_failure(poisoned, flashcore_modules_export("/nonexistent.fcm", nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "directory");
  poisoned = {};
  check_failure(poisoned, flashcore_modules_export("/nonexistent.fcm", "/nonexistent", &poisoned.error),
                FLASHCORE_IO_ERROR, "");
}

// With the thread sanitizer a race is a failure.
BOOST_AUTO_TEST_CASE(threads_record_and_read_one_event) {
  void *start = nullptr, *event = nullptr;
  BOOST_REQUIRE(flashcore_event_create(context, &start, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_event_create(context, &event, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_event_record(context, start, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_event_record(context, event, nullptr, nullptr) == FLASHCORE_OK);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      double elapsed_us = -1;
      for (int i = 0; i < 1000; ++i)
        wrong += thread % 2 == 0
                     ? flashcore_event_record(context, event, nullptr, nullptr) != FLASHCORE_OK
                     : flashcore_event_elapsed_us(context, start, event, &elapsed_us, nullptr) != FLASHCORE_OK ||
                           elapsed_us < 0;
    });
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(wrong == 0);
  BOOST_TEST(flashcore_event_destroy(context, start, nullptr) == FLASHCORE_OK);
  BOOST_TEST(flashcore_event_destroy(context, event, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_SUITE_END()
