// SPDX-License-Identifier: Apache-2.0
//
// A device through the public interface: owners of its objects, and every call as an Outcome that says what was tried.
// The CPU device is one too; what only a GPU has (graphs, bare launches) is in cuda_graph.hpp.
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "context_info.hpp"
#include "outcome.hpp"

namespace flashcore::tools {

class Context {
 public:
  static Outcome<Context> open(const flashcore_context_options &options);
  Context(Context &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Context &operator=(Context &&) = delete;
  ~Context() { flashcore_context_destroy(handle_); }

  flashcore_context get() const { return handle_; }
  Outcome<ContextInfo> describe() const { return describe_context(handle_); }
  Outcome<flashcore_attention_explanation> explain(const flashcore_attention_args &args) const;
  Step prepare(const flashcore_attention_args &args) const;

 private:
  Context() = default;
  flashcore_context handle_ = nullptr;
};

// Device memory. 0 bytes have address 0.
class Buffer {
 public:
  static Outcome<Buffer> make(const Context &context, int64_t bytes);
  Buffer(Buffer &&other) noexcept
      : context_(other.context_), address_(std::exchange(other.address_, 0)), bytes_(other.bytes_) {}
  Buffer &operator=(Buffer &&) = delete;
  ~Buffer() { flashcore_buffer_free(context_, address_, nullptr); }

  uint64_t address() const { return address_; }
  int64_t bytes() const { return bytes_; }
  // Both have happened when they return.
  Step upload(const void *source) const;
  Step download(void *destination) const;
  // Every byte set, in the order of the stream. 0xff makes every number a NaN.
  Step fill(int32_t byte, void *stream) const;

 private:
  Buffer(flashcore_context context, int64_t bytes) : context_(context), bytes_(bytes) {}
  flashcore_context context_;
  uint64_t address_ = 0;
  int64_t bytes_;
};

// A stream and as many events as are asked for.
class Stream {
 public:
  static Outcome<Stream> make(const Context &context, size_t events);
  Stream(Stream &&other) noexcept
      : context_(other.context_),
        stream_(std::exchange(other.stream_, nullptr)),
        events_(std::exchange(other.events_, {})) {}
  Stream &operator=(Stream &&) = delete;
  ~Stream();

  void *get() const { return stream_; }
  Step record(size_t event) const;
  Outcome<double> elapsed_us(size_t start, size_t end) const;
  Step synchronize() const;
  Step attend(const flashcore_attention_args &args) const;

 private:
  explicit Stream(flashcore_context context) : context_(context) {}
  flashcore_context context_;
  void *stream_ = nullptr;
  std::vector<void *> events_;
  mutable flashcore_error error_ =
      FLASHCORE_ERROR_INIT;  // one for all calls: clearing a kilobyte each time would be timed
};

}  // namespace flashcore::tools
