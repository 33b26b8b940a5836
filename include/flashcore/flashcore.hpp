/* SPDX-License-Identifier: Apache-2.0
 *
 * flashcore for C++17 and newer: owners for what flashcore.h hands out, and errors as values. Everything is inline, so this
 * header adds nothing to the ABI. It needs neither exceptions nor run-time type information.
 *
 *     flashcore::Result<flashcore::Context> opened = flashcore::Context::open();          -- first usable GPU, else the CPU
 *     if (!opened) return puts(opened.error().message());
 *     flashcore::Context context = std::move(opened).value();
 *     flashcore::AttentionArgs args;                                                      -- fields as in flashcore.h
 *     if (flashcore::Result<void> done = context.attention(args, stream); !done) puts(done.error().message());
 *
 * Manners
 *   - What can fail returns a Result: look at it before the value. Who prefers exceptions writes or_throw(context.attention(args)).
 *   - Owners are move-only. One that was closed or moved from is empty: using it is INVALID_ARGUMENT, closing it again is nothing.
 *   - Buffers, streams and events keep their device open: Context::close() lets go of it when the last of them is gone.
 *   - Destructors ignore what freeing says; close() returns it.
 *   - Neither waits. What work on a GPU uses, the context too, is closed when the work is done: Context::synchronize() waits for it.
 *   - Threads: const functions may be called from many threads at once on one object; moving, assigning and closing need the
 *     object for themselves. A Result belongs to its call, so no thread sees another's error.
 *   - Units, shapes, statuses and streams are those of flashcore.h.
 */
#ifndef FLASHCORE_HPP
#define FLASHCORE_HPP

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

#include "flashcore.h"
#include "flashcore_result.hpp"

namespace flashcore {

/* ------------------------------------------------------------------------------------------------------------------ */
/* Arguments                                                                                                          */
/* ------------------------------------------------------------------------------------------------------------------ */

/* flashcore_attention_args with every field at its default. */
struct AttentionArgs : flashcore_attention_args {
  AttentionArgs() noexcept : flashcore_attention_args(flashcore_attention_args_init()) {}
};

/* The same for flashcore_merge_states_args. */
struct MergeStatesArgs : flashcore_merge_states_args {
  MergeStatesArgs() noexcept : flashcore_merge_states_args(flashcore_merge_states_args_init()) {}
};

/* flashcore_context_options with every field at its default: the first usable GPU, else the CPU. */
struct Options : flashcore_context_options {
  Options() noexcept : flashcore_context_options{} { struct_size = sizeof(flashcore_context_options); }

  static Options cpu(std::int32_t threads = 0) noexcept { /* 0: all that the process may run on */
    Options options;
    options.device_kind = FLASHCORE_DEVICE_CPU;
    options.cpu_threads = threads;
    return options;
  }
  static Options cuda(std::int32_t ordinal = 0) noexcept {
    Options options;
    options.device_kind = FLASHCORE_DEVICE_CUDA;
    options.device_ordinal = ordinal;
    return options;
  }

  /* Texts into fields of fixed length; one that is too long is INVALID_ARGUMENT and changes nothing. */
  Result<void> set_cache_directory(std::string_view path) noexcept {
    return set(cache_directory, "cache_directory", path);
  }
  Result<void> set_module_path(std::string_view folders) noexcept { return set(module_path, "module_path", folders); }
  Result<void> set_nvrtc_library(std::string_view path) noexcept { return set(nvrtc_library, "nvrtc_library", path); }

 private:
  template <std::size_t Size>
  static Result<void> set(char (&field)[Size], const char *name, std::string_view text) noexcept {
    if (text.size() >= Size || text.find('\0') != std::string_view::npos) {
      char message[160];
      std::snprintf(message, sizeof message, "%s has %zu bytes; allowed: fewer than %zu, none of them zero", name,
                    text.size(), Size);
      return Error(FLASHCORE_INVALID_ARGUMENT, name, message);
    }
    std::memset(field, 0, Size);
    if (!text.empty()) std::memcpy(field, text.data(), text.size());
    return {};
  }
};
static_assert(sizeof(AttentionArgs) == sizeof(flashcore_attention_args) &&
                  sizeof(MergeStatesArgs) == sizeof(flashcore_merge_states_args) &&
                  sizeof(Options) == sizeof(flashcore_context_options),
              "the C++ structs add no fields");

/* ------------------------------------------------------------------------------------------------------------------ */
/* Owners of memory, streams and events; a Context makes them                                                         */
/* ------------------------------------------------------------------------------------------------------------------ */

namespace detail {

/* A counted reference to an open device: the context itself, and everything that was made through it. */
class Device {
 public:
  Device() noexcept = default;
  Device(const Device &other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->users.fetch_add(1, std::memory_order_relaxed);
  }
  Device(Device &&other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Device &operator=(Device other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~Device() {
    if (state_ == nullptr || state_->users.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    flashcore_context_destroy(state_->handle);
    delete state_;
  }

  static Result<Device> open(const flashcore_context_options &options) noexcept {
    Result<Device> device;
    Error error;
    device->state_ = new (std::nothrow) State;
    if (device->state_ == nullptr) return Error(FLASHCORE_OUT_OF_HOST_MEMORY, "", "no memory for a context");
    if (flashcore_context_create(&options, &device->state_->handle, error.out()) != FLASHCORE_OK) return error;
    return device;
  }
  flashcore_context handle() const noexcept { return state_ != nullptr ? state_->handle : nullptr; }

 private:
  struct State {
    flashcore_context handle = nullptr;
    std::atomic<int> users{1};
  };
  State *state_ = nullptr;
};

/* A handle that one function of flashcore.h frees. */
template <typename Handle, flashcore_status (*Free)(flashcore_context, Handle, flashcore_error *)>
class Owner {
 public:
  Owner() noexcept = default;
  Owner(Device device, Handle handle) noexcept : device_(std::move(device)), handle_(handle) {}
  Owner(Owner &&other) noexcept : device_(std::move(other.device_)), handle_(std::exchange(other.handle_, Handle{})) {}
  Owner &operator=(Owner &&other) noexcept {
    Owner moved(std::move(other));
    std::swap(device_, moved.device_);
    std::swap(handle_, moved.handle_);
    return *this;
  }
  ~Owner() { (void)close(); }

  bool is_open() const noexcept { return device_.handle() != nullptr; }

  Result<void> close() noexcept {
    const Device device = std::move(device_);
    const Handle handle = std::exchange(handle_, Handle{});
    return device.handle() != nullptr ? detail::attempt(Free, device.handle(), handle) : Result<void>();
  }

 protected:
  flashcore_context context() const noexcept { return device_.handle(); }
  Handle handle() const noexcept { return handle_; }

 private:
  Device device_;
  Handle handle_{};
};

}  // namespace detail

/* A stream that does not wait for the default stream. */
class Stream : public detail::Owner<void *, flashcore_stream_destroy> {
 public:
  using Owner::Owner;
  /* For functions of flashcore.h and, on a GPU, a CUstream; NULL when closed. */
  void *get() const noexcept { return handle(); }

  /* Wait until everything on the stream is done; failures of earlier work surface here. */
  Result<void> synchronize() const noexcept {
    return detail::attempt(flashcore_stream_synchronize, context(), handle());
  }
};

/* The stream of a call: a Stream, any CUstream, or nothing for the default stream. */
class StreamRef {
 public:
  StreamRef() noexcept = default;
  StreamRef(const Stream &stream) noexcept : stream_(stream.get()), usable_(stream.is_open()) {}
  explicit StreamRef(void *cuda_stream) noexcept : stream_(cuda_stream) {}

  /* `call` with the stream; a Stream that is closed is refused, because its NULL would be the default stream. */
  template <typename Call>
  Result<void> with(Call call) const noexcept {
    if (!usable_)
      return Error(FLASHCORE_INVALID_ARGUMENT, "stream", "stream is closed or was moved from; allowed: an open Stream");
    return detail::attempt(call, stream_);
  }

 private:
  void *stream_ = nullptr;
  bool usable_ = true;
};

/* A point in a stream's work. */
class Event : public detail::Owner<void *, flashcore_event_destroy> {
 public:
  using Owner::Owner;
  void *get() const noexcept { return handle(); }

  Result<void> record(StreamRef stream = {}) const noexcept {
    return stream.with(
        [this](void *raw, flashcore_error *error) { return flashcore_event_record(context(), handle(), raw, error); });
  }
  Result<void> synchronize() const noexcept {
    return detail::attempt(flashcore_event_synchronize, context(), handle());
  }
  /* Microseconds from `start` to this event; both must be done. */
  Result<double> elapsed_us_since(const Event &start) const noexcept {
    return detail::attempt_value<double>(flashcore_event_elapsed_us, context(), start.handle(), handle());
  }
};

/* A variant: attention with a text of the caller's own (flashcore_variant_create). args.variant = variant.id(). */
class Variant : public detail::Owner<std::uint64_t, flashcore_variant_destroy> {
 public:
  using Owner::Owner;
  std::uint64_t id() const noexcept { return handle(); } /* 0 when closed, which is no variant */
};

/* Device memory, aligned to 256 bytes. Copies are ordered on the stream and stay inside the buffer. */
class Buffer : public detail::Owner<std::uint64_t, flashcore_buffer_free> {
 public:
  Buffer() noexcept = default;
  Buffer(detail::Device device, std::uint64_t address, std::int64_t bytes) noexcept
      : Owner(std::move(device), address), bytes_(bytes) {}

  std::uint64_t address() const noexcept { return handle(); } /* 0 when closed */
  std::int64_t bytes() const noexcept { return is_open() ? bytes_ : 0; }

  /* From and to pageable memory these have finished on return; after one with a HostBuffer, synchronise first. */
  Result<void> copy_from_host(const void *source, std::int64_t bytes, StreamRef stream = {},
                              std::int64_t offset_bytes = 0) const noexcept {
    return inside(bytes, offset_bytes, stream, [&](void *raw, flashcore_error *error) {
      return flashcore_copy_to_device(context(), address() + static_cast<std::uint64_t>(offset_bytes), source, bytes,
                                      raw, error);
    });
  }
  Result<void> copy_to_host(void *destination, std::int64_t bytes, StreamRef stream = {},
                            std::int64_t offset_bytes = 0) const noexcept {
    return inside(bytes, offset_bytes, stream, [&](void *raw, flashcore_error *error) {
      return flashcore_copy_to_host(context(), destination, address() + static_cast<std::uint64_t>(offset_bytes), bytes,
                                    raw, error);
    });
  }
  /* The first `bytes` of another buffer of the same device into this one. */
  Result<void> copy_from(const Buffer &source, std::int64_t bytes, StreamRef stream = {},
                         std::int64_t offset_bytes = 0) const noexcept {
    if (bytes > source.bytes()) return outside(bytes, 0, source.bytes());
    return inside(bytes, offset_bytes, stream, [&](void *raw, flashcore_error *error) {
      return flashcore_copy_on_device(context(), address() + static_cast<std::uint64_t>(offset_bytes), source.address(),
                                      bytes, raw, error);
    });
  }
  /* Every byte to the low 8 bits of `value`. */
  Result<void> fill(std::int32_t value, StreamRef stream = {}) const noexcept {
    return inside(bytes_, 0, stream, [&](void *raw, flashcore_error *error) {
      return flashcore_buffer_fill(context(), address(), value, bytes_, raw, error);
    });
  }

  /* All of an array, std::array, std::vector or the like. */
  template <typename Container>
  Result<void> upload(const Container &items, StreamRef stream = {}) const noexcept {
    return copy_from_host(std::data(items), bytes_of(items), stream);
  }
  template <typename Container>
  Result<void> download(Container &items, StreamRef stream = {}) const noexcept {
    return copy_to_host(std::data(items), bytes_of(items), stream);
  }
  template <typename Container>
  static std::int64_t bytes_of(const Container &items) noexcept {
    using Item = std::remove_reference_t<decltype(*std::data(items))>;
    static_assert(std::is_trivially_copyable_v<Item>, "device memory holds plain data");
    return static_cast<std::int64_t>(std::size(items) * sizeof(Item));
  }

 private:
  static Error outside(std::int64_t bytes, std::int64_t offset_bytes, std::int64_t held_bytes) noexcept {
    char message[192];
    std::snprintf(message, sizeof message,
                  "bytes is %lld from offset_bytes %lld; allowed: what lies inside the buffer of %lld bytes",
                  static_cast<long long>(bytes), static_cast<long long>(offset_bytes),
                  static_cast<long long>(held_bytes));
    return Error(FLASHCORE_INVALID_ARGUMENT, "bytes", message);
  }
  template <typename Call>
  Result<void> inside(std::int64_t bytes, std::int64_t offset_bytes, StreamRef stream, Call call) const noexcept {
    if (!is_open())
      return Error(FLASHCORE_INVALID_ARGUMENT, "buffer", "buffer is closed or was moved from; allowed: an open Buffer");
    if (bytes < 0 || offset_bytes < 0 || bytes > bytes_ || offset_bytes > bytes_ - bytes)
      return outside(bytes, offset_bytes, bytes_);
    return stream.with(call);
  }
  std::int64_t bytes_ = 0;
};

/* Page-locked host memory, for copies that overlap with work on the device. */
class HostBuffer : public detail::Owner<void *, flashcore_host_free> {
 public:
  HostBuffer() noexcept = default;
  HostBuffer(detail::Device device, void *memory, std::int64_t bytes) noexcept
      : Owner(std::move(device), memory), bytes_(bytes) {}

  void *data() const noexcept { return handle(); } /* NULL when closed */
  std::int64_t bytes() const noexcept { return is_open() ? bytes_ : 0; }

 private:
  std::int64_t bytes_ = 0;
};

/* ------------------------------------------------------------------------------------------------------------------ */
/* Devices and contexts                                                                                               */
/* ------------------------------------------------------------------------------------------------------------------ */

/* Number of CUDA devices; 0 where there is no driver or no device: describe_device(0) says why. */
inline Result<std::int32_t> device_count() noexcept {
  return detail::attempt_value<std::int32_t>(flashcore_device_count);
}

inline Result<flashcore_device_info> describe_device(std::int32_t ordinal) noexcept {
  return detail::attempt_value<flashcore_device_info>(flashcore_device_describe, ordinal);
}

/* A device, its loaded kernels and its remembered plans. */
class Context {
 public:
  Context() noexcept = default; /* closed */
  Context(Context &&) noexcept = default;
  Context &operator=(Context &&) noexcept = default;

  static Result<Context> open(const flashcore_context_options &options = Options()) noexcept {
    Result<detail::Device> device = detail::Device::open(options);
    if (!device) return device.error();
    Context context;
    context.device_ = std::move(device).value();
    return context;
  }
  bool is_open() const noexcept { return get() != nullptr; }
  void close() noexcept { device_ = detail::Device(); } /* waits for nothing, see synchronize() */
  /* For functions of flashcore.h; NULL when closed. */
  flashcore_context get() const noexcept { return device_.handle(); }

  Result<flashcore_context_info> describe() const noexcept {
    return detail::attempt_value<flashcore_context_info>(flashcore_context_describe, get());
  }
  Result<flashcore_device_info> describe_device() const noexcept { /* the CPU is one, too */
    return detail::attempt_value<flashcore_device_info>(flashcore_context_describe_device, get());
  }

  /* flashcore_attention_fwd and its companions. Returns after the launch. */
  Result<void> attention(const flashcore_attention_args &args, StreamRef stream = {}) const noexcept {
    return stream.with(
        [&](void *raw, flashcore_error *error) { return flashcore_attention_fwd(get(), &args, raw, error); });
  }
  Result<void> prepare(const flashcore_attention_args &args) const noexcept {
    return detail::attempt(flashcore_attention_prepare, get(), &args);
  }
  Result<std::int64_t> workspace_bytes(const flashcore_attention_args &args) const noexcept {
    return detail::attempt_value<std::int64_t>(flashcore_attention_workspace_bytes, get(), &args);
  }
  Result<flashcore_attention_explanation> explain(const flashcore_attention_args &args) const noexcept {
    return detail::attempt_value<flashcore_attention_explanation>(flashcore_attention_explain, get(), &args);
  }

  /* flashcore_merge_states: results over parts of the keys become that over all. Returns after the launch. */
  Result<void> merge_states(const flashcore_merge_states_args &args, StreamRef stream = {}) const noexcept {
    return stream.with(
        [&](void *raw, flashcore_error *error) { return flashcore_merge_states(get(), &args, raw, error); });
  }
  Result<void> prepare(const flashcore_merge_states_args &args) const noexcept {
    return detail::attempt(flashcore_merge_states_prepare, get(), &args);
  }

  Result<Buffer> allocate(std::int64_t bytes) const noexcept {
    const Result<std::uint64_t> address = detail::attempt_value<std::uint64_t>(flashcore_buffer_alloc, get(), bytes);
    return address ? Result<Buffer>(Buffer(device_, address.value(), bytes)) : address.error();
  }
  /* A buffer that holds a copy of an array, std::array, std::vector or the like. */
  template <typename Container>
  Result<Buffer> upload(const Container &items, StreamRef stream = {}) const noexcept {
    Result<Buffer> buffer = allocate(Buffer::bytes_of(items));
    if (!buffer) return buffer;
    if (Result<void> copied = buffer->upload(items, stream); !copied) return copied.error();
    return buffer;
  }
  Result<HostBuffer> allocate_host(std::int64_t bytes) const noexcept {
    const Result<void *> memory = detail::attempt_value<void *>(flashcore_host_alloc, get(), bytes);
    return memory ? Result<HostBuffer>(HostBuffer(device_, memory.value(), bytes)) : memory.error();
  }
  Result<Stream> create_stream() const noexcept {
    const Result<void *> stream = detail::attempt_value<void *>(flashcore_stream_create, get());
    return stream ? Result<Stream>(Stream(device_, stream.value())) : stream.error();
  }
  /* Of a text that ends with a zero; params_bytes of the block that calls give in args.variant_params. */
  Result<Variant> create_variant(const char *text, std::int64_t params_bytes = 0) const noexcept {
    flashcore_variant_options options = FLASHCORE_VARIANT_OPTIONS_INIT;
    options.params_bytes = params_bytes;
    const Result<std::uint64_t> variant = detail::attempt_value<std::uint64_t>(
        [&](flashcore_context context, std::uint64_t *made, flashcore_error *error) {
          return flashcore_variant_create(context, text, 0, &options, made, error);
        },
        get());
    return variant ? Result<Variant>(Variant(device_, variant.value())) : variant.error();
  }
  Result<Event> create_event() const noexcept {
    const Result<void *> event = detail::attempt_value<void *>(flashcore_event_create, get());
    return event ? Result<Event>(Event(device_, event.value())) : event.error();
  }
  /* Wait until everything on the device is done, on every stream; failures of earlier work surface here. */
  Result<void> synchronize() const noexcept { return detail::attempt(flashcore_context_synchronize, get()); }

 private:
  detail::Device device_;
};

}  // namespace flashcore

#endif
