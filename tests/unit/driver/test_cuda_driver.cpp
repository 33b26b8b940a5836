// SPDX-License-Identifier: Apache-2.0
//
// The driver's wrappers against the stand-in: what they call, and what they give back.
#define BOOST_TEST_MODULE cuda_driver
#include <boost/test/unit_test.hpp>
#include <thread>

#include "driver_fixture.hpp"
#include "tiny_cubin.hpp"

using namespace flashcore;

BOOST_FIXTURE_TEST_SUITE(devices, Device)

BOOST_AUTO_TEST_CASE(the_loaded_library_is_the_one_asked_for) {
  BOOST_TEST(driver().path() == FAKE_LIBCUDA);
  BOOST_TEST(driver().version() == 13000);
  BOOST_TEST(!CudaDriver::forked());
  BOOST_TEST(value_of(CudaDriver::load("")) == &driver());
}

BOOST_AUTO_TEST_CASE(properties_are_what_the_driver_says) {
  fake().fake_set_option("arch", 90);
  fake().fake_set_option("sms", 132);
  fake().fake_set_option("optin", 232448);
  fake().fake_set_option("shared_sm", 233472);
  const auto properties = value_of(driver().device_properties(0));
  BOOST_TEST(properties.arch == 90);
  BOOST_TEST(properties.multiprocessors == 132);
  BOOST_TEST(properties.shared_bytes_per_block_optin == 232448);
  BOOST_TEST(properties.shared_bytes_per_multiprocessor == 233472);
  BOOST_TEST(properties.memory_bytes == 24LL << 30);
  BOOST_TEST(properties.name == "Stand-in GPU 0");
}

BOOST_AUTO_TEST_CASE(an_unknown_ordinal_is_the_callers_mistake) {
  fake().fake_set_option("devices", 2);
  BOOST_TEST(value_of(driver().device_count()) == 2);
  for (const int32_t ordinal : {-1, 2, 7}) {
    const auto result = driver().device_properties(ordinal);
    BOOST_REQUIRE(!result.ok());
    BOOST_TEST(result.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(result.error().field == "device_ordinal");
    BOOST_TEST(result.error().message.find("device " + std::to_string(ordinal) + " does not exist") !=
               std::string::npos);
    BOOST_TEST(result.error().message.find("2 device(s)") != std::string::npos);
    BOOST_TEST(driver().retain_primary_context(ordinal).error().status == FLASHCORE_INVALID_ARGUMENT);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(contexts, NoContext)

// Whatever is current: nothing, somebody's own context of this device or of another, or the primary one itself.
BOOST_AUTO_TEST_CASE(the_primary_context_is_retained_and_released_whatever_is_current) {
  fake().fake_set_option("devices", 2);
  const auto first = value_of(driver().retain_primary_context(0));
  BOOST_TEST(first.context != nullptr);
  BOOST_TEST(fake().fake_open("primary_contexts") == 1);
  void *const all[] = {nullptr, fake().fake_user_context(0), fake().fake_user_context(1), first.context};
  for (void *current : all) {
    fake().fake_set_current(current);
    const auto primary = value_of(driver().retain_primary_context(0));
    BOOST_TEST(primary.context == first.context);
    BOOST_TEST(fake().fake_open("primary_contexts") == 2);
    BOOST_TEST(fake().fake_get_current() == current);
    driver().release_primary_context(primary);
    BOOST_TEST(fake().fake_open("primary_contexts") == 1);
  }
  fake().fake_set_current(nullptr);
  const auto other = value_of(driver().retain_primary_context(1));
  BOOST_TEST(other.context != first.context);
  driver().release_primary_context(other);
  driver().release_primary_context(first);
}

BOOST_AUTO_TEST_CASE(push_does_nothing_when_current_and_pop_undoes_it_otherwise) {
  const auto primary = value_of(driver().retain_primary_context(0));
  void *other = fake().fake_user_context(0);
  fake().fake_set_current(other);
  BOOST_TEST(value_of(driver().push_context(primary.context)));
  BOOST_TEST(fake().fake_get_current() == static_cast<void *>(primary.context));
  fake().fake_reset_calls();
  BOOST_TEST(!value_of(driver().push_context(primary.context)));
  BOOST_TEST(fake().fake_calls("") == 1);  // cuCtxGetCurrent and nothing else
  driver().pop_context();
  BOOST_TEST(fake().fake_get_current() == other);
  fake().fake_set_current(nullptr);
  driver().release_primary_context(primary);
}

BOOST_AUTO_TEST_CASE(a_push_that_fails_leaves_the_stack_as_it_was) {
  const auto primary = value_of(driver().retain_primary_context(0));
  for (const char *function : {"cuCtxGetCurrent", "cuCtxPushCurrent"}) {
    fake().fake_fail_function(function, 1, 201, 0);
    BOOST_TEST(!driver().push_context(primary.context).ok());
    BOOST_TEST(fake().fake_open("pushed_contexts") == 0);
    fake().fake_clear_failures();
  }
  driver().release_primary_context(primary);
}

BOOST_AUTO_TEST_CASE(a_retain_that_fails_retains_nothing) {
  fake().fake_reset_calls();
  driver().release_primary_context(value_of(driver().retain_primary_context(0)));
  const int64_t calls = fake().fake_calls("") - 1;  // without the release
  for (int64_t nth = 1; nth <= calls; ++nth) {
    fake().fake_fail_call(nth, 304, 0);
    BOOST_TEST(!driver().retain_primary_context(0).ok());
    BOOST_TEST(fake().fake_open("primary_contexts") == 0);
    fake().fake_clear_failures();
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(memory, Device)

BOOST_AUTO_TEST_CASE(allocations_are_aligned_and_nothing_costs_nothing) {
  const uint64_t address = value_of(driver().memory_alloc(1));
  BOOST_TEST(address != 0u);
  BOOST_TEST(address % 256 == 0u);
  require_ok(driver().memory_free(address));
  fake().fake_reset_calls();
  BOOST_TEST(value_of(driver().memory_alloc(0)) == 0u);
  BOOST_TEST(value_of(driver().host_alloc(0)) == nullptr);
  require_ok(driver().memory_free(0));
  require_ok(driver().host_free(nullptr));
  require_ok(driver().copy_to_device(0, nullptr, 0, nullptr));
  require_ok(driver().copy_to_host(nullptr, 0, 0, nullptr));
  require_ok(driver().copy_on_device(0, 0, 0, nullptr));
  require_ok(driver().memory_fill(0, 1, 0, nullptr));
  BOOST_TEST(fake().fake_calls("") == 0);
}

BOOST_AUTO_TEST_CASE(more_than_the_device_has_is_out_of_device_memory) {
  fake().fake_set_option("memory", 1000);
  const auto result = driver().memory_alloc(1001);
  BOOST_REQUIRE(!result.ok());
  BOOST_TEST(result.error().status == FLASHCORE_OUT_OF_DEVICE_MEMORY);
  BOOST_TEST(result.error().driver_code == 2);
}

BOOST_AUTO_TEST_CASE(copies_of_pageable_memory_have_finished_on_return) {
  const std::vector<unsigned char> source(1000, 7);
  std::vector<unsigned char> destination(1000, 0);
  const uint64_t first = value_of(driver().memory_alloc(1000)), second = value_of(driver().memory_alloc(1000));
  CudaStream stream = value_of(driver().stream_create());
  fake().fake_reset_calls();
  require_ok(driver().copy_to_device(first, source.data(), 1000, stream));
  BOOST_TEST(fake().fake_calls("cuStreamSynchronize") == 1);
  require_ok(driver().copy_on_device(second, first, 1000, stream));
  require_ok(driver().memory_fill(second + 500, 9, 500, stream));
  BOOST_TEST(fake().fake_calls("cuStreamSynchronize") == 1);
  require_ok(driver().copy_to_host(destination.data(), second, 1000, stream));
  BOOST_TEST(fake().fake_calls("cuStreamSynchronize") == 2);
  BOOST_TEST(destination[499] == 7);
  BOOST_TEST(destination[500] == 9);
  require_ok(driver().stream_destroy(stream));
  require_ok(driver().memory_free(first));
  require_ok(driver().memory_free(second));
}

BOOST_AUTO_TEST_CASE(copies_of_page_locked_memory_are_left_to_the_stream) {
  const uint64_t address = value_of(driver().memory_alloc(64));
  void *host = value_of(driver().host_alloc(128));
  fake().fake_reset_calls();
  require_ok(driver().copy_to_device(address, static_cast<char *>(host) + 64, 64, nullptr));
  require_ok(driver().copy_to_host(host, address, 64, nullptr));
  BOOST_TEST(fake().fake_calls("cuStreamSynchronize") == 0);
  require_ok(driver().host_free(host));
  require_ok(driver().memory_free(address));
}

BOOST_AUTO_TEST_CASE(addresses_are_told_apart) {
  const uint64_t address = value_of(driver().memory_alloc(64));
  const int local = 0;
  BOOST_TEST(value_of(driver().pointer_device(address + 63)) == 0);
  BOOST_TEST(value_of(driver().pointer_device(reinterpret_cast<uintptr_t>(&local))) == -1);
  require_ok(driver().memory_free(address));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(modules, Device)

BOOST_AUTO_TEST_CASE(a_kernel_is_loaded_and_launched_with_its_parameter) {
  const auto cubin = tiny_cubin("fwd_scalar", 89);
  CudaModule module = value_of(driver().module_load(cubin.data()));
  CudaFunction function = value_of(driver().module_function(module, "fwd_scalar"));
  const KernelAttributes attributes = value_of(driver().function_attributes(function));
  BOOST_TEST(attributes.registers == 64);
  BOOST_TEST(attributes.max_threads_per_block == 1024);
  BOOST_TEST(attributes.binary_arch == 89);
  require_ok(driver().set_max_dynamic_shared_bytes(function, 90000));
  BOOST_TEST(fake().fake_attribute_sets("fwd_scalar", 8, nullptr) == 1);

  struct Params {
    uint64_t words[20];
  } params{};
  params.words[19] = 0x1234;
  fake().fake_set_option("params", sizeof(params));
  fake().fake_reset_calls();
  require_ok(driver().launch(function, {{3, 2, 1}, 128, 90000}, nullptr, &params));
  BOOST_TEST(fake().fake_calls("") == 1);
  BOOST_TEST(fake().fake_calls("cuLaunchKernel") == 1);
  BOOST_REQUIRE(fake().fake_launch_count() == 1);
  const fake_launch *launch = fake().fake_get_launch(0);
  BOOST_TEST(std::string(launch->kernel) == "fwd_scalar");
  BOOST_TEST(launch->grid[0] == 3u);
  BOOST_TEST(launch->grid[1] == 2u);
  BOOST_TEST(launch->grid[2] == 1u);
  BOOST_TEST(launch->threads[0] == 128u);
  BOOST_TEST(launch->dynamic_shared_bytes == 90000u);
  BOOST_TEST(std::memcmp(launch->params, &params, sizeof(params)) == 0);
  driver().module_unload(module);
}

BOOST_AUTO_TEST_CASE(clusters_and_overlapping_launches_are_asked_for) {
  fake().fake_set_option("arch", 90);
  const auto cubin = tiny_cubin("fwd_scalar", 90);
  CudaModule module = value_of(driver().module_load(cubin.data()));
  CudaFunction function = value_of(driver().module_function(module, "fwd_scalar"));
  const uint64_t params = 0;
  fake().fake_reset_calls();
  require_ok(driver().launch(function, {{8, 2, 1}, 64, 1000, 4, 0}, nullptr, &params));
  require_ok(driver().launch(function, {{3, 1, 1}, 32, 0, 0, 1}, nullptr, &params));
  require_ok(driver().launch(function, {{8, 1, 1}, 32, 0, 2, 1}, nullptr, &params));
  BOOST_TEST(fake().fake_calls("") == 3);
  BOOST_TEST(fake().fake_calls("cuLaunchKernelEx") == 3);
  const fake_launch *first = fake().fake_get_launch(0), *second = fake().fake_get_launch(1),
                    *third = fake().fake_get_launch(2);
  BOOST_TEST((first->grid[0] == 8 && first->grid[1] == 2 && first->threads[0] == 64 && first->threads[1] == 1));
  BOOST_TEST((first->dynamic_shared_bytes == 1000 && first->cluster == 4 && first->programmatic == 0));
  BOOST_TEST((second->grid[0] == 3 && second->cluster == 0 && second->programmatic == 1));
  BOOST_TEST((third->cluster == 2 && third->programmatic == 1));
  // Three blocks are no clusters of two.
  BOOST_TEST(driver().launch(function, {{3, 1, 1}, 32, 0, 2, 0}, nullptr, &params).error().driver_code == 912);
  driver().module_unload(module);
  fake().fake_set_option("arch", 89);
}

BOOST_AUTO_TEST_CASE(modules_that_do_not_fit_are_refused_by_name) {
  const auto damaged = std::vector<uint8_t>(256, 'x');
  const auto foreign = tiny_cubin("fwd_scalar", 90);
  const auto newer = tiny_cubin("fwd_scalar", 89);
  BOOST_TEST(driver().module_load(damaged.data()).error().driver_code == 200);
  BOOST_TEST(driver().module_load(foreign.data()).error().driver_code == 209);
  BOOST_TEST(driver().module_load(foreign.data()).error().message.find("another architecture") != std::string::npos);
  fake().fake_set_option("arch", 86);
  BOOST_TEST(driver().module_load(newer.data()).error().driver_code == 209);
  fake().fake_set_option("arch", 89);
  CudaModule module = value_of(driver().module_load(newer.data()));
  BOOST_TEST(driver().module_function(module, "fwd_vector").error().driver_code == 500);
  driver().module_unload(module);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(streams, Device)

BOOST_AUTO_TEST_CASE(events_measure_microseconds) {
  CudaEvent start = value_of(driver().event_create()), end = value_of(driver().event_create());
  BOOST_TEST(!driver().event_elapsed_us(start, end).ok());  // not recorded
  require_ok(driver().event_record(start, nullptr));
  require_ok(driver().event_record(end, nullptr));
  require_ok(driver().event_synchronize(end));
  BOOST_TEST(value_of(driver().event_elapsed_us(start, end)) == 250.0);
  require_ok(driver().event_destroy(start));
  require_ok(driver().event_destroy(end));
}

// By its handle, but for the two that the driver has for default streams.
BOOST_AUTO_TEST_CASE(streams_are_told_apart) {
  const CudaStream legacy = reinterpret_cast<CudaStream>(uintptr_t{1});
  CudaStream stream = value_of(driver().stream_create());
  fake().fake_reset_calls();
  const StreamIdentity null = value_of(driver().stream_identity(nullptr));
  BOOST_TEST((null == value_of(driver().stream_identity(legacy))));
  BOOST_TEST((null != value_of(driver().stream_identity(stream))));
  BOOST_TEST((value_of(driver().stream_identity(stream)) == value_of(driver().stream_identity(stream))));
  BOOST_TEST(fake().fake_calls("") == 0);
  const StreamIdentity mine = value_of(driver().stream_identity(per_thread_stream));
  BOOST_TEST((mine == value_of(driver().stream_identity(per_thread_stream))));
  BOOST_TEST((mine != null));
  std::thread([&] {
    fake().fake_set_current(fake().fake_primary_context(0));
    BOOST_TEST((mine != value_of(driver().stream_identity(per_thread_stream))));
  }).join();
  require_ok(driver().stream_destroy(stream));
}

BOOST_AUTO_TEST_CASE(a_device_says_whether_it_has_memory_pools) {
  for (const int64_t pools : {0, 1}) {
    fake().fake_set_option("pools", pools);
    BOOST_TEST(value_of(driver().device_properties(0)).memory_pools == (pools == 1));
  }
  const uint64_t address = value_of(driver().memory_alloc_async(64, nullptr));
  BOOST_TEST(fake().fake_open("device_memory") == 1);
  require_ok(driver().memory_free_async(address, nullptr));
}

BOOST_AUTO_TEST_CASE(a_capture_is_seen_in_every_state) {
  CudaStream stream = value_of(driver().stream_create());
  BOOST_TEST(!value_of(driver().stream_is_capturing(stream)));
  fake().fake_set_capture(stream, 1);
  BOOST_TEST(value_of(driver().stream_is_capturing(stream)));
  BOOST_TEST(!value_of(driver().stream_is_capturing(nullptr)));
  fake().fake_set_capture(stream, 2);
  BOOST_TEST(value_of(driver().stream_is_capturing(stream)));
  fake().fake_set_capture(stream, 0);
  require_ok(driver().stream_destroy(stream));
}

BOOST_AUTO_TEST_SUITE_END()
