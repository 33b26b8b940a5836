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
  if (!settings.jit_allowed) return "compiler: not used, jit is off (" + settings.jit_refusal + ")\n";
  const Result<const NvrtcLibrary *> nvrtc = NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory);
  if (!nvrtc.ok()) return "compiler: none; " + nvrtc.error().message + "\n";
  return "compiler: " + nvrtc.value()->path() + ", NVRTC " + version_text(nvrtc.value()->version()) + "\n";
}

// What of one folder's modules can be used, and why the rest cannot.
std::string folder_text(const std::string &root, const DirectoryTrust &trust, const ModuleStoreOptions &only_this) {
  const Result<FileDescriptor> folder = open_directory(root, trust, IfMissing::leave);
  if (!folder.ok()) return "cannot be used: " + folder.error().message;
  if (!folder.value()) return "there is no such folder";
  const Result<std::vector<ListedModule>> modules = list_modules(only_this);
  if (!modules.ok()) return "cannot be used: " + modules.error().message;
  size_t usable = 0;
  const ListedModule *refused = nullptr;
  for (const ListedModule &module : modules.value()) {
    if (module.entry.ok())
      ++usable;
    else if (refused == nullptr)
      refused = &module;
  }
  std::string text = std::to_string(usable) + " modules";
  if (refused == nullptr) return text;
  return text + "; " + std::to_string(modules.value().size() - usable) +
         " more cannot be used: " + refused->entry.error().message;
}

std::string module_lines(const Settings &settings) {
  std::string text;
  ModuleStoreOptions one;
  one.read_only_trust = settings.store.read_only_trust;
  one.mode = CacheMode::off;
  for (const std::string &root : settings.store.read_only_roots) {
    one.read_only_roots = {root};
    text += "module folder: " + root + ", " + folder_text(root, one.read_only_trust, one) + "\n";
  }
  if (!settings.user_cache_note.empty()) return text + "user cache: " + settings.user_cache_note + "\n";
  const bool writes = settings.store.mode == CacheMode::read_write;
  ModuleStoreOptions user = settings.store;
  user.read_only_roots.clear();
  return text + "user cache: " + user.user_root + ", " + (writes ? "read and write" : "read only") + ", " +
         folder_text(user.user_root, writes ? DirectoryTrust::owned : DirectoryTrust::readable, user) + "\n";
}

}  // namespace

std::string environment_report(const Settings &settings) {
  return driver_lines(settings) + compiler_line(settings) + module_lines(settings);
}

}  // namespace flashcore
