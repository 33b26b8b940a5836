// SPDX-License-Identifier: Apache-2.0
#include "runtime/context.hpp"

#include "base/copy_text.hpp"
#include "cpu/cpu_attention.hpp"
#include "driver/nvrtc_library.hpp"
#include "runtime/cpu_device.hpp"
#include "runtime/gpu_device.hpp"

namespace flashcore {
namespace {

DeviceHold open_cpu(const Settings &settings, const flashcore_context_options &options, std::string reason) {
  return DeviceHold(new CpuDevice(settings, cpu_thread_count(options.cpu_threads), std::move(reason)));
}

Result<DeviceHold> open_device(const Settings &settings, const flashcore_context_options &options) {
  switch (options.device_kind) {
    case FLASHCORE_DEVICE_CPU:
      return open_cpu(settings, options, "the CPU was asked for");
    case FLASHCORE_DEVICE_CUDA:
      return open_gpu(settings, options.device_ordinal, "this GPU was asked for");
    case FLASHCORE_DEVICE_AUTO: {
      Result<DeviceHold> gpu = open_first_gpu(settings, "the first usable GPU");
      if (gpu.ok()) return gpu;
      return open_cpu(settings, options, "no usable GPU: " + gpu.error().message);
    }
    default:
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "device_kind is " + std::to_string(options.device_kind) +
                       "; allowed: FLASHCORE_DEVICE_AUTO (0), _CPU (1), _CUDA (2)",
                   "device_kind"};
  }
}

}  // namespace

Result<std::unique_ptr<Context>> create_context(const flashcore_context_options *given) {
  FLASHCORE_TRY_ASSIGN(const flashcore_context_options options, read_context_options(given));
  auto context = std::make_unique<Context>();
  FLASHCORE_TRY_ASSIGN(context->settings, resolve_settings(&options));
  if (options.cpu_threads < 0 || options.cpu_threads > 4096)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "cpu_threads is " + std::to_string(options.cpu_threads) + "; allowed: 0 (all) to 4096", "cpu_threads"};
  if (options.device_kind != FLASHCORE_DEVICE_CUDA && options.device_ordinal != 0)
    return Error{
        FLASHCORE_INVALID_ARGUMENT,
        "device_ordinal is " + std::to_string(options.device_ordinal) + "; allowed without FLASHCORE_DEVICE_CUDA: 0",
        "device_ordinal"};
  FLASHCORE_TRY_ASSIGN(context->device, open_device(context->settings, options));
  return context;
}

void fill_context_info(const Context &context, flashcore_context_info *info) {
  const NvrtcLibrary *nvrtc = NvrtcLibrary::loaded();
  info->nvrtc_version = nvrtc == nullptr ? 0 : nvrtc->version();
  copy_text(info->device_reason, context.device->reason());
  copy_text(info->cache_warning, context.settings.user_cache_note);  // unless the device has met with trouble since
  context.device->describe(info);
}

}  // namespace flashcore
