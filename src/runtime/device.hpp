// SPDX-License-Identifier: Apache-2.0
//
// Device: what a context computes on and keeps memory in. One contract; an implementation answers every function of it, and nobody
// outside asks which one it is. create_context (context.cpp) makes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"
#include "problem/merge_states_problem.hpp"

namespace flashcore {

class Device {
 public:
  explicit Device(std::string reason) : reason_(std::move(reason)) {}
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;
  // The end of a device that was made by new. It may have to be where its resources are, or to leave them alone in a forked child.
  virtual void close() noexcept = 0;

  // Of its context.
  Variants &variants() { return variants_; }
  // Why a context has it.
  const std::string &reason() const { return reason_; }
  virtual void describe(flashcore_device_info *info) const = 0;
  // Where modules came from, as far as it has any.
  virtual void describe(flashcore_context_info *info) const = 0;

  // Attention. `args` are as the caller gave them: a device that remembers calls looks there first, and has validate_attention look at
  // what it does not know. The other functions get what was validated, with addresses that may be absent.
  virtual Status attention_fwd(const flashcore_attention_args *args, void *stream) = 0;
  virtual Status attention_prepare(const AttentionProblem &problem) = 0;
  virtual Result<int64_t> attention_workspace_bytes(const AttentionProblem &problem) = 0;
  virtual Status attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) = 0;

  // Merging states, of arguments that were validated; for prepare, with addresses that may be absent.
  virtual Status merge_states(const MergeStatesProblem &problem, void *stream) = 0;
  virtual Status merge_states_prepare(const MergeStatesProblem &problem) = 0;

  // Memory, aligned to 256 bytes. Sizes are above 0 and addresses are given: device_memory.cpp has seen to it.
  virtual Result<uint64_t> memory_alloc(int64_t bytes) = 0;
  virtual Status memory_free(uint64_t address) = 0;
  virtual Result<void *> host_alloc(int64_t bytes) = 0;
  virtual Status host_free(void *memory) = 0;
  virtual Status copy_to_device(uint64_t destination, const void *source, int64_t bytes, void *stream) = 0;
  virtual Status copy_to_host(void *destination, uint64_t source, int64_t bytes, void *stream) = 0;
  virtual Status copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, void *stream) = 0;
  virtual Status memory_fill(uint64_t address, uint8_t value, int64_t bytes, void *stream) = 0;

  // Streams and events. Handles are given, but for the default stream, which is NULL.
  virtual Result<void *> stream_create() = 0;
  virtual Status stream_destroy(void *stream) = 0;
  virtual Status stream_synchronize(void *stream) = 0;
  virtual Status synchronize() = 0;  // all streams
  virtual Result<void *> event_create() = 0;
  virtual Status event_destroy(void *event) = 0;
  virtual Status event_record(void *event, void *stream) = 0;
  virtual Status event_synchronize(void *event) = 0;
  virtual Result<double> event_elapsed_us(void *start, void *end) = 0;

 protected:
  virtual ~Device() = default;

 private:
  const std::string reason_;
  Variants variants_;
};

struct CloseDevice {
  void operator()(Device *device) const noexcept { device->close(); }
};
using DeviceHold = std::unique_ptr<Device, CloseDevice>;

}  // namespace flashcore
