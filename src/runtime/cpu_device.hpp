// SPDX-License-Identifier: Apache-2.0
//
// The CPU as a device: its memory is host memory, a stream does its work at once, an event is a time stamp, and nothing is ever under way
// when a call returns.
#pragma once

#include "runtime/device.hpp"
#include "runtime/host_variants.hpp"

namespace flashcore {

class CpuDevice final : public Device {
 public:
  // `settings` must outlive it.
  CpuDevice(const Settings &settings, int32_t threads, std::string reason)
      : Device(std::move(reason)), threads_(threads), host_variants_(settings) {}
  void close() noexcept override { delete this; }

  void describe(flashcore_device_info *info) const override;
  void describe(flashcore_context_info *) const override {}

  Status attention_fwd(const flashcore_attention_args *args, void *stream) override;
  Status attention_prepare(const AttentionProblem &problem) override;
  Result<int64_t> attention_workspace_bytes(const AttentionProblem &problem) override;
  Status attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) override;

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
  ~CpuDevice() override = default;
  // Of the problem's variant; nullptr: it has none.
  Result<ChangeRow> variant_of(const AttentionProblem &problem);

  const int32_t threads_;
  HostVariants host_variants_;
};

}  // namespace flashcore
