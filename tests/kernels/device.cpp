// SPDX-License-Identifier: Apache-2.0
#include "kernels/device.hpp"

#include <flashcore/flashcore_inspect.h>

#include <set>

namespace flashcore::tests {
namespace {

void require_ok(flashcore_status status, const flashcore_error &error, const char *what) {
  BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, what << ": " << flashcore_status_name(status) << ": " << error.message);
}

}  // namespace

std::vector<flashcore_kernel_info> list_kernels() {
  std::vector<flashcore_kernel_info> kernels;
  for (int32_t index = 0; index < flashcore_kernel_count(); index++) {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    flashcore_kernel_info info{};
    info.struct_size = sizeof(info);
    require_ok(flashcore_kernel_describe(index, &info, &error), error, "flashcore_kernel_describe");
    if (info.operation == FLASHCORE_OPERATION_ATTENTION_FWD) kernels.push_back(info);
  }
  return kernels;
}

namespace {

void add_gpu_targets(std::vector<Target> &targets, std::set<int32_t> &known_archs, int32_t ordinal) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  require_ok(flashcore_device_describe(ordinal, &device, &error), error, "flashcore_device_describe");
  if (!known_archs.insert(device.arch).second) return;
  const std::string prefix = "cuda" + std::to_string(ordinal) + "-";
  for (const flashcore_kernel_info &kernel : list_kernels()) {
    Target target{prefix + kernel.name, FLASHCORE_DEVICE_CUDA, ordinal, kernel.name, ""};
    if (device.arch < kernel.minimum_arch || (kernel.maximum_arch != 0 && device.arch > kernel.maximum_arch))
      target.skip_reason = target.kernel + " does not run on arch " + std::to_string(device.arch);
    targets.push_back(target);
  }
  targets.push_back({prefix + "auto", FLASHCORE_DEVICE_CUDA, ordinal, "", ""});
}

}  // namespace

Device::Device(int32_t kind, int32_t ordinal) {
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  options.device_kind = kind;
  options.device_ordinal = ordinal;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_context_create(&options, &context_, &error), error, "flashcore_context_create");
}

void Device::synchronize() const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_stream_synchronize(context_, nullptr, &error), error, "flashcore_stream_synchronize");
}

DeviceBuffer::DeviceBuffer(const Device &device, int64_t bytes) : device_(device), bytes_(bytes) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_buffer_alloc(device.context(), bytes, &address_, &error), error, "flashcore_buffer_alloc");
}

DeviceBuffer::~DeviceBuffer() {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = flashcore_buffer_free(device_.context(), address_, &error);
  BOOST_CHECK_MESSAGE(status == FLASHCORE_OK, "flashcore_buffer_free: " << error.message);
}

void DeviceBuffer::write(const void *source) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_copy_to_device(device_.context(), address_, source, bytes_, nullptr, &error), error,
             "flashcore_copy_to_device");
}

void DeviceBuffer::read(void *destination) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_copy_to_host(device_.context(), destination, address_, bytes_, nullptr, &error), error,
             "flashcore_copy_to_host");
}

void DeviceBuffer::fill(uint8_t value) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  require_ok(flashcore_buffer_fill(device_.context(), address_, value, bytes_, nullptr, &error), error,
             "flashcore_buffer_fill");
}

std::vector<Target> list_targets() {
  std::vector<Target> targets = {{"cpu", FLASHCORE_DEVICE_CPU, 0, "", ""}};
  int32_t count = 0;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = flashcore_device_count(&count, &error);
  require_ok(status, error, "flashcore_device_count");
  std::set<int32_t> known_archs;
  for (int32_t ordinal = 0; ordinal < count; ordinal++) add_gpu_targets(targets, known_archs, ordinal);
  if (count > 0) return targets;
  flashcore_device_info none{};
  none.struct_size = sizeof(none);
  if (flashcore_device_describe(0, &none, &error) == FLASHCORE_OK)
    throw std::runtime_error("no CUDA device, but it can be described");
  // What the search for a driver went through stands in brackets; the log has a line for every kernel.
  const std::string message = error.message;
  const std::string reason = "no CUDA device: " + message.substr(0, message.find(" ("));
  for (const flashcore_kernel_info &kernel : list_kernels())
    targets.push_back({std::string("cuda-") + kernel.name, FLASHCORE_DEVICE_CUDA, 0, kernel.name, reason});
  targets.push_back({"cuda-auto", FLASHCORE_DEVICE_CUDA, 0, "", reason});
  return targets;
}

void add_test_case_per_target(const char *suite_name, void (*body)(const Target &), bool (*wanted)(const Target &)) {
  using namespace boost::unit_test;
  test_suite *suite = BOOST_TEST_SUITE(suite_name);
  for (const Target &target : list_targets()) {
    if (!wanted(target)) continue;
    test_case *test = make_test_case([target, body] { body(target); }, target.name, __FILE__, __LINE__);
    suite->add(test);
    if (target.skip_reason.empty()) continue;
    test->add_precondition([reason = target.skip_reason](test_unit_id) {
      boost::test_tools::assertion_result result(false);
      result.message() << reason;
      return result;
    });
  }
  framework::master_test_suite().add(suite);
}

}  // namespace flashcore::tests
