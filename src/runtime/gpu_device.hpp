// SPDX-License-Identifier: Apache-2.0
//
// A CUDA GPU as a device. Everything happens in its primary CUDA context, which is retained for as long as the device lives and current
// for as long as a call takes.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "contract/passport.h"
#include "driver/cuda_driver.hpp"
#include "runtime/device.hpp"
#include "runtime/module_loader.hpp"
#include "runtime/plan_cache.hpp"
#include "runtime/prepared_call.hpp"
#include "runtime/settings.hpp"
#include "runtime/workspace.hpp"

namespace flashcore {

// The device's primary CUDA context until it is released, also where memory runs out while a device is opened.
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

// Three types of states, three of outputs, and aligned rows or not.
inline constexpr size_t merge_function_count = 3 * 3 * 2;

class GpuDevice final : public Device {
 public:
  // `settings` must outlive it.
  GpuDevice(const Settings &settings, const CudaDriver &driver, ContextHold primary,
            const CudaDeviceProperties &properties, std::string reason);
  // Unloads and frees with its CUDA context current. In a forked child nothing of the parent's CUDA may be touched: what the device
  // holds there is left to the end of the process.
  void close() noexcept override;

  const CudaDriver &driver() const { return driver_; }
  const CudaDeviceProperties &properties() const { return properties_; }
  const kernels::DeviceLimits &limits() const { return limits_; }
  CudaContext cuda_context() const { return primary_.context(); }

  void describe(flashcore_device_info *info) const override;
  void describe(flashcore_context_info *info) const override;

  // gpu_attention.cpp
  Status attention_fwd(const flashcore_attention_args *args, void *stream) override;
  Status attention_prepare(const AttentionProblem &problem) override;
  Result<int64_t> attention_workspace_bytes(const AttentionProblem &problem) override;
  Status attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) override;

  // gpu_merge_states.cpp
  Status merge_states(const MergeStatesProblem &problem, void *stream) override;
  Status merge_states_prepare(const MergeStatesProblem &problem) override;

  Result<uint64_t> memory_alloc(int64_t bytes) override;
  Status memory_free(uint64_t address) override;
  Result<void *> host_alloc(int64_t bytes) override;
  Status host_free(void *memory) override;
  Status copy_to_device(uint64_t destination, const void *source, int64_t bytes, void *stream) override;
  Status copy_to_host(void *destination, uint64_t source, int64_t bytes, void *stream) override;
  Status copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, void *stream) override;
  Status memory_fill(uint64_t address, uint8_t value, int64_t bytes, void *stream) override;

  Result<void *> stream_create() override;
  Status stream_destroy(void *stream) override;
  Status stream_synchronize(void *stream) override;
  Status synchronize() override;
  Result<void *> event_create() override;
  Status event_destroy(void *event) override;
  Status event_record(void *event, void *stream) override;
  Status event_synchronize(void *event) override;
  Result<double> event_elapsed_us(void *start, void *end) override;

 private:
  ~GpuDevice() override = default;
  template <typename Work>
  auto with_current(Work work) const -> decltype(work());
  // A call that differs from one of this thread's last ones in addresses and stream alone. nullopt: it differs in more.
  std::optional<Status> launch_again(const flashcore_attention_args *args, CudaStream stream);
  Status launch_several(PreparedCall &call, PreparedCall::Addresses &addresses, CudaStream stream);
  Status launch_new(const flashcore_attention_args *args, const AttentionProblem &problem,
                    const kernels::ProblemKey &key, CudaStream stream);
  Result<CudaFunction> merge_function(const MergeStatesProblem &problem, const CudaStream *stream);
  Result<kernels::ProblemKey> key_of(const AttentionProblem &problem) const;
  Result<LaunchPlan> cold_plan(const AttentionProblem &problem, const kernels::ProblemKey &key,
                               const CudaStream *stream);
  Result<ModuleFunctions> functions_of(const Selection &selection, const AttentionProblem &problem,
                                       const CudaStream *stream);

  const uint64_t serial_;  // no other device of the process ever has it
  const CudaDriver &driver_;
  ContextHold primary_;
  const CudaDeviceProperties properties_;
  const kernels::DeviceLimits limits_;
  const std::span<const TunedRow> tuned_rows_;  // empty: the cost model alone chooses
  const bool addresses_checked_;                // in every call
  PlanCache plans_;
  ModuleLoader loader_;
  Workspace workspace_;
  // Of merge_states by types and entry point, as far as they are loaded: read in every call, and never taken back.
  std::array<std::atomic<CudaFunction>, merge_function_count> merge_functions_{};
};

// INVALID_ARGUMENT (device_ordinal), UNSUPPORTED before compute capability 8.0, and what the driver says.
Result<DeviceHold> open_gpu(const Settings &settings, int32_t ordinal, std::string reason);
// The first that opens, or every device's reason.
Result<DeviceHold> open_first_gpu(const Settings &settings, const std::string &reason);

// The GPUs of the machine, without opening any. None where there is no driver or none that can be used now; FORKED.
Result<int32_t> count_gpus(const std::string &libcuda);
// INVALID_ARGUMENT names `ordinal` past the last; where there is none, the reason.
Status describe_gpu(const std::string &libcuda, int32_t ordinal, flashcore_device_info *info);

// Makes a GPU's CUDA context current for a scope, and the caller's again after it. Fails with FORKED in a forked child.
class CurrentContext {
 public:
  static Result<CurrentContext> enter(const GpuDevice &gpu);
  CurrentContext(CurrentContext &&other) noexcept
      : driver_(other.driver_), pushed_(std::exchange(other.pushed_, false)) {}
  CurrentContext(const CurrentContext &) = delete;
  CurrentContext &operator=(const CurrentContext &) = delete;
  ~CurrentContext() {
    if (pushed_) driver_->pop_context();
  }

 private:
  CurrentContext(const CudaDriver &driver, bool pushed) : driver_(&driver), pushed_(pushed) {}
  const CudaDriver *driver_;
  bool pushed_;
};

}  // namespace flashcore
