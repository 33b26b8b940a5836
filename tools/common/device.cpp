// SPDX-License-Identifier: Apache-2.0
#include "device.hpp"

#include <fmt/format.h>

#include "console.hpp"

namespace flashcore::tools {

// --- Context -------------------------------------------------------------------------------------------------------

Outcome<Context> Context::open(const flashcore_context_options &options) {
  Context context;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_context_create(&options, &context.handle_, &error) != FLASHCORE_OK)
    return library_failure("open the device", error);
  return context;
}

Outcome<flashcore_attention_explanation> Context::explain(const flashcore_attention_args &args) const {
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_attention_explain(handle_, &args, &explanation, &error) != FLASHCORE_OK)
    return library_failure("explain the attention", error);
  return explanation;
}

Step Context::prepare(const flashcore_attention_args &args) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_attention_prepare(handle_, &args, &error) != FLASHCORE_OK)
    return library_failure("prepare the attention", error);
  return Done{};
}

// --- Buffer --------------------------------------------------------------------------------------------------------

Outcome<Buffer> Buffer::make(const Context &context, int64_t bytes) {
  Buffer buffer(context.get(), bytes);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_buffer_alloc(context.get(), bytes, &buffer.address_, &error) != FLASHCORE_OK)
    return library_failure(fmt::format("get {} of device memory", format_bytes(bytes)), error);
  return buffer;
}

Step Buffer::upload(const void *source) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_copy_to_device(context_, address_, source, bytes_, nullptr, &error) != FLASHCORE_OK)
    return library_failure("copy to the device", error);
  return Done{};
}

Step Buffer::download(void *destination) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_copy_to_host(context_, destination, address_, bytes_, nullptr, &error) != FLASHCORE_OK)
    return library_failure("copy from the device", error);
  return Done{};
}

Step Buffer::fill(int32_t byte, void *stream) const {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_buffer_fill(context_, address_, byte, bytes_, stream, &error) != FLASHCORE_OK)
    return library_failure("fill device memory", error);
  return Done{};
}

// --- Stream --------------------------------------------------------------------------------------------------------

Outcome<Stream> Stream::make(const Context &context, size_t events) {
  Stream stream(context.get());
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_stream_create(context.get(), &stream.stream_, &error) != FLASHCORE_OK)
    return library_failure("make a stream", error);
  for (size_t i = 0; i < events; ++i) {
    void *event = nullptr;
    if (flashcore_event_create(context.get(), &event, &error) != FLASHCORE_OK)
      return library_failure("make an event", error);
    stream.events_.push_back(event);
  }
  return stream;
}

Stream::~Stream() {
  for (void *event : events_) flashcore_event_destroy(context_, event, nullptr);
  if (stream_ != nullptr) flashcore_stream_destroy(context_, stream_, nullptr);
}

Step Stream::record(size_t event) const {
  if (flashcore_event_record(context_, events_[event], stream_, &error_) != FLASHCORE_OK)
    return library_failure("record an event", error_);
  return Done{};
}

Outcome<double> Stream::elapsed_us(size_t start, size_t end) const {
  double elapsed = 0;
  if (flashcore_event_elapsed_us(context_, events_[start], events_[end], &elapsed, &error_) != FLASHCORE_OK)
    return library_failure("read the time between two events", error_);
  return elapsed;
}

Step Stream::synchronize() const {
  if (flashcore_stream_synchronize(context_, stream_, &error_) != FLASHCORE_OK)
    return library_failure("wait for the stream", error_);
  return Done{};
}

Step Stream::attend(const flashcore_attention_args &args) const {
  if (flashcore_attention_fwd(context_, &args, stream_, &error_) != FLASHCORE_OK)
    return library_failure("compute the attention", error_);
  return Done{};
}

}  // namespace flashcore::tools
