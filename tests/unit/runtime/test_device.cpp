// SPDX-License-Identifier: Apache-2.0
//
// The contract of a device is all that the public functions need: they work on one that is neither a GPU nor the CPU, reach each of its
// functions once, and give it nothing that is not there.
#include <boost/test/unit_test.hpp>
#include <functional>
#include <string>
#include <vector>

#include "base/copy_text.hpp"
#include "runtime/context.hpp"

using namespace flashcore;

namespace {

// Takes down what is asked of it.
class NotedDevice final : public Device {
 public:
  explicit NotedDevice(std::vector<std::string> &calls) : Device("a test wants it"), calls_(calls) {}
  void close() noexcept override {
    note("close");
    delete this;
  }
  void describe(flashcore_device_info *info) const override {
    note("describe");
    copy_text(info->name, "noted");
  }
  void describe(flashcore_context_info *info) const override {
    note("describe modules");
    info->modules_compiled = 7;
  }
  Status attention_fwd(const flashcore_attention_args *, void *) override { return noted("attention_fwd"); }
  Status attention_prepare(const AttentionProblem &) override { return noted("attention_prepare"); }
  Result<int64_t> attention_workspace_bytes(const AttentionProblem &) override {
    note("attention_workspace_bytes");
    return int64_t{4096};
  }
  Status attention_explain(const AttentionProblem &, flashcore_attention_explanation *explanation) override {
    explanation->supported = 1;
    return noted("attention_explain");
  }
  Status merge_states(const MergeStatesProblem &, void *) override { return noted("merge_states"); }
  Status merge_states_prepare(const MergeStatesProblem &) override { return noted("merge_states_prepare"); }
  Result<uint64_t> memory_alloc(int64_t) override {
    note("memory_alloc");
    return uint64_t{256};
  }
  Status memory_free(uint64_t) override { return noted("memory_free"); }
  Result<void *> host_alloc(int64_t) override {
    note("host_alloc");
    return handle();
  }
  Status host_free(void *) override { return noted("host_free"); }
  Status copy_to_device(uint64_t, const void *, int64_t, void *) override { return noted("copy_to_device"); }
  Status copy_to_host(void *, uint64_t, int64_t, void *) override { return noted("copy_to_host"); }
  Status copy_on_device(uint64_t, uint64_t, int64_t, void *) override { return noted("copy_on_device"); }
  Status memory_fill(uint64_t, uint8_t value, int64_t, void *) override {
    return noted("memory_fill " + std::to_string(value));
  }
  Result<void *> stream_create() override {
    note("stream_create");
    return handle();
  }
  Status stream_destroy(void *) override { return noted("stream_destroy"); }
  Status stream_synchronize(void *) override { return noted("stream_synchronize"); }
  Status synchronize() override { return noted("synchronize"); }
  Result<void *> event_create() override {
    note("event_create");
    return handle();
  }
  Status event_destroy(void *) override { return noted("event_destroy"); }
  Status event_record(void *, void *) override { return noted("event_record"); }
  Status event_synchronize(void *) override { return noted("event_synchronize"); }
  Result<double> event_elapsed_us(void *, void *) override {
    note("event_elapsed_us");
    return 2.5;
  }

 private:
  ~NotedDevice() override = default;
  void note(std::string call) const { calls_.push_back(std::move(call)); }
  Status noted(std::string call) const {
    note(std::move(call));
    return success();
  }
  void *handle() { return this; }
  std::vector<std::string> &calls_;
};

struct NotedContext {
  std::vector<std::string> calls;
  flashcore_context handle;

  NotedContext() {
    auto context = std::make_unique<Context>();
    context->device = DeviceHold(new NotedDevice(calls));
    handle = reinterpret_cast<flashcore_context>(context.release());
  }
  // The calls that a public function came to, which must succeed.
  std::string of(const std::function<flashcore_status(flashcore_error *)> &function) {
    calls.clear();
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (function(&error) != FLASHCORE_OK) return error.message;
    std::string text;
    for (const std::string &call : calls) text += (text.empty() ? "" : ", ") + call;
    return text;
  }
};

flashcore_attention_args small_args() {
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1, args.heads_q = 2, args.seqlen_q = args.seqlen_kv = 16, args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  return args;
}

flashcore_merge_states_args small_merge() {
  flashcore_merge_states_args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
  args.state_count = 1, args.batch = 1, args.seqlen_q = 16, args.heads_q = 2, args.head_dim_v = 64;
  args.output_states.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.output_states.data = 0x10000, args.lse_states.data = 0x20000, args.output.data = 0x30000;
  return args;
}

template <typename T>
T sized() {
  T content{};
  content.struct_size = sizeof(content);
  return content;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(device, NotedContext)

BOOST_AUTO_TEST_CASE(every_public_function_of_a_context_asks_the_device) {
  uint64_t address = 0;
  int64_t bytes = 0;
  void *memory = nullptr, *stream = nullptr, *event = nullptr;
  double elapsed_us = 0;
  const flashcore_attention_args args = small_args();
  auto explanation = sized<flashcore_attention_explanation>();
  auto device_info = sized<flashcore_device_info>();
  auto context_info = sized<flashcore_context_info>();
  using E = flashcore_error *;
  BOOST_TEST(of([&](E e) { return flashcore_attention_fwd(handle, &args, nullptr, e); }) == "attention_fwd");
  BOOST_TEST(of([&](E e) { return flashcore_attention_prepare(handle, &args, e); }) == "attention_prepare");
  BOOST_TEST(of([&](E e) { return flashcore_attention_workspace_bytes(handle, &args, &bytes, e); }) ==
             "attention_workspace_bytes");
  BOOST_TEST(of([&](E e) { return flashcore_attention_explain(handle, &args, &explanation, e); }) ==
             "attention_explain");
  const flashcore_merge_states_args merge = small_merge();
  BOOST_TEST(of([&](E e) { return flashcore_merge_states(handle, &merge, nullptr, e); }) == "merge_states");
  BOOST_TEST(of([&](E e) { return flashcore_merge_states_prepare(handle, &merge, e); }) == "merge_states_prepare");
  BOOST_TEST(of([&](E e) { return flashcore_context_describe_device(handle, &device_info, e); }) == "describe");
  BOOST_TEST(of([&](E e) { return flashcore_context_describe(handle, &context_info, e); }) == "describe modules");
  BOOST_TEST(of([&](E e) { return flashcore_context_synchronize(handle, e); }) == "synchronize");
  BOOST_TEST(of([&](E e) { return flashcore_buffer_alloc(handle, 8, &address, e); }) == "memory_alloc");
  BOOST_TEST(of([&](E e) { return flashcore_buffer_free(handle, address, e); }) == "memory_free");
  BOOST_TEST(of([&](E e) { return flashcore_host_alloc(handle, 8, &memory, e); }) == "host_alloc");
  BOOST_TEST(of([&](E e) { return flashcore_host_free(handle, memory, e); }) == "host_free");
  BOOST_TEST(of([&](E e) { return flashcore_copy_to_device(handle, 1, this, 8, nullptr, e); }) == "copy_to_device");
  BOOST_TEST(of([&](E e) { return flashcore_copy_to_host(handle, this, 1, 8, nullptr, e); }) == "copy_to_host");
  BOOST_TEST(of([&](E e) { return flashcore_copy_on_device(handle, 1, 2, 8, nullptr, e); }) == "copy_on_device");
  BOOST_TEST(of([&](E e) { return flashcore_buffer_fill(handle, 1, 0x1ff, 8, nullptr, e); }) == "memory_fill 255");
  BOOST_TEST(of([&](E e) { return flashcore_stream_create(handle, &stream, e); }) == "stream_create");
  BOOST_TEST(of([&](E e) { return flashcore_stream_synchronize(handle, nullptr, e); }) == "stream_synchronize");
  BOOST_TEST(of([&](E e) { return flashcore_stream_destroy(handle, stream, e); }) == "stream_destroy");
  BOOST_TEST(of([&](E e) { return flashcore_event_create(handle, &event, e); }) == "event_create");
  BOOST_TEST(of([&](E e) { return flashcore_event_record(handle, event, nullptr, e); }) == "event_record");
  BOOST_TEST(of([&](E e) { return flashcore_event_synchronize(handle, event, e); }) == "event_synchronize");
  BOOST_TEST(of([&](E e) { return flashcore_event_elapsed_us(handle, event, event, &elapsed_us, e); }) ==
             "event_elapsed_us");
  BOOST_TEST(of([&](E e) { return flashcore_event_destroy(handle, event, e); }) == "event_destroy");
  calls.clear();
  flashcore_context_destroy(handle);
  BOOST_TEST(calls == std::vector<std::string>{"close"});

  BOOST_TEST(address == 256u);
  BOOST_TEST(bytes == 4096);
  BOOST_TEST(elapsed_us == 2.5);
  BOOST_TEST(explanation.supported == 1);
  BOOST_TEST(std::string(device_info.name) == "noted");
  BOOST_TEST(std::string(context_info.device_reason) == "a test wants it");
  BOOST_TEST(context_info.modules_compiled == 7);
}

// So that no implementation has to look.
BOOST_AUTO_TEST_CASE(what_is_nothing_to_do_reaches_no_device) {
  uint64_t address = 1;
  void *memory = this;
  using E = flashcore_error *;
  BOOST_TEST(of([&](E e) { return flashcore_buffer_alloc(handle, 0, &address, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_host_alloc(handle, 0, &memory, e); }) == "");
  BOOST_TEST(address == 0u);
  BOOST_TEST(memory == nullptr);
  BOOST_TEST(of([&](E e) { return flashcore_buffer_free(handle, 0, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_host_free(handle, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_copy_to_device(handle, 0, nullptr, 0, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_copy_to_host(handle, nullptr, 0, 0, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_copy_on_device(handle, 0, 0, 0, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_buffer_fill(handle, 0, 1, 0, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_stream_destroy(handle, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_event_destroy(handle, nullptr, e); }) == "");
  BOOST_TEST(of([&](E e) { return flashcore_buffer_alloc(handle, -1, &address, e); }) ==
             "bytes is -1; allowed: 0 or more");
  BOOST_TEST(of([&](E e) { return flashcore_event_record(handle, nullptr, nullptr, e); }) ==
             "event is NULL; allowed: what flashcore_event_create gave");
  BOOST_TEST(calls.empty());
  flashcore_context_destroy(handle);
}

BOOST_AUTO_TEST_SUITE_END()
