// SPDX-License-Identifier: Apache-2.0
//
// Exported functions: buffers, copies, streams, events.
#include "api/api_guard.hpp"
#include "runtime/device_memory.hpp"

using namespace flashcore;

namespace {

// For the functions that give something back.
template <typename T, typename Body>
flashcore_status into(flashcore_context context, flashcore_error *error, T *out, const char *name, Body body) {
  clear(out);
  return with_context(context, error, [&](Context &self) -> Status {
    if (out == nullptr) return null_argument(name);
    return store_result<T>(body(self), out);
  });
}

}  // namespace

extern "C" {

flashcore_status flashcore_buffer_alloc(flashcore_context context, int64_t bytes, uint64_t *address,
                                        flashcore_error *error) {
  return into(context, error, address, "address", [&](Context &self) { return buffer_alloc(*self.device, bytes); });
}

flashcore_status flashcore_buffer_free(flashcore_context context, uint64_t address, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return buffer_free(*self.device, address); });
}

flashcore_status flashcore_host_alloc(flashcore_context context, int64_t bytes, void **memory, flashcore_error *error) {
  return into(context, error, memory, "memory", [&](Context &self) { return host_alloc(*self.device, bytes); });
}

flashcore_status flashcore_host_free(flashcore_context context, void *memory, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return host_free(*self.device, memory); });
}

flashcore_status flashcore_copy_to_device(flashcore_context context, uint64_t destination, const void *source,
                                          int64_t bytes, void *stream, flashcore_error *error) {
  return with_context(context, error,
                      [&](Context &self) { return copy_to_device(*self.device, destination, source, bytes, stream); });
}

flashcore_status flashcore_copy_to_host(flashcore_context context, void *destination, uint64_t source, int64_t bytes,
                                        void *stream, flashcore_error *error) {
  return with_context(context, error,
                      [&](Context &self) { return copy_to_host(*self.device, destination, source, bytes, stream); });
}

flashcore_status flashcore_copy_on_device(flashcore_context context, uint64_t destination, uint64_t source,
                                          int64_t bytes, void *stream, flashcore_error *error) {
  return with_context(context, error,
                      [&](Context &self) { return copy_on_device(*self.device, destination, source, bytes, stream); });
}

flashcore_status flashcore_buffer_fill(flashcore_context context, uint64_t address, int32_t value, int64_t bytes,
                                       void *stream, flashcore_error *error) {
  return with_context(context, error,
                      [&](Context &self) { return buffer_fill(*self.device, address, value, bytes, stream); });
}

flashcore_status flashcore_stream_create(flashcore_context context, void **stream, flashcore_error *error) {
  return into(context, error, stream, "stream", [](Context &self) { return self.device->stream_create(); });
}

flashcore_status flashcore_stream_destroy(flashcore_context context, void *stream, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return stream_destroy(*self.device, stream); });
}

flashcore_status flashcore_stream_synchronize(flashcore_context context, void *stream, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return self.device->stream_synchronize(stream); });
}

flashcore_status flashcore_event_create(flashcore_context context, void **event, flashcore_error *error) {
  return into(context, error, event, "event", [](Context &self) { return self.device->event_create(); });
}

flashcore_status flashcore_event_destroy(flashcore_context context, void *event, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return event_destroy(*self.device, event); });
}

flashcore_status flashcore_event_record(flashcore_context context, void *event, void *stream, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return event_record(*self.device, event, stream); });
}

flashcore_status flashcore_event_synchronize(flashcore_context context, void *event, flashcore_error *error) {
  return with_context(context, error, [&](Context &self) { return event_synchronize(*self.device, event); });
}

flashcore_status flashcore_event_elapsed_us(flashcore_context context, void *start, void *end, double *elapsed_us,
                                            flashcore_error *error) {
  return into(context, error, elapsed_us, "elapsed_us",
              [&](Context &self) { return event_elapsed_us(*self.device, start, end); });
}

}  // extern "C"
