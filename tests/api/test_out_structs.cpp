// SPDX-License-Identifier: Apache-2.0
//
// What the library fills needs no clearing: every struct, the error, and what comes back through a pointer. The structs that
// only a GPU fills are in test_driver_calls.cpp.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>

#include "bad_input_fixture.hpp"
#include "flashcore/flashcore_inspect.h"
#include "out_struct.hpp"

namespace {

// A public struct so many bytes past an aligned address.
template <typename Struct>
class Shifted {
 public:
  explicit Shifted(size_t shift, Struct content = {}) : shift_(shift), bytes_(sizeof(Struct) + 8) {
    content.struct_size = sizeof(Struct);
    std::memcpy(bytes_.data() + shift_, &content, sizeof(content));
  }
  // Through an integer: the compiler must not learn that the pointer is misaligned.
  Struct *get() { return reinterpret_cast<Struct *>(reinterpret_cast<uintptr_t>(bytes_.data()) + shift_); }
  Struct value() const {
    Struct content;
    std::memcpy(&content, bytes_.data() + shift_, sizeof(content));
    return content;
  }

 private:
  size_t shift_;
  std::vector<unsigned char> bytes_;
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(out_struct_suite, CpuContext)

BOOST_AUTO_TEST_CASE(every_byte_of_a_struct_is_written) {
  check_every_byte_is_written<flashcore_context_info>(
      [&](auto *info) { return flashcore_context_describe(context, info, nullptr); });
  check_every_byte_is_written<flashcore_device_info>(
      [&](auto *info) { return flashcore_context_describe_device(context, info, nullptr); });
  Problem problem;
  const auto explain = [&](auto *explanation) {
    return flashcore_attention_explain(context, &problem.args, explanation, nullptr);
  };
  check_every_byte_is_written<flashcore_attention_explanation>(explain);
  problem.args.descale_batch_stride = 2;  // explained as not supported
  check_every_byte_is_written<flashcore_attention_explanation>(explain);
  check_every_byte_is_written<flashcore_kernel_info>(
      [](auto *info) { return flashcore_kernel_describe(0, info, nullptr); });
  check_every_byte_is_written<flashcore_choice_info>(
      [](auto *info) { return flashcore_kernel_choice("sm80_fwd_mma", 4, info, nullptr); });
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  device.arch = 89, device.multiprocessors = 58, device.shared_memory_per_block_optin_bytes = 101376;
  flashcore_attention_args modelled = FLASHCORE_ATTENTION_ARGS_INIT;
  modelled.batch = 1, modelled.heads_q = 8, modelled.seqlen_q = 512, modelled.seqlen_kv = 512, modelled.head_dim = 64;
  modelled.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  check_every_byte_is_written<flashcore_model_info>(
      [&](auto *info) { return flashcore_kernel_model(&modelled, &device, info, nullptr); });
}

BOOST_AUTO_TEST_CASE(a_failed_call_leaves_a_struct_alone) {
  Problem problem;
  problem.args.batch = -1;
  PoisonedStruct<flashcore_attention_explanation> explanation(sizeof(flashcore_attention_explanation), poison);
  const std::vector<unsigned char> before = explanation.bytes;
  BOOST_TEST(flashcore_attention_explain(context, &problem.args, explanation.get(), nullptr) ==
             FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(explanation.bytes == before);
}

BOOST_AUTO_TEST_CASE(every_byte_of_an_error_is_written) {
  Problem problem;
  problem.args.batch = -1;
  for (const size_t size : {sizeof(flashcore_error), sizeof(flashcore_error) + 40}) {
    PoisonedStruct<flashcore_error> first(size, 0x5a), second(size, 0xa5);
    for (auto *one : {&first, &second})
      BOOST_TEST(flashcore_attention_fwd(context, &problem.args, nullptr, one->get()) == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(first.get()->struct_size == size);
    BOOST_TEST(std::string(first.get()->field) == "batch");
    for (size_t i = 0; i < size; ++i) BOOST_TEST(first.bytes[i] == second.bytes[i], "byte " << i << " is not written");
    for (size_t i = sizeof(flashcore_error); i < size; ++i)
      BOOST_TEST(first.bytes[i] == 0, "byte " << i << " is not 0");
    for (size_t i = size; i < first.bytes.size(); ++i)
      BOOST_TEST(first.bytes[i] == 0x5a, "byte " << i << " is written");
  }
}

// Callers that read them out of a file, or pack them, have them anywhere.
BOOST_AUTO_TEST_CASE(structs_may_lie_at_any_address) {
  Problem problem;
  flashcore_attention_args wrong = problem.args;
  wrong.batch = -1;
  for (size_t shift = 0; shift < 8; ++shift) {
    Shifted<flashcore_attention_args> args(shift, problem.args), bad_args(shift, wrong);
    Shifted<flashcore_attention_explanation> explanation(shift);
    Shifted<flashcore_context_options> options(shift, FLASHCORE_CONTEXT_OPTIONS_INIT);
    Shifted<flashcore_error> error(shift);
    flashcore_context created = nullptr;
    BOOST_TEST(flashcore_attention_explain(context, args.get(), explanation.get(), error.get()) == FLASHCORE_OK);
    BOOST_TEST(std::string(explanation.value().kernel) == "cpu");
    BOOST_TEST(flashcore_attention_fwd(context, args.get(), nullptr, error.get()) == FLASHCORE_OK);
    BOOST_TEST(flashcore_attention_fwd(context, bad_args.get(), nullptr, error.get()) == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(std::string(error.value().field) == "batch");
    BOOST_TEST(flashcore_context_create(options.get(), &created, error.get()) == FLASHCORE_OK);
    flashcore_context_destroy(created);
  }
}

// Half a character is no UTF-8, so that what shows or parses the text would fail.
BOOST_AUTO_TEST_CASE(a_report_that_does_not_fit_is_cut_between_characters) {
  const char *before = std::getenv("FLASHCORE_MODULE_PATH");
  const std::string restored = before == nullptr ? "" : before;
  setenv("FLASHCORE_MODULE_PATH", "/\xe4\xb8\x96/\xf0\x9f\x98\x80/\xc3\xa4", 1);
  std::vector<char> whole(16384);
  BOOST_TEST(flashcore_environment_describe(nullptr, whole.data(), 16384, nullptr) == FLASHCORE_OK);
  const std::string report = whole.data();
  BOOST_TEST(report.find("\xf0\x9f\x98\x80") != std::string::npos);
  for (size_t capacity = 1; capacity <= report.size(); ++capacity) {
    std::vector<char> text(capacity);
    BOOST_TEST(flashcore_environment_describe(nullptr, text.data(), static_cast<int64_t>(capacity), nullptr) ==
               FLASHCORE_OK);
    const size_t length = std::strlen(text.data());
    BOOST_TEST((length < capacity && length + 4 >= capacity));
    BOOST_TEST(report.compare(0, length, text.data()) == 0);
    BOOST_TEST((static_cast<unsigned char>(report[length]) & 0xc0) != 0x80, "cut at byte " << length);
  }
  before == nullptr ? unsetenv("FLASHCORE_MODULE_PATH") : setenv("FLASHCORE_MODULE_PATH", restored.c_str(), 1);
}

// Whatever is wrong: the context, the arguments, or the error to report it in.
BOOST_AUTO_TEST_CASE(a_failed_call_gives_nothing_back) {
  Problem problem;
  problem.args.batch = -1;
  flashcore_error unset;
  std::memset(&unset, poison, sizeof(unset));
  for (flashcore_error *error : {static_cast<flashcore_error *>(nullptr), &unset}) {
    auto *const wrong = reinterpret_cast<void *>(uintptr_t{1});
    uint64_t address = 1;
    int64_t bytes = 1;
    int32_t count = 1;
    double elapsed_us = 1;
    void *memory = wrong, *stream = wrong, *event = wrong;
    auto created = static_cast<flashcore_context>(wrong);
    flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
    options.device_kind = 99;
    const flashcore_status statuses[] = {flashcore_buffer_alloc(nullptr, 16, &address, error),
                                         flashcore_host_alloc(nullptr, 16, &memory, error),
                                         flashcore_stream_create(nullptr, &stream, error),
                                         flashcore_event_create(nullptr, &event, error),
                                         flashcore_event_elapsed_us(context, nullptr, nullptr, &elapsed_us, error),
                                         flashcore_attention_workspace_bytes(context, &problem.args, &bytes, error),
                                         flashcore_context_create(&options, &created, error)};
    for (const flashcore_status status : statuses) BOOST_TEST(status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST((address == 0 && bytes == 0 && elapsed_us == 0));
    BOOST_TEST((memory == nullptr && stream == nullptr && event == nullptr && created == nullptr));
    if (error == nullptr) continue;
    BOOST_TEST(flashcore_device_count(&count, error) == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(count == 0);
    BOOST_TEST(unset.message[0] == static_cast<char>(poison));  // nobody knows how long it is
  }
}

BOOST_AUTO_TEST_SUITE_END()
