// SPDX-License-Identifier: Apache-2.0
//
// The request on a device, through the public interface only: open, upload, prepare, compute and time, download. The
// same calls serve the CPU device, so nothing here asks which one it is but the clock.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "run.hpp"

namespace flashcore::tools {
namespace {

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// --- Owners --------------------------------------------------------------------------------------------------------

class Context {
 public:
  Context() = default;
  Context(Context &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Context &operator=(Context &&) = delete;
  ~Context() { flashcore_context_destroy(handle_); }
  flashcore_context get() const { return handle_; }

  static Outcome<Context> open(const flashcore_context_options &options) {
    Context context;
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_context_create(&options, &context.handle_, &error) != FLASHCORE_OK)
      return library_failure("open the device", error);
    return context;
  }

 private:
  flashcore_context handle_ = nullptr;
};

// Device memory. 0 bytes have address 0.
class Buffer {
 public:
  Buffer(Buffer &&other) noexcept
      : context_(other.context_), address_(std::exchange(other.address_, 0)), bytes_(other.bytes_) {}
  Buffer &operator=(Buffer &&) = delete;
  ~Buffer() { flashcore_buffer_free(context_, address_, nullptr); }
  uint64_t address() const { return address_; }

  static Outcome<Buffer> make(const Context &context, int64_t bytes) {
    Buffer buffer(context.get(), bytes);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_buffer_alloc(context.get(), bytes, &buffer.address_, &error) != FLASHCORE_OK)
      return library_failure(fmt::format("get {} of device memory", format_bytes(bytes)), error);
    return buffer;
  }
  static Outcome<Buffer> upload(const Context &context, const void *source, int64_t bytes) {
    TOOLS_TRY_ASSIGN(Buffer buffer, make(context, bytes));
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_copy_to_device(context.get(), buffer.address_, source, bytes, nullptr, &error) != FLASHCORE_OK)
      return library_failure("copy an input to the device", error);
    return buffer;
  }
  // Every byte set: the numbers become NaN, so that one that no kernel wrote cannot pass for a result.
  Step poison() const {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_buffer_fill(context_, address_, 0xff, bytes_, nullptr, &error) != FLASHCORE_OK)
      return library_failure("fill the output", error);
    return Done{};
  }
  Step download(void *destination) const {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_copy_to_host(context_, destination, address_, bytes_, nullptr, &error) != FLASHCORE_OK)
      return library_failure("copy the result from the device", error);
    return Done{};
  }

 private:
  Buffer(flashcore_context context, int64_t bytes) : context_(context), bytes_(bytes) {}
  flashcore_context context_;
  uint64_t address_ = 0;
  int64_t bytes_;
};

template <typename T>
int64_t bytes_of(const std::vector<T> &values) {
  return static_cast<int64_t>(values.size() * sizeof(T));
}

// A stream and two events for one timed call after the other.
class Stopwatch {
 public:
  explicit Stopwatch(const Context &context) : context_(context.get()) {}
  Stopwatch(const Stopwatch &) = delete;
  Stopwatch &operator=(const Stopwatch &) = delete;
  ~Stopwatch() {
    if (start_ != nullptr) flashcore_event_destroy(context_, start_, nullptr);
    if (end_ != nullptr) flashcore_event_destroy(context_, end_, nullptr);
    if (stream_ != nullptr) flashcore_stream_destroy(context_, stream_, nullptr);
  }

  Step open() {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_stream_create(context_, &stream_, &error) != FLASHCORE_OK ||
        flashcore_event_create(context_, &start_, &error) != FLASHCORE_OK ||
        flashcore_event_create(context_, &end_, &error) != FLASHCORE_OK)
      return library_failure("make a stream and events", error);
    return Done{};
  }

  // Microseconds between the events around one call.
  Outcome<double> run(const Args &args) {
    flashcore_error error = FLASHCORE_ERROR_INIT;
    double elapsed_us = 0;
    if (flashcore_event_record(context_, start_, stream_, &error) != FLASHCORE_OK)
      return library_failure("start the clock", error);
    if (flashcore_attention_fwd(context_, &args, stream_, &error) != FLASHCORE_OK)
      return library_failure("compute the attention", error);
    if (flashcore_event_record(context_, end_, stream_, &error) != FLASHCORE_OK ||
        flashcore_stream_synchronize(context_, stream_, &error) != FLASHCORE_OK ||
        flashcore_event_elapsed_us(context_, start_, end_, &elapsed_us, &error) != FLASHCORE_OK)
      return library_failure("finish the attention", error);
    return elapsed_us;
  }

 private:
  flashcore_context context_;
  void *stream_ = nullptr, *start_ = nullptr, *end_ = nullptr;
};

// --- Steps ---------------------------------------------------------------------------------------------------------

// Sizes and strides; addresses follow when there are buffers.
Args sized_args(const RunRequest &request, const Sizes &sizes) {
  Args args = request.args;
  args.batch = sizes.batch;
  args.seqlen_q = sizes.seqlen_q;
  args.seqlen_kv = sizes.seqlen_kv;
  args.heads_q = static_cast<int32_t>(sizes.heads_q);
  args.heads_kv = static_cast<int32_t>(sizes.heads_kv);
  args.head_dim = static_cast<int32_t>(sizes.head_dim);
  args.head_dim_v = static_cast<int32_t>(sizes.head_dim_v);
  args.query.dtype = request.dtype == Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  const struct {
    flashcore_tensor *tensor;
    int64_t seqlen, heads, head_dim;
  } tensors[] = {{&args.query, sizes.seqlen_q, sizes.heads_q, sizes.head_dim},
                 {&args.key, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim},
                 {&args.value, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim_v},
                 {&args.output, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v}};
  for (const auto &row : tensors) {
    const Strides strides = array_strides(request.layout, row.seqlen, row.heads, row.head_dim);
    std::copy_n(strides.stride, 4, row.tensor->stride);
  }
  return args;
}

Step explain(const Context &context, const Args &args, Execution &execution) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  execution.explanation = {};
  execution.explanation.struct_size = sizeof(execution.explanation);
  if (flashcore_attention_explain(context.get(), &args, &execution.explanation, &error) != FLASHCORE_OK)
    return library_failure("explain the attention", error);
  return Done{};
}

Outcome<std::vector<Buffer>> upload_extras(const Context &context, const Inputs &inputs, Args &args) {
  std::vector<Buffer> buffers;
  buffers.reserve(inputs.extras.size());
  for (const ExtraArray &extra : inputs.extras) {
    TOOLS_TRY_ASSIGN(Buffer buffer, Buffer::upload(context, extra.array.bytes.data(), bytes_of(extra.array.bytes)));
    apply_extra_array(extra, inputs.sizes, buffer.address(), args);
    buffers.push_back(std::move(buffer));
  }
  return buffers;
}

Step prepare(const Context &context, const Args &args, Execution &execution, const Console &console) {
  Progress progress(console, "preparing (a module that no folder holds is compiled)");
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const double begin_us = now_us();
  if (flashcore_attention_prepare(context.get(), &args, &error) != FLASHCORE_OK)
    return library_failure("prepare the attention", error);
  execution.prepare_us = now_us() - begin_us;
  return Done{};
}

// On a GPU the first call is not timed when there are more: it also pays for what the driver does once.
Step compute(const Context &context, const RunRequest &request, const Args &args, Execution &execution,
             const Console &console) {
  Stopwatch stopwatch(context);
  TOOLS_TRY(stopwatch.open());
  Progress progress(console, "computing");
  if (execution.on_gpu() && request.repeat > 1) TOOLS_TRY(stopwatch.run(args));
  for (int64_t done = 0; done < request.repeat; ++done) {
    TOOLS_TRY_ASSIGN(const double elapsed_us, stopwatch.run(args));
    execution.times_us.push_back(elapsed_us);
    progress.update(done + 1, request.repeat);
  }
  return Done{};
}

}  // namespace

Outcome<Execution> execute(const RunRequest &request, const Inputs &inputs, const Console &console) {
  Execution execution;
  TOOLS_TRY_ASSIGN(const Context context, Context::open(request.context));
  TOOLS_TRY_ASSIGN(execution.context, describe_context(context.get()));
  Args args = sized_args(request, inputs.sizes);
  TOOLS_TRY_ASSIGN(const std::vector<Buffer> extras, upload_extras(context, inputs, args));
  TOOLS_TRY(explain(context, args, execution));
  if (request.explain) return execution;
  TOOLS_TRY(prepare(context, args, execution, console));

  const Sizes &sizes = inputs.sizes;
  TOOLS_TRY_ASSIGN(const Buffer query, Buffer::upload(context, inputs.query.data(), bytes_of(inputs.query)));
  TOOLS_TRY_ASSIGN(const Buffer key, Buffer::upload(context, inputs.key.data(), bytes_of(inputs.key)));
  TOOLS_TRY_ASSIGN(const Buffer value, Buffer::upload(context, inputs.value.data(), bytes_of(inputs.value)));
  execution.output.resize(static_cast<size_t>(sizes.batch * sizes.seqlen_q * sizes.heads_q * sizes.head_dim_v));
  const bool wants_lse = !request.lse.empty() || request.check;
  if (wants_lse) execution.lse.resize(static_cast<size_t>(sizes.batch * sizes.heads_q * sizes.seqlen_q));
  TOOLS_TRY_ASSIGN(const Buffer output, Buffer::make(context, bytes_of(execution.output)));
  TOOLS_TRY_ASSIGN(const Buffer lse, Buffer::make(context, bytes_of(execution.lse)));
  args.query.data = query.address();
  args.key.data = key.address();
  args.value.data = value.address();
  args.output.data = output.address();
  args.lse.data = lse.address();
  TOOLS_TRY(output.poison());
  TOOLS_TRY(lse.poison());
  TOOLS_TRY(compute(context, request, args, execution, console));
  TOOLS_TRY(output.download(execution.output.data()));
  TOOLS_TRY(lse.download(execution.lse.data()));
  TOOLS_TRY_ASSIGN(execution.context,
                   describe_context(context.get()));  // again: the counters now say where the module came from
  return execution;
}

}  // namespace flashcore::tools
