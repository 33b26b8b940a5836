// SPDX-License-Identifier: Apache-2.0
#include "runtime/environment_report.hpp"

#include "driver/cuda_driver.hpp"
#include "driver/nvrtc_library.hpp"

namespace flashcore {
namespace {

std::string version_text(int32_t version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string driver_lines(const Settings &settings) {
  const Result<const CudaDriver *> loaded = CudaDriver::load(settings.environment.libcuda);
  if (!loaded.ok()) return "driver: none; " + loaded.error().message + "\n";
  const CudaDriver &driver = *loaded.value();
  std::string text = "driver: " + driver.path() + ", CUDA " + version_text(driver.version()) + "\n";
  const Result<int32_t> count = driver.device_count();
  if (!count.ok()) return text + "devices: " + count.error().message + "\n";
  for (int32_t ordinal = 0; ordinal < count.value(); ++ordinal) {
    const Result<CudaDeviceProperties> device = driver.device_properties(ordinal);
    text += "device " + std::to_string(ordinal) + ": ";
    if (!device.ok()) {
      text += device.error().message + "\n";
      continue;
    }
    const CudaDeviceProperties &properties = device.value();
    text += properties.name + ", compute capability " + std::to_string(properties.arch / 10) + "." +
            std::to_string(properties.arch % 10) + ", " + std::to_string(properties.multiprocessors) + " SMs, " +
            std::to_string(properties.shared_bytes_per_block_optin) + " bytes of shared memory per block\n";
  }
  return text;
}

std::string compiler_line(const Settings &settings) {
  if (!settings.jit_allowed) return "compiler: not used, jit is off\n";
  const Result<const NvrtcLibrary *> nvrtc = NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory);
  if (!nvrtc.ok()) return "compiler: none; " + nvrtc.error().message + "\n";
  return "compiler: " + nvrtc.value()->path() + ", NVRTC " + version_text(nvrtc.value()->version()) + "\n";
}

std::string module_lines(const Settings &settings) {
  std::string text;
  for (const std::string &root : settings.store.read_only_roots) {
    ModuleStoreOptions one;
    one.read_only_roots = {root};
    one.mode = CacheMode::off;
    const Result<std::vector<ListedModule>> modules = list_modules(one);
    text += "module folder: " + root + ", ";
    text += modules.ok() ? std::to_string(modules.value().size()) + " modules\n" : modules.error().message + "\n";
  }
  const char *mode = settings.store.mode == CacheMode::read_write ? "read and write" : "read only";
  if (!settings.user_cache_note.empty()) return text + "user cache: " + settings.user_cache_note + "\n";
  return text + "user cache: " + settings.store.user_root + ", " + mode + "\n";
}

}  // namespace

std::string environment_report(const Settings &settings) {
  return driver_lines(settings) + compiler_line(settings) + module_lines(settings);
}

}  // namespace flashcore
