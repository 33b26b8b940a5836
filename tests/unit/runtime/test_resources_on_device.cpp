// SPDX-License-Identifier: Apache-2.0
//
// What the cubin reader says of every shipped module, beside what the driver says after loading it: registers, static
// shared memory, local memory, largest block, architecture. Needs a GPU; skipped without one.
#define BOOST_TEST_MODULE resources_on_device
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <optional>

#include "runtime/context.hpp"
#include "runtime/gpu_device.hpp"

using namespace flashcore;

namespace {

boost::test_tools::assertion_result have_gpu(boost::unit_test::test_unit_id) {
  const auto driver = CudaDriver::load(read_environment().libcuda);
  boost::test_tools::assertion_result answer(driver.ok() && driver.value()->device_count().ok() &&
                                             driver.value()->device_count().value() > 0);
  if (!answer) answer.message() << "no GPU: " << (driver.ok() ? "the driver shows no device" : driver.error().message);
  return answer;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_driver_agrees_with_the_cubin_reader, *boost::unit_test::precondition(have_gpu)) {
  auto settings = resolve_settings(nullptr);
  BOOST_REQUIRE(settings.ok());
  flashcore_context_options options{};
  options.struct_size = sizeof(options);
  options.device_kind = FLASHCORE_DEVICE_CUDA;
  auto context = create_context(&options);
  BOOST_REQUIRE(context.ok());
  const auto &gpu = dynamic_cast<const GpuDevice &>(*context.value()->device);
  std::optional<Result<CurrentContext>> current(CurrentContext::enter(gpu));
  BOOST_REQUIRE(current->ok());
  const auto modules = list_modules(settings.value().store);
  BOOST_REQUIRE(modules.ok());
  const std::string arch = module_archs(gpu.properties().arch).front();
  int32_t compared = 0;
  for (const ListedModule &listed : modules.value()) {
    if (!listed.entry.ok() || listed.entry.value().record.arch != arch) continue;
    const ModuleEntry &entry = listed.entry.value();
    BOOST_TEST_CONTEXT(entry.record.module) {
      const auto module = gpu.driver().module_load(entry.cubin.data());
      BOOST_REQUIRE(module.ok());
      const auto function = gpu.driver().module_function(module.value(), entry.record.kernel.c_str());
      BOOST_REQUIRE(function.ok());
      const auto attributes = gpu.driver().function_attributes(function.value());
      BOOST_REQUIRE(attributes.ok());
      const KernelResources &read = entry.cubin_info.kernels.at(0);
      BOOST_TEST(attributes.value().registers == read.registers);
      BOOST_TEST(attributes.value().static_shared_bytes == read.static_shared_bytes);
      BOOST_TEST(attributes.value().local_bytes == read.stack_bytes);
      BOOST_TEST(attributes.value().max_threads_per_block == read.max_threads_per_block);
      BOOST_TEST(attributes.value().binary_arch == entry.cubin_info.arch);
      BOOST_TEST(
          gpu.driver()
              .set_max_dynamic_shared_bytes(function.value(), static_cast<int32_t>(entry.record.dynamic_shared_bytes))
              .ok());
      gpu.driver().module_unload(module.value());
      ++compared;
    }
  }
  BOOST_TEST_MESSAGE(compared << " modules for " << arch << " compared with cuFuncGetAttribute");
  BOOST_TEST(compared > 0, "no shipped module for " << arch << ": build them, or set FLASHCORE_MODULE_PATH");
  current.reset();  // before the context that it belongs to
}
