// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_memory.hpp"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

namespace flashcore {
namespace {

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

Status check_bytes(int64_t bytes) {
  if (bytes >= 0) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT, "bytes is " + std::to_string(bytes) + "; allowed: 0 or more", "bytes"};
}

// A pointer that must be there as soon as there are bytes to move.
Status check_pointer(bool present, int64_t bytes, const char *field) {
  if (present || bytes == 0) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT,
               std::string(field) + " is 0 with " + std::to_string(bytes) + " bytes to move; allowed: an address",
               field};
}

Status check_handle(const void *handle, const char *field) {
  if (handle != nullptr) return success();
  return Error{FLASHCORE_INVALID_ARGUMENT,
               std::string(field) + " is NULL; allowed: what flashcore_" + field + "_create gave", field};
}

void *host_memory(int64_t bytes) {
  const size_t rounded = (static_cast<size_t>(bytes) + alignment_bytes - 1) / alignment_bytes * alignment_bytes;
  return std::aligned_alloc(alignment_bytes, rounded);
}

Error out_of_host_memory(int64_t bytes) {
  return {FLASHCORE_OUT_OF_HOST_MEMORY, "the host has no " + std::to_string(bytes) + " bytes left", "bytes"};
}

void *as_pointer(uint64_t address) { return reinterpret_cast<void *>(static_cast<uintptr_t>(address)); }

// Run `work` with the GPU's context current.
template <typename Work>
auto on_gpu(Context &context, Work work) -> decltype(work(context.gpu->driver)) {
  FLASHCORE_TRY_ASSIGN(const CurrentContext current, CurrentContext::enter(*context.gpu));
  return work(context.gpu->driver);
}

Status check_copy(bool destination, bool source, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  FLASHCORE_TRY(check_pointer(destination, bytes, "destination"));
  return check_pointer(source, bytes, "source");
}

}  // namespace

Result<uint64_t> buffer_alloc(Context &context, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  if (bytes == 0) return uint64_t{0};
  if (context.gpu) return on_gpu(context, [&](const CudaDriver &driver) { return driver.memory_alloc(bytes); });
  void *memory = host_memory(bytes);
  if (memory == nullptr) return Error{FLASHCORE_OUT_OF_DEVICE_MEMORY, out_of_host_memory(bytes).message, "bytes"};
  return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(memory));
}

Status buffer_free(Context &context, uint64_t address) {
  if (address == 0) return success();
  if (context.gpu) return on_gpu(context, [&](const CudaDriver &driver) { return driver.memory_free(address); });
  std::free(as_pointer(address));
  return success();
}

Result<void *> host_alloc(Context &context, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  if (bytes == 0) return static_cast<void *>(nullptr);
  if (context.gpu) return on_gpu(context, [&](const CudaDriver &driver) { return driver.host_alloc(bytes); });
  void *memory = host_memory(bytes);
  if (memory == nullptr) return out_of_host_memory(bytes);
  return memory;
}

Status host_free(Context &context, void *memory) {
  if (memory == nullptr) return success();
  if (context.gpu) return on_gpu(context, [&](const CudaDriver &driver) { return driver.host_free(memory); });
  std::free(memory);
  return success();
}

Status copy_to_device(Context &context, uint64_t destination, const void *source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != 0, source != nullptr, bytes));
  if (bytes == 0) return success();
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.copy_to_device(destination, source, bytes, static_cast<CudaStream>(stream));
    });
  std::memmove(as_pointer(destination), source, static_cast<size_t>(bytes));
  return success();
}

Status copy_to_host(Context &context, void *destination, uint64_t source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != nullptr, source != 0, bytes));
  if (bytes == 0) return success();
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.copy_to_host(destination, source, bytes, static_cast<CudaStream>(stream));
    });
  std::memmove(destination, as_pointer(source), static_cast<size_t>(bytes));
  return success();
}

Status copy_on_device(Context &context, uint64_t destination, uint64_t source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != 0, source != 0, bytes));
  if (bytes == 0) return success();
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.copy_on_device(destination, source, bytes, static_cast<CudaStream>(stream));
    });
  std::memmove(as_pointer(destination), as_pointer(source), static_cast<size_t>(bytes));
  return success();
}

Status buffer_fill(Context &context, uint64_t address, int32_t value, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_bytes(bytes));
  FLASHCORE_TRY(check_pointer(address != 0, bytes, "address"));
  if (bytes == 0) return success();
  const uint8_t byte = static_cast<uint8_t>(value & 0xff);
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.memory_fill(address, byte, bytes, static_cast<CudaStream>(stream));
    });
  std::memset(as_pointer(address), byte, static_cast<size_t>(bytes));
  return success();
}

Result<void *> stream_create(Context &context) {
  if (!context.gpu) return static_cast<void *>(new HostStream);
  return on_gpu(context, [](const CudaDriver &driver) -> Result<void *> {
    FLASHCORE_TRY_ASSIGN(const CudaStream stream, driver.stream_create());
    return static_cast<void *>(stream);
  });
}

Status stream_destroy(Context &context, void *stream) {
  if (stream == nullptr) return success();
  if (context.gpu)
    return on_gpu(context,
                  [&](const CudaDriver &driver) { return driver.stream_destroy(static_cast<CudaStream>(stream)); });
  delete static_cast<HostStream *>(stream);
  return success();
}

Status stream_synchronize(Context &context, void *stream) {
  if (!context.gpu) return success();
  return on_gpu(context,
                [&](const CudaDriver &driver) { return driver.stream_synchronize(static_cast<CudaStream>(stream)); });
}

Status context_synchronize(Context &context) {
  if (!context.gpu) return success();
  return on_gpu(context, [](const CudaDriver &driver) { return driver.context_synchronize(); });
}

Result<void *> event_create(Context &context) {
  if (!context.gpu) return static_cast<void *>(new HostEvent);
  return on_gpu(context, [](const CudaDriver &driver) -> Result<void *> {
    FLASHCORE_TRY_ASSIGN(const CudaEvent event, driver.event_create());
    return static_cast<void *>(event);
  });
}

Status event_destroy(Context &context, void *event) {
  if (event == nullptr) return success();
  if (context.gpu)
    return on_gpu(context,
                  [&](const CudaDriver &driver) { return driver.event_destroy(static_cast<CudaEvent>(event)); });
  delete static_cast<HostEvent *>(event);
  return success();
}

Status event_record(Context &context, void *event, void *stream) {
  FLASHCORE_TRY(check_handle(event, "event"));
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.event_record(static_cast<CudaEvent>(event), static_cast<CudaStream>(stream));
    });
  static_cast<HostEvent *>(event)->record();
  return success();
}

Status event_synchronize(Context &context, void *event) {
  FLASHCORE_TRY(check_handle(event, "event"));
  if (!context.gpu) return success();
  return on_gpu(context,
                [&](const CudaDriver &driver) { return driver.event_synchronize(static_cast<CudaEvent>(event)); });
}

Result<double> event_elapsed_us(Context &context, void *start, void *end) {
  if (start == nullptr || end == nullptr) {
    const char *field = start == nullptr ? "start" : "end";
    return Error{FLASHCORE_INVALID_ARGUMENT, std::string(field) + " is NULL; allowed: a recorded event", field};
  }
  if (context.gpu)
    return on_gpu(context, [&](const CudaDriver &driver) {
      return driver.event_elapsed_us(static_cast<CudaEvent>(start), static_cast<CudaEvent>(end));
    });
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
