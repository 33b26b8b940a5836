// SPDX-License-Identifier: Apache-2.0
//
// Context: one device and everything remembered about it. All state of the library below the driver tables lives in one.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/copy_text.hpp"
#include "base/error.hpp"
#include "contract/passport.h"
#include "driver/cuda_driver.hpp"
#include "flashcore/flashcore.h"
#include "runtime/module_loader.hpp"
#include "runtime/plan_cache.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

// The device's primary CUDA context until it is released, also where memory runs out while a flashcore context is made.
class ContextHold {
 public:
  ContextHold(const CudaDriver &driver, CudaDriver::PrimaryContext primary) : driver_(&driver), primary_(primary) {}
  ContextHold(ContextHold &&other) noexcept
      : driver_(std::exchange(other.driver_, nullptr)), primary_(other.primary_) {}
  ContextHold(const ContextHold &) = delete;
  ContextHold &operator=(const ContextHold &) = delete;
  ~ContextHold() {
    if (driver_ != nullptr) driver_->release_primary_context(primary_);
  }
  CudaContext context() const { return primary_.context; }

 private:
  const CudaDriver *driver_;
  CudaDriver::PrimaryContext primary_;
};

// What a GPU context adds.
struct GpuState {
  GpuState(const Settings &settings, const CudaDriver &driver, ContextHold primary,
           const CudaDeviceProperties &properties);

  const uint64_t serial;  // no other GpuState of the process ever has it
  const CudaDriver &driver;
  ContextHold primary;
  const CudaDeviceProperties properties;
  const kernels::DeviceLimits limits;
  const std::span<const TunedRow> tuned_rows;  // empty: the cost model alone chooses
  const bool addresses_checked;                // in every call
  PlanCache plans;
  ModuleLoader loader;
};

struct Context {
  Settings settings;
  std::string device_reason;  // why this device
  int32_t cpu_threads = 0;
  std::unique_ptr<GpuState> gpu;  // null: the CPU device
};

Result<std::unique_ptr<Context>> create_context(const flashcore_context_options *options);
// Unload and free. The GPU's context is made current for it and released after it.
void destroy_context(std::unique_ptr<Context> context) noexcept;
void fill_context_info(Context &context, flashcore_context_info *info);
// NO_DEVICE where the driver has none; INVALID_ARGUMENT, naming `field`, past the last.
Status check_device_ordinal(const CudaDriver &driver, int32_t ordinal, const char *field);
void fill_device_info(const Context &context, flashcore_device_info *info);
void fill_device_info(const CudaDriver &driver, const CudaDeviceProperties &properties, flashcore_device_info *info);

// Makes the GPU context current for a scope, and the caller's again after it. Fails with FORKED in a forked child.
class CurrentContext {
 public:
  static Result<CurrentContext> enter(const GpuState &gpu);
  CurrentContext(CurrentContext &&other) noexcept : gpu_(other.gpu_), pushed_(std::exchange(other.pushed_, false)) {}
  CurrentContext(const CurrentContext &) = delete;
  CurrentContext &operator=(const CurrentContext &) = delete;
  ~CurrentContext() {
    if (pushed_) gpu_->driver.pop_context();
  }

 private:
  CurrentContext(const GpuState *gpu, bool pushed) : gpu_(gpu), pushed_(pushed) {}
  const GpuState *gpu_;
  bool pushed_;
};

}  // namespace flashcore
