// SPDX-License-Identifier: Apache-2.0
//
// A failure of any call of the driver's wrappers is an error with the driver's number, and leaves nothing behind.
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <functional>
#include <vector>

#include "driver_fixture.hpp"
#include "tiny_cubin.hpp"

using namespace flashcore;
namespace data = boost::unit_test::data;

namespace {

struct Expectation {
  int32_t code;
  flashcore_status opening, working;
};
std::ostream &operator<<(std::ostream &stream, const Expectation &expectation) { return stream << expectation.code; }

const Expectation expectations[] = {
    {1, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {2, FLASHCORE_OUT_OF_DEVICE_MEMORY, FLASHCORE_OUT_OF_DEVICE_MEMORY},
    {3, FLASHCORE_FORKED, FLASHCORE_CUDA_ERROR},
    {34, FLASHCORE_NO_DRIVER, FLASHCORE_CUDA_ERROR},
    {46, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR},
    {100, FLASHCORE_NO_DEVICE, FLASHCORE_CUDA_ERROR},
    {200, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {209, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {222, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {304, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {700, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST},
    {716, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST},
    {719, FLASHCORE_CONTEXT_LOST, FLASHCORE_CONTEXT_LOST},
    {802, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR},
    {803, FLASHCORE_DEVICE_NOT_READY, FLASHCORE_CUDA_ERROR},
    {804, FLASHCORE_DRIVER_TOO_OLD, FLASHCORE_CUDA_ERROR},
    {999, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},
    {31337, FLASHCORE_CUDA_ERROR, FLASHCORE_CUDA_ERROR},  // a number that nobody knows yet
};

void check_error(const Error &error, const Expectation &expectation, flashcore_status status, const std::string &call) {
  BOOST_TEST(error.status == status);
  BOOST_TEST(error.driver_code == expectation.code);
  BOOST_TEST(error.message.find(call + " failed with ") != std::string::npos, error.message);
  BOOST_TEST(error.message.find("(" + std::to_string(expectation.code) + ")") != std::string::npos, error.message);
  const bool known = expectation.code != 31337;
  BOOST_TEST((error.message.back() == '.' && error.message.find("). ") != std::string::npos) == known, error.message);
}

}  // namespace

BOOST_DATA_TEST_CASE_F(Device, every_code_has_its_status_in_each_stage, data::make(expectations), expectation) {
  fake().fake_fail_function("cuDeviceGetCount", 1, expectation.code, 0);
  const auto count = driver().device_count();
  BOOST_REQUIRE(!count.ok());
  check_error(count.error(), expectation, expectation.opening, "cuDeviceGetCount");
  fake().fake_fail_function("cuStreamSynchronize", 1, expectation.code, 0);
  const auto synchronised = driver().stream_synchronize(nullptr);
  BOOST_REQUIRE(!synchronised.ok());
  check_error(synchronised.error(), expectation, expectation.working, "cuStreamSynchronize");
  require_ok(driver().stream_synchronize(nullptr));
}

BOOST_FIXTURE_TEST_CASE(the_driver_names_the_error_where_it_can, Device) {
  fake().fake_fail_function("cuStreamSynchronize", 1, 700, 0);
  BOOST_TEST(driver().stream_synchronize(nullptr).error().message.find("CUDA_ERROR_ILLEGAL_ADDRESS (700)") !=
             std::string::npos);
  fake().fake_fail_function("cuStreamSynchronize", 1, 700, 0);
  fake().fake_fail_function("cuGetErrorName", 1, 1, 0);
  BOOST_TEST(driver().stream_synchronize(nullptr).error().message.find("CUresult (700)") != std::string::npos);
}

// Every wrapper that can fail does so when any of its driver calls fails, with that call's number, and works again
// after.
BOOST_FIXTURE_TEST_CASE(every_call_of_every_wrapper_may_fail, Device) {
  const auto cubin = tiny_cubin("fwd_scalar", 89);
  CudaModule module = value_of(driver().module_load(cubin.data()));
  CudaFunction function = value_of(driver().module_function(module, "fwd_scalar"));
  const uint64_t buffer = value_of(driver().memory_alloc(64));
  CudaEvent event = value_of(driver().event_create());
  require_ok(driver().event_record(event, nullptr));
  char host[64] = {};
  const auto &d = driver();
  // What a wrapper made, it hands to `keep`, so that the next line can give it back.
  const auto code = [](const auto &result) { return result.ok() ? 0 : result.error().driver_code; };
  std::vector<CudaDriver::PrimaryContext> retained;
  const std::pair<const char *, std::function<int32_t()>> wrappers[] = {
      {"device_count", [&] { return code(d.device_count()); }},
      {"device_properties", [&] { return code(d.device_properties(0)); }},
      {"retain_primary_context",
       [&] {
         const auto result = d.retain_primary_context(0);
         if (result.ok())
           retained.push_back(result.value());  // the release is void, so none of the calls that may fail here
         return code(result);
       }},
      {"push_context", [&] { return code(d.push_context(static_cast<CudaContext>(fake().fake_get_current()))); }},
      {"context_synchronize", [&] { return code(d.context_synchronize()); }},
      {"module_load",
       [&] {
         const auto result = d.module_load(cubin.data());
         if (result.ok()) d.module_unload(result.value());
         return code(result);
       }},
      {"module_function", [&] { return code(d.module_function(module, "fwd_scalar")); }},
      {"function_attributes", [&] { return code(d.function_attributes(function)); }},
      {"set_max_dynamic_shared_bytes", [&] { return code(d.set_max_dynamic_shared_bytes(function, 50000)); }},
      {"launch",
       [&] {
         return code(d.launch(function, {{1, 1, 1}, 32, 0}, nullptr, host));
       }},
      {"stream_is_capturing", [&] { return code(d.stream_is_capturing(nullptr)); }},
      {"memory_alloc+free",
       [&] {
         const auto result = d.memory_alloc(8);
         return result.ok() ? code(d.memory_free(result.value())) : code(result);
       }},
      {"memory_alloc_async+free",
       [&] {
         const auto result = d.memory_alloc_async(8, nullptr);
         return result.ok() ? code(d.memory_free_async(result.value(), nullptr)) : code(result);
       }},
      {"stream_identity", [&] { return code(d.stream_identity(per_thread_stream)); }},
      {"host_alloc+free",
       [&] {
         const auto result = d.host_alloc(8);
         return result.ok() ? code(d.host_free(result.value())) : code(result);
       }},
      {"copy_to_device", [&] { return code(d.copy_to_device(buffer, host, 64, nullptr)); }},
      {"copy_to_host", [&] { return code(d.copy_to_host(host, buffer, 64, nullptr)); }},
      {"copy_on_device", [&] { return code(d.copy_on_device(buffer, buffer + 32, 32, nullptr)); }},
      {"memory_fill", [&] { return code(d.memory_fill(buffer, 1, 64, nullptr)); }},
      {"pointer_device", [&] { return code(d.pointer_device(buffer)); }},
      {"stream_create+destroy",
       [&] {
         const auto result = d.stream_create();
         return result.ok() ? code(d.stream_destroy(result.value())) : code(result);
       }},
      {"stream_synchronize", [&] { return code(d.stream_synchronize(nullptr)); }},
      {"event_create+destroy",
       [&] {
         const auto result = d.event_create();
         return result.ok() ? code(d.event_destroy(result.value())) : code(result);
       }},
      {"event_record", [&] { return code(d.event_record(event, nullptr)); }},
      {"event_synchronize", [&] { return code(d.event_synchronize(event)); }},
      {"event_elapsed_us", [&] { return code(d.event_elapsed_us(event, event)); }},
  };
  for (const auto &[name, call] : wrappers) {
    fake().fake_reset_calls();
    BOOST_TEST_INFO_SCOPE(name);
    BOOST_TEST(call() == 0);
    int64_t calls = fake().fake_calls("");
    if (std::string(name) == "module_load") calls -= 1;  // the unload tells nobody
    BOOST_TEST(calls >= 1);
    for (int64_t nth = 1; nth <= calls; ++nth) {
      BOOST_TEST_INFO_SCOPE("call " << nth);
      fake().fake_fail_call(nth, 719, 0);
      BOOST_TEST(call() == 719);
      fake().fake_clear_failures();
      BOOST_TEST(call() == 0);
    }
  }
  for (const CudaDriver::PrimaryContext &one : retained) d.release_primary_context(one);
  require_ok(driver().event_destroy(event));
  require_ok(driver().memory_free(buffer));
  driver().module_unload(module);
}
