// SPDX-License-Identifier: Apache-2.0
#include "runtime/device_memory.hpp"

namespace flashcore {
namespace {

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

Status check_copy(bool destination, bool source, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  FLASHCORE_TRY(check_pointer(destination, bytes, "destination"));
  return check_pointer(source, bytes, "source");
}

}  // namespace

Result<uint64_t> buffer_alloc(Device &device, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  if (bytes == 0) return uint64_t{0};
  return device.memory_alloc(bytes);
}

Status buffer_free(Device &device, uint64_t address) { return address == 0 ? success() : device.memory_free(address); }

Result<void *> host_alloc(Device &device, int64_t bytes) {
  FLASHCORE_TRY(check_bytes(bytes));
  if (bytes == 0) return static_cast<void *>(nullptr);
  return device.host_alloc(bytes);
}

Status host_free(Device &device, void *memory) { return memory == nullptr ? success() : device.host_free(memory); }

Status copy_to_device(Device &device, uint64_t destination, const void *source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != 0, source != nullptr, bytes));
  return bytes == 0 ? success() : device.copy_to_device(destination, source, bytes, stream);
}

Status copy_to_host(Device &device, void *destination, uint64_t source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != nullptr, source != 0, bytes));
  return bytes == 0 ? success() : device.copy_to_host(destination, source, bytes, stream);
}

Status copy_on_device(Device &device, uint64_t destination, uint64_t source, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_copy(destination != 0, source != 0, bytes));
  return bytes == 0 ? success() : device.copy_on_device(destination, source, bytes, stream);
}

Status buffer_fill(Device &device, uint64_t address, int32_t value, int64_t bytes, void *stream) {
  FLASHCORE_TRY(check_bytes(bytes));
  FLASHCORE_TRY(check_pointer(address != 0, bytes, "address"));
  return bytes == 0 ? success() : device.memory_fill(address, static_cast<uint8_t>(value & 0xff), bytes, stream);
}

Status stream_destroy(Device &device, void *stream) {
  return stream == nullptr ? success() : device.stream_destroy(stream);
}

Status event_destroy(Device &device, void *event) { return event == nullptr ? success() : device.event_destroy(event); }

Status event_record(Device &device, void *event, void *stream) {
  FLASHCORE_TRY(check_handle(event, "event"));
  return device.event_record(event, stream);
}

Status event_synchronize(Device &device, void *event) {
  FLASHCORE_TRY(check_handle(event, "event"));
  return device.event_synchronize(event);
}

Result<double> event_elapsed_us(Device &device, void *start, void *end) {
  if (start == nullptr || end == nullptr) {
    const char *field = start == nullptr ? "start" : "end";
    return Error{FLASHCORE_INVALID_ARGUMENT, std::string(field) + " is NULL; allowed: a recorded event", field};
  }
  return device.event_elapsed_us(start, end);
}

}  // namespace flashcore
