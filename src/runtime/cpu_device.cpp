// SPDX-License-Identifier: Apache-2.0
#include "runtime/cpu_device.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/copy_text.hpp"
#include "base/deferred_cancellation.hpp"
#include "cpu/cpu_attention.hpp"
#include "plan/select_kernel.hpp"

namespace flashcore {
namespace {

constexpr std::string_view kernel_name = "cpu";
constexpr size_t alignment_bytes = 256;  // what cuMemAlloc gives too

struct HostStream {};
// Recorded and read by any threads at once, as a CUevent is.
struct HostEvent {
  static constexpr int64_t never = std::numeric_limits<int64_t>::min();
  std::atomic<int64_t> recorded_ns{never};

  void record() {
    using namespace std::chrono;
    recorded_ns = duration_cast<nanoseconds>(steady_clock::now().time_since_epoch()).count();
  }
};

Status check_kernel(const AttentionProblem &problem) {
  const std::string_view name = problem.kernel;
  if (name.empty() || name == kernel_name) return success();
  kernels::ProblemKey key = problem.key;
  FLASHCORE_TRY(pin_kernel(key, name));
  return Error{FLASHCORE_UNSUPPORTED,
               "kernel is \"" + std::string(name) +
                   "\", which runs on a GPU; this context is the CPU "
                   "device, whose only kernel is \"cpu\"",
               "kernel"};
}

void *as_pointer(uint64_t address) { return reinterpret_cast<void *>(static_cast<uintptr_t>(address)); }

void *aligned_memory(int64_t bytes) {
  const size_t rounded = (static_cast<size_t>(bytes) + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
  return std::aligned_alloc(alignment_bytes, rounded);
}

Error out_of_memory(flashcore_status status, int64_t bytes) {
  return {status, "the host has no " + std::to_string(bytes) + " bytes left", "bytes"};
}

}  // namespace

void CpuDevice::describe(flashcore_device_info *info) const {
  info->kind = FLASHCORE_DEVICE_CPU;
  info->multiprocessors = threads_;
  copy_text(info->name, "CPU (" + std::to_string(threads_) + " threads)");
}

Status CpuDevice::attention_fwd(const flashcore_attention_args *args, void *) {
  const DeferredCancellation deferred;
  FLASHCORE_TRY_ASSIGN(const AttentionProblem problem, validate_attention(args, AddressRule::required, &variants()));
  FLASHCORE_TRY(check_kernel(problem));
  if (problem.empty()) return success();
  FLASHCORE_TRY(check_host_addresses(problem));
  FLASHCORE_TRY(check_appended_rows(problem));
  FLASHCORE_TRY_ASSIGN(const ChangeRow variant, variant_of(problem));
  return cpu_attention(problem, threads_, variant);
}

Result<ChangeRow> CpuDevice::variant_of(const AttentionProblem &problem) {
  if (problem.variant == nullptr) return ChangeRow{nullptr};
  return host_variants_.function_of(*problem.variant);
}

Status CpuDevice::attention_prepare(const AttentionProblem &problem) {
  FLASHCORE_TRY(check_kernel(problem));
  FLASHCORE_TRY(variant_of(problem));
  return success();
}

Result<int64_t> CpuDevice::attention_workspace_bytes(const AttentionProblem &problem) {
  FLASHCORE_TRY(check_kernel(problem));
  return int64_t{0};
}

Status CpuDevice::attention_explain(const AttentionProblem &problem, flashcore_attention_explanation *explanation) {
  FLASHCORE_TRY(check_kernel(problem));
  explanation->supported = 1;
  copy_text(explanation->kernel, kernel_name);
  copy_text(explanation->module, kernel_name);
  copy_text(explanation->reasons, "cpu: chosen, the only kernel of the CPU device (" + reason() + ")\n");
  return success();
}

Status CpuDevice::merge_states(const MergeStatesProblem &problem, void *) {
  FLASHCORE_TRY(check_host_addresses(problem));
  cpu_merge_states(problem, threads_);
  return success();
}

Status CpuDevice::merge_states_prepare(const MergeStatesProblem &) { return success(); }

Result<uint64_t> CpuDevice::memory_alloc(int64_t bytes) {
  void *memory = aligned_memory(bytes);
  if (memory == nullptr) return out_of_memory(FLASHCORE_OUT_OF_DEVICE_MEMORY, bytes);
  return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(memory));
}

Status CpuDevice::memory_free(uint64_t address) {
  std::free(as_pointer(address));
  return success();
}

Result<void *> CpuDevice::host_alloc(int64_t bytes) {
  void *memory = aligned_memory(bytes);
  if (memory == nullptr) return out_of_memory(FLASHCORE_OUT_OF_HOST_MEMORY, bytes);
  return memory;
}

Status CpuDevice::host_free(void *memory) {
  std::free(memory);
  return success();
}

Status CpuDevice::copy_to_device(uint64_t destination, const void *source, int64_t bytes, void *) {
  std::memmove(as_pointer(destination), source, static_cast<size_t>(bytes));
  return success();
}

Status CpuDevice::copy_to_host(void *destination, uint64_t source, int64_t bytes, void *) {
  std::memmove(destination, as_pointer(source), static_cast<size_t>(bytes));
  return success();
}

Status CpuDevice::copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, void *) {
  std::memmove(as_pointer(destination), as_pointer(source), static_cast<size_t>(bytes));
  return success();
}

Status CpuDevice::memory_fill(uint64_t address, uint8_t value, int64_t bytes, void *) {
  std::memset(as_pointer(address), value, static_cast<size_t>(bytes));
  return success();
}

Result<void *> CpuDevice::stream_create() { return static_cast<void *>(new HostStream); }

Status CpuDevice::stream_destroy(void *stream) {
  delete static_cast<HostStream *>(stream);
  return success();
}

Status CpuDevice::stream_synchronize(void *) { return success(); }
Status CpuDevice::synchronize() { return success(); }

Result<void *> CpuDevice::event_create() { return static_cast<void *>(new HostEvent); }

Status CpuDevice::event_destroy(void *event) {
  delete static_cast<HostEvent *>(event);
  return success();
}

Status CpuDevice::event_record(void *event, void *) {
  static_cast<HostEvent *>(event)->record();
  return success();
}

Status CpuDevice::event_synchronize(void *) { return success(); }

Result<double> CpuDevice::event_elapsed_us(void *start, void *end) {
  const int64_t start_ns = static_cast<HostEvent *>(start)->recorded_ns,
                end_ns = static_cast<HostEvent *>(end)->recorded_ns;
  if (start_ns == HostEvent::never || end_ns == HostEvent::never) {
    const char *field = start_ns == HostEvent::never ? "start" : "end";
    return Error{FLASHCORE_INVALID_ARGUMENT, std::string(field) + " was never recorded; allowed: a recorded event",
                 field};
  }
  return static_cast<double>(end_ns - start_ns) / 1000.0;
}

}  // namespace flashcore
