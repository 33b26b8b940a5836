// SPDX-License-Identifier: Apache-2.0
#include "runtime/context.hpp"

#include <atomic>
#include <new>

#include "cpu/cpu_attention.hpp"

namespace flashcore {
namespace {

kernels::DeviceLimits device_limits(const CudaDeviceProperties &properties) {
  return {properties.arch, properties.multiprocessors, properties.shared_bytes_per_block_optin,
          properties.shared_bytes_per_multiprocessor};
}

// The oldest architecture that any kernel is written for.
constexpr int32_t oldest_arch = 80;

Error no_device() { return {FLASHCORE_NO_DEVICE, "the driver shows no CUDA device; look at CUDA_VISIBLE_DEVICES"}; }

Result<std::unique_ptr<GpuState>> open_gpu(const Settings &settings, int32_t ordinal) {
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(settings.environment.libcuda));
  FLASHCORE_TRY(check_device_ordinal(*driver, ordinal, "device_ordinal"));
  FLASHCORE_TRY_ASSIGN(const CudaDeviceProperties properties, driver->device_properties(ordinal));
  if (properties.arch < oldest_arch)
    return Error{FLASHCORE_UNSUPPORTED,
                 properties.name + " has compute capability " + std::to_string(properties.arch / 10) + "." +
                     std::to_string(properties.arch % 10) + "; flashcore needs 8.0 (Ampere) or newer",
                 "device_ordinal"};
  FLASHCORE_TRY_ASSIGN(const CudaDriver::PrimaryContext primary, driver->retain_primary_context(ordinal));
  return std::make_unique<GpuState>(settings, *driver, ContextHold(*driver, primary), properties);
}

// The first device that opens, or every device's reason.
Result<std::unique_ptr<GpuState>> open_first_gpu(const Settings &settings) {
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(settings.environment.libcuda));
  FLASHCORE_TRY_ASSIGN(const int32_t count, driver->device_count());
  if (count == 0) return no_device();
  Error why{FLASHCORE_NO_DEVICE, ""};
  for (int32_t ordinal = 0; ordinal < count; ++ordinal) {
    Result<std::unique_ptr<GpuState>> gpu = open_gpu(settings, ordinal);
    if (gpu.ok()) return gpu;
    why.message += (ordinal == 0 ? "device " : "; device ") + std::to_string(ordinal) + ": " + gpu.error().message;
    why.driver_code = gpu.error().driver_code;
  }
  return why;
}

}  // namespace

static std::atomic<uint64_t> last_serial{0};

GpuState::GpuState(const Settings &settings, const CudaDriver &driver_table, ContextHold primary_context,
                   const CudaDeviceProperties &device)
    : serial(++last_serial),
      driver(driver_table),
      primary(std::move(primary_context)),
      properties(device),
      limits(device_limits(device)),
      tuned_rows(settings.tuned_rows_used ? flashcore::tuned_rows() : std::span<const TunedRow>{}),
      addresses_checked(settings.addresses_checked),
      loader(settings, driver_table, device.arch, device.shared_bytes_per_block_optin) {}

Result<CurrentContext> CurrentContext::enter(const GpuState &gpu) {
  if (CudaDriver::forked())
    return Error{FLASHCORE_FORKED,
                 "this process was forked from one that had initialised CUDA, which cannot be used after a "
                 "fork; start a new process (Python: multiprocessing start method \"spawn\")"};
  FLASHCORE_TRY_ASSIGN(const bool pushed, gpu.driver.push_context(gpu.primary.context()));
  return CurrentContext(&gpu, pushed);
}

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
  switch (options.device_kind) {
    case FLASHCORE_DEVICE_CPU:
      context->device_reason = "the CPU was asked for";
      break;
    case FLASHCORE_DEVICE_CUDA: {
      FLASHCORE_TRY_ASSIGN(context->gpu, open_gpu(context->settings, options.device_ordinal));
      context->device_reason = "this GPU was asked for";
      break;
    }
    case FLASHCORE_DEVICE_AUTO: {
      Result<std::unique_ptr<GpuState>> gpu = open_first_gpu(context->settings);
      context->device_reason = gpu.ok() ? "the first usable GPU" : "no usable GPU: " + gpu.error().message;
      if (gpu.ok()) context->gpu = std::move(gpu).value();
      break;
    }
    default:
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "device_kind is " + std::to_string(options.device_kind) +
                       "; allowed: FLASHCORE_DEVICE_AUTO (0), _CPU (1), _CUDA (2)",
                   "device_kind"};
  }
  context->cpu_threads = cpu_thread_count(options.cpu_threads);
  return context;
}

Status check_device_ordinal(const CudaDriver &driver, int32_t ordinal, const char *field) {
  FLASHCORE_TRY_ASSIGN(const int32_t count, driver.device_count());
  if (count == 0) return no_device();
  if (ordinal >= 0 && ordinal < count) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT,
               std::string(field) + " is " + std::to_string(ordinal) + "; allowed: 0 to " + std::to_string(count - 1),
               field};
}

void fill_device_info(const CudaDriver &driver, const CudaDeviceProperties &properties, flashcore_device_info *info) {
  info->kind = FLASHCORE_DEVICE_CUDA;
  info->ordinal = properties.ordinal;
  info->arch = properties.arch;
  info->multiprocessors = properties.multiprocessors;
  info->shared_memory_per_block_optin_bytes = properties.shared_bytes_per_block_optin;
  info->memory_bytes = properties.memory_bytes;
  info->driver_version = driver.version();
  copy_text(info->name, properties.name);
}

void fill_device_info(const Context &context, flashcore_device_info *info) {
  if (context.gpu) return fill_device_info(context.gpu->driver, context.gpu->properties, info);
  info->kind = FLASHCORE_DEVICE_CPU;
  info->multiprocessors = context.cpu_threads;
  copy_text(info->name, "CPU (" + std::to_string(context.cpu_threads) + " threads)");
}

void fill_context_info(Context &context, flashcore_context_info *info) {
  const NvrtcLibrary *nvrtc = NvrtcLibrary::loaded();
  info->nvrtc_version = nvrtc == nullptr ? 0 : nvrtc->version();
  copy_text(info->device_reason, context.device_reason);
  if (!context.gpu) {
    copy_text(info->cache_warning, context.settings.user_cache_note);
    return;
  }
  const ModuleLoader &loader = context.gpu->loader;
  const ModuleStore &store = loader.source().store();
  const ModuleSourceCounters &counters = loader.source().counters();
  const ModuleStoreCounters stored = store.counters();
  const std::string warning = store.last_warning(!CudaDriver::forked());
  copy_text(info->cache_directory, store.user_root());
  copy_text(info->cache_warning, warning.empty() ? context.settings.user_cache_note : warning);
  info->modules_from_process = loader.found_loaded();
  info->modules_from_shipped = counters.from_shipped;
  info->modules_from_user_cache = counters.from_user_cache;
  info->modules_compiled = counters.compiled;
  info->compile_us = counters.compile_us;
  info->cache_rejected = stored.rejected + counters.refused_by_driver;
  info->cache_write_failures = stored.write_failures;
}

void destroy_context(std::unique_ptr<Context> context) noexcept {
  if (!context->gpu || CudaDriver::forked()) {
    // In a forked child nothing of the parent's CUDA may be touched: what the context holds there is left to the process end.
    if (context->gpu) static_cast<void>(context.release());
    return;
  }
  const CudaDriver &driver = context->gpu->driver;
  const ContextHold primary = std::move(context->gpu->primary);
  bool pushed = false;
  try {
    const Result<bool> made_current = driver.push_context(primary.context());
    pushed = made_current.ok() && made_current.value();
  } catch (const std::bad_alloc &) {  // it failed, and there is no memory for the words
  }
  context.reset();  // unloads the modules
  if (pushed) driver.pop_context();
}

}  // namespace flashcore
