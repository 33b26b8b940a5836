// SPDX-License-Identifier: Apache-2.0
#include "runtime/gpu_device.hpp"

#include <atomic>
#include <memory>
#include <new>

#include "base/copy_text.hpp"

namespace flashcore {
namespace {

kernels::DeviceLimits device_limits(const CudaDeviceProperties &properties) {
  return {properties.arch, properties.multiprocessors, properties.shared_bytes_per_block_optin,
          properties.shared_bytes_per_multiprocessor, properties.l2_cache_bytes};
}

// The oldest architecture that any kernel is written for.
constexpr int32_t oldest_arch = 80;

Error no_device() { return {FLASHCORE_NO_DEVICE, "the driver shows no CUDA device; look at CUDA_VISIBLE_DEVICES"}; }

// NO_DEVICE where the driver has none; INVALID_ARGUMENT, naming `field`, past the last.
Status check_ordinal(const CudaDriver &driver, int32_t ordinal, const char *field) {
  FLASHCORE_TRY_ASSIGN(const int32_t count, driver.device_count());
  if (count == 0) return no_device();
  if (ordinal >= 0 && ordinal < count) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT,
               std::string(field) + " is " + std::to_string(ordinal) + "; allowed: 0 to " + std::to_string(count - 1),
               field};
}

void fill(const CudaDriver &driver, const CudaDeviceProperties &properties, flashcore_device_info *info) {
  info->kind = FLASHCORE_DEVICE_CUDA;
  info->ordinal = properties.ordinal;
  info->arch = properties.arch;
  info->multiprocessors = properties.multiprocessors;
  info->shared_memory_per_block_optin_bytes = properties.shared_bytes_per_block_optin;
  info->memory_bytes = properties.memory_bytes;
  info->driver_version = driver.version();
  copy_text(info->name, properties.name);
}

CudaStream stream_of(void *handle) { return static_cast<CudaStream>(handle); }
CudaEvent event_of(void *handle) { return static_cast<CudaEvent>(handle); }

std::atomic<uint64_t> last_serial{0};

}  // namespace

Result<DeviceHold> open_gpu(const Settings &settings, int32_t ordinal, std::string reason) {
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(settings.environment.libcuda));
  FLASHCORE_TRY(check_ordinal(*driver, ordinal, "device_ordinal"));
  FLASHCORE_TRY_ASSIGN(const CudaDeviceProperties properties, driver->device_properties(ordinal));
  if (properties.arch < oldest_arch)
    return Error{FLASHCORE_UNSUPPORTED,
                 properties.name + " has compute capability " + std::to_string(properties.arch / 10) + "." +
                     std::to_string(properties.arch % 10) + "; flashcore needs 8.0 (Ampere) or newer",
                 "device_ordinal"};
  FLASHCORE_TRY_ASSIGN(const CudaDriver::PrimaryContext primary, driver->retain_primary_context(ordinal));
  ContextHold held(*driver, primary);  // before memory is asked for, so that it is released where there is none
  return DeviceHold(new GpuDevice(settings, *driver, std::move(held), properties, std::move(reason)));
}

Result<DeviceHold> open_first_gpu(const Settings &settings, const std::string &reason) {
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(settings.environment.libcuda));
  FLASHCORE_TRY_ASSIGN(const int32_t count, driver->device_count());
  if (count == 0) return no_device();
  Error why{FLASHCORE_NO_DEVICE, ""};
  for (int32_t ordinal = 0; ordinal < count; ++ordinal) {
    Result<DeviceHold> gpu = open_gpu(settings, ordinal, reason);
    if (gpu.ok()) return gpu;
    why.message += (ordinal == 0 ? "device " : "; device ") + std::to_string(ordinal) + ": " + gpu.error().message;
    why.driver_code = gpu.error().driver_code;
  }
  return why;
}

Result<int32_t> count_gpus(const std::string &libcuda) {
  const Result<const CudaDriver *> driver = CudaDriver::load(libcuda);
  if (!driver.ok()) {
    if (driver.error().status == FLASHCORE_FORKED) return driver.error();
    return 0;
  }
  const Result<int32_t> count = driver.value()->device_count();
  return count.ok() ? count.value() : 0;
}

Status describe_gpu(const std::string &libcuda, int32_t ordinal, flashcore_device_info *info) {
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(libcuda));
  FLASHCORE_TRY(check_ordinal(*driver, ordinal, "ordinal"));
  FLASHCORE_TRY_ASSIGN(const CudaDeviceProperties properties, driver->device_properties(ordinal));
  fill(*driver, properties, info);
  return success();
}

Result<CurrentContext> CurrentContext::enter(const GpuDevice &gpu) {
  if (CudaDriver::forked())
    return Error{FLASHCORE_FORKED,
                 "this process was forked from one that had initialised CUDA, which cannot be used after a "
                 "fork; start a new process (Python: multiprocessing start method \"spawn\")"};
  FLASHCORE_TRY_ASSIGN(const bool pushed, gpu.driver().push_context(gpu.cuda_context()));
  return CurrentContext(gpu.driver(), pushed);
}

GpuDevice::GpuDevice(const Settings &settings, const CudaDriver &driver, ContextHold primary,
                     const CudaDeviceProperties &properties, std::string reason)
    : Device(std::move(reason)),
      serial_(++last_serial),
      driver_(driver),
      primary_(std::move(primary)),
      properties_(properties),
      limits_(device_limits(properties)),
      tuned_rows_(settings.tuned_rows_used ? flashcore::tuned_rows() : std::span<const TunedRow>{}),
      addresses_checked_(settings.addresses_checked),
      loader_(settings, driver, properties.arch, properties.shared_bytes_per_block_optin),
      workspace_(driver, properties.memory_pools) {}

void GpuDevice::close() noexcept {
  if (CudaDriver::forked()) return;
  const CudaDriver &driver = driver_;
  const ContextHold primary = std::move(primary_);  // released last
  bool pushed = false;
  try {
    const Result<bool> made_current = driver.push_context(primary.context());
    pushed = made_current.ok() && made_current.value();
  } catch (const std::bad_alloc &) {  // it failed, and there is no memory for the words
  }
  delete this;  // unloads the modules, frees the workspace
  if (pushed) driver.pop_context();
}

void GpuDevice::describe(flashcore_device_info *info) const { fill(driver_, properties_, info); }

void GpuDevice::describe(flashcore_context_info *info) const {
  const ModuleStore &store = loader_.source().store();
  const ModuleSourceCounters &counters = loader_.source().counters();
  const ModuleStoreCounters stored = store.counters();
  copy_text(info->cache_directory, store.user_root());
  if (const std::string warning = store.last_warning(!CudaDriver::forked()); !warning.empty())
    copy_text(info->cache_warning, warning);
  info->modules_from_process = loader_.found_loaded();
  info->modules_from_shipped = counters.from_shipped;
  info->modules_from_user_cache = counters.from_user_cache;
  info->modules_compiled = counters.compiled;
  info->compile_us = counters.compile_us;
  info->cache_rejected = stored.rejected + counters.refused_by_driver;
  info->cache_write_failures = stored.write_failures;
}

template <typename Work>
auto GpuDevice::with_current(Work work) const -> decltype(work()) {
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*this));
  return work();
}

Result<uint64_t> GpuDevice::memory_alloc(int64_t bytes) {
  return with_current([&] { return driver_.memory_alloc(bytes); });
}

Status GpuDevice::memory_free(uint64_t address) {
  return with_current([&] { return driver_.memory_free(address); });
}

Result<void *> GpuDevice::host_alloc(int64_t bytes) {
  return with_current([&] { return driver_.host_alloc(bytes); });
}

Status GpuDevice::host_free(void *memory) {
  return with_current([&] { return driver_.host_free(memory); });
}

Status GpuDevice::copy_to_device(uint64_t destination, const void *source, int64_t bytes, void *stream) {
  return with_current([&] { return driver_.copy_to_device(destination, source, bytes, stream_of(stream)); });
}

Status GpuDevice::copy_to_host(void *destination, uint64_t source, int64_t bytes, void *stream) {
  return with_current([&] { return driver_.copy_to_host(destination, source, bytes, stream_of(stream)); });
}

Status GpuDevice::copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, void *stream) {
  return with_current([&] { return driver_.copy_on_device(destination, source, bytes, stream_of(stream)); });
}

Status GpuDevice::memory_fill(uint64_t address, uint8_t value, int64_t bytes, void *stream) {
  return with_current([&] { return driver_.memory_fill(address, value, bytes, stream_of(stream)); });
}

Result<void *> GpuDevice::stream_create() {
  return with_current([&]() -> Result<void *> {
    FLASHCORE_TRY_ASSIGN(const CudaStream stream, driver_.stream_create());
    return static_cast<void *>(stream);
  });
}

Status GpuDevice::stream_destroy(void *stream) {
  return with_current([&] { return driver_.stream_destroy(stream_of(stream)); });
}

Status GpuDevice::stream_synchronize(void *stream) {
  return with_current([&] { return driver_.stream_synchronize(stream_of(stream)); });
}

Status GpuDevice::synchronize() {
  return with_current([&] { return driver_.context_synchronize(); });
}

Result<void *> GpuDevice::event_create() {
  return with_current([&]() -> Result<void *> {
    FLASHCORE_TRY_ASSIGN(const CudaEvent event, driver_.event_create());
    return static_cast<void *>(event);
  });
}

Status GpuDevice::event_destroy(void *event) {
  return with_current([&] { return driver_.event_destroy(event_of(event)); });
}

Status GpuDevice::event_record(void *event, void *stream) {
  return with_current([&] { return driver_.event_record(event_of(event), stream_of(stream)); });
}

Status GpuDevice::event_synchronize(void *event) {
  return with_current([&] { return driver_.event_synchronize(event_of(event)); });
}

Result<double> GpuDevice::event_elapsed_us(void *start, void *end) {
  return with_current([&] { return driver_.event_elapsed_us(event_of(start), event_of(end)); });
}

}  // namespace flashcore
