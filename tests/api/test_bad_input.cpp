// SPDX-License-Identifier: Apache-2.0
//
// Bad input through the public C interface, on the CPU device: each gives its status and its field, touches no output,
// and leaves the context as useful as before. The rules behind the fields are tested in tests/unit/problem; the calls
// that are not about attention are in test_bad_helper_input.cpp.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE bad_input
#include <boost/test/unit_test.hpp>
#include <functional>
#include <limits>
#include <thread>
#include <tuple>

#include "bad_input_fixture.hpp"
#include "flashcore/flashcore_inspect.h"

namespace {

using Args = flashcore_attention_args;

struct BadInput {
  const char *field;
  flashcore_status status;
  std::function<void(Args &)> spoil;
};

#define INVALID(field, value)                                                   \
  BadInput {                                                                    \
#field, FLASHCORE_INVALID_ARGUMENT, [](Args & args) { args.field = value; } \
  }
#define UNSUPPORTED(field, value)                                          \
  BadInput {                                                               \
#field, FLASHCORE_UNSUPPORTED, [](Args & args) { args.field = value; } \
  }

std::vector<BadInput> bad_inputs() {
  return {
      INVALID(struct_size, 0),
      INVALID(struct_size, 911),
      INVALID(struct_size, 0xffffffff),
      INVALID(batch, -1),
      INVALID(seqlen_q, int64_t{1} << 31),
      INVALID(seqlen_kv, std::numeric_limits<int64_t>::min()),
      INVALID(heads_q, 0),
      INVALID(heads_kv, 3),
      INVALID(head_dim, 0),
      INVALID(head_dim_v, -1),
      INVALID(query.dtype, FLASHCORE_DTYPE_DEFAULT),
      INVALID(query.dtype, 99),
      UNSUPPORTED(query.dtype, FLASHCORE_DTYPE_FLOAT32),
      UNSUPPORTED(key.dtype, FLASHCORE_DTYPE_BFLOAT16),
      UNSUPPORTED(value.dtype, FLASHCORE_DTYPE_FLOAT8_E4M3),
      UNSUPPORTED(output.dtype, FLASHCORE_DTYPE_FLOAT8_E5M2),
      UNSUPPORTED(lse.dtype, FLASHCORE_DTYPE_FLOAT16),
      INVALID(query.data, 0),
      INVALID(key.data, 0),
      INVALID(value.data, 0),
      INVALID(output.data, 0),
      INVALID(query.data, args.query.data + 1),
      INVALID(lse.data, args.lse.data + 2),
      INVALID(output.data, args.query.data),
      INVALID(lse.data, args.output.data),
      INVALID(key.stride[1], -1),
      INVALID(key.stride[3], 2),
      INVALID(softmax_scale, 0.5f),
      INVALID(causal, 3),
      INVALID(lse_base, 2),
      INVALID(window_left, 4),
      INVALID(reserved0, 1),
      INVALID(workspace_bytes, -1),
      UNSUPPORTED(flags, 0x80000000),
      INVALID(softcap, -1.0f),
      INVALID(attention_chunk, -1),
      INVALID(alibi_slopes, args.query.data + 2),
      INVALID(alibi_batch_stride, 8),
      INVALID(sinks.data, args.query.data + 1),
      INVALID(sinks.stride[2], 1),
      INVALID(bias.data, args.query.data + 1),
      INVALID(bias.stride[3], 1),
      INVALID(mask.stride[0], 1),
      UNSUPPORTED(mask.dtype, FLASHCORE_DTYPE_INT32),
      INVALID(index_dtype, FLASHCORE_DTYPE_FLOAT32),
      INVALID(total_q, 5),
      INVALID(page_size, 16),
      {"total_q", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.cu_seqlens_q = args.query.data; }},
      {"total_kv", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.cu_seqlens_kv = args.query.data; }},
      {"kv_batch_count", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.kv_batch_index = args.query.data; }},
      {"page_size", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.page_table = args.query.data; }},
      INVALID(variant, 1),
      INVALID(variant_params, args.query.data),
      INVALID(new_key.data, args.query.data),
      INVALID(new_value.stride[1], 64),
      INVALID(seqlen_new, -1),
      {"new_key.data", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.seqlen_new = 1; }},
      INVALID(rotary_dim, 3),
      INVALID(rotary_cos, args.query.data),
      INVALID(rotary_table_rows, 5),
      INVALID(flags, FLASHCORE_FLAG_ROTARY_INTERLEAVED),
      INVALID(split_count, -4),
      INVALID(split_tokens, -1),
      INVALID(multiprocessor_limit, -1),
      INVALID(query_position, 5),
      {"workspace_bytes", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.workspace = args.output.data; }},
      {"workspace", FLASHCORE_INVALID_ARGUMENT,
       [](Args &args) {
         args.workspace = 8;
         args.workspace_bytes = 16;
       }},
      {"workspace", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { args.workspace_bytes = 16; }},
      {"kernel", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { std::memset(args.kernel, 'x', sizeof(args.kernel)); }},
      {"kernel", FLASHCORE_INVALID_ARGUMENT, [](Args &args) { std::strcpy(args.kernel, "no_such_kernel"); }},
      {"kernel", FLASHCORE_INVALID_ARGUMENT,
       [](Args &args) { std::strcpy(args.kernel, "sm80_fwd_mma-fp16-d64-64x64"); }},
      {"kernel", FLASHCORE_INVALID_ARGUMENT,
       [](Args &args) { std::strcpy(args.kernel, "sm80_fwd_mma-fp16-d64-64x8-w4"); }},
      {"kernel", FLASHCORE_UNSUPPORTED,
       [](Args &args) { std::strcpy(args.kernel, "sm80_fwd_mma-fp16-d64-64x64-w4-qreg"); }},
  };
}

void check_good_call(flashcore_context context, Problem &problem) {
  PoisonedError poisoned;
  problem.poison_outputs();
  const flashcore_status status = flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error);
  BOOST_REQUIRE_MESSAGE(status == FLASHCORE_OK, poisoned.error.message);
  BOOST_TEST(poisoned.untouched());  // written only when the status is not OK
  BOOST_TEST(problem.outputs_right());
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(bad_input_suite, CpuContext)

BOOST_AUTO_TEST_CASE(every_bad_input_has_its_status_and_field) {
  for (const BadInput &bad : bad_inputs()) {
    Problem problem;
    bad.spoil(problem.args);
    PoisonedError poisoned;
    const flashcore_status status = flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error);
    check_failure(poisoned, status, bad.status, bad.field);
    BOOST_TEST(problem.outputs_untouched(), bad.field);
    BOOST_TEST(flashcore_attention_fwd(context, &problem.args, nullptr, nullptr) == bad.status, bad.field);
    BOOST_TEST(problem.outputs_untouched(), bad.field);
  }
  Problem problem;
  check_good_call(context, problem);
}

BOOST_AUTO_TEST_CASE(null_arguments) {
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_attention_fwd(context, nullptr, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "args");
  poisoned = {};
  check_failure(poisoned, flashcore_attention_prepare(context, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "args");
  const Problem problem;
  poisoned = {};
  check_failure(poisoned, flashcore_attention_workspace_bytes(context, &problem.args, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "bytes");
  poisoned = {};
  check_failure(poisoned, flashcore_attention_explain(context, &problem.args, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "explanation");
  poisoned = {};
  check_failure(poisoned, flashcore_context_describe(context, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "info");
  poisoned = {};
  check_failure(poisoned, flashcore_context_describe_device(context, nullptr, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "info");
  poisoned = {};
  check_failure(poisoned, flashcore_context_create(nullptr, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                "context");
  poisoned = {};
  check_failure(poisoned, flashcore_device_count(nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT, "count");
  poisoned = {};
  check_failure(poisoned, flashcore_device_describe(0, nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT, "info");
}

BOOST_AUTO_TEST_CASE(null_context) {
  const Problem problem;
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  uint64_t address = 0;
  int64_t bytes = 0;
  double elapsed_us = 0;
  void *memory = nullptr;
  using Call = std::function<flashcore_status(flashcore_error *)>;
  const Call calls[] = {
      [&](auto *error) { return flashcore_attention_fwd(nullptr, &problem.args, nullptr, error); },
      [&](auto *error) { return flashcore_attention_prepare(nullptr, &problem.args, error); },
      [&](auto *error) { return flashcore_attention_workspace_bytes(nullptr, &problem.args, &bytes, error); },
      [&](auto *error) { return flashcore_attention_explain(nullptr, &problem.args, &explanation, error); },
      [&](auto *error) { return flashcore_context_describe(nullptr, &info, error); },
      [&](auto *error) { return flashcore_context_describe_device(nullptr, &device, error); },
      [&](auto *error) { return flashcore_context_synchronize(nullptr, error); },
      [&](auto *error) { return flashcore_buffer_alloc(nullptr, 16, &address, error); },
      [&](auto *error) { return flashcore_buffer_free(nullptr, 0, error); },
      [&](auto *error) { return flashcore_host_alloc(nullptr, 16, &memory, error); },
      [&](auto *error) { return flashcore_host_free(nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_copy_to_device(nullptr, 0, nullptr, 0, nullptr, error); },
      [&](auto *error) { return flashcore_copy_to_host(nullptr, nullptr, 0, 0, nullptr, error); },
      [&](auto *error) { return flashcore_copy_on_device(nullptr, 0, 0, 0, nullptr, error); },
      [&](auto *error) { return flashcore_buffer_fill(nullptr, 0, 0, 0, nullptr, error); },
      [&](auto *error) { return flashcore_stream_create(nullptr, &memory, error); },
      [&](auto *error) { return flashcore_stream_destroy(nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_stream_synchronize(nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_event_create(nullptr, &memory, error); },
      [&](auto *error) { return flashcore_event_destroy(nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_event_record(nullptr, nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_event_synchronize(nullptr, nullptr, error); },
      [&](auto *error) { return flashcore_event_elapsed_us(nullptr, nullptr, nullptr, &elapsed_us, error); },
  };
  for (const Call &call : calls) {
    PoisonedError poisoned;
    check_failure(poisoned, call(&poisoned.error), FLASHCORE_INVALID_ARGUMENT, "context");
    BOOST_TEST(call(nullptr) == FLASHCORE_INVALID_ARGUMENT);
  }
  flashcore_context_destroy(nullptr);
}

BOOST_AUTO_TEST_CASE(error_struct_of_no_version) {
  Problem problem;
  for (uint32_t size : {0u, 4u, uint32_t{sizeof(flashcore_error)} - 1, 65537u}) {
    PoisonedError poisoned;
    poisoned.error.struct_size = size;
    // Not even good arguments are looked at: nobody could be told what was wrong with them.
    BOOST_TEST(flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error) == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(poisoned.untouched());
    BOOST_TEST(poisoned.error.struct_size == size);
    BOOST_TEST(problem.outputs_untouched());
  }
}

BOOST_AUTO_TEST_CASE(args_of_a_newer_header) {
  Problem problem;
  std::vector<unsigned char> bytes(sizeof(Args) + 64);
  std::memcpy(bytes.data(), &problem.args, sizeof(Args));
  auto *args = reinterpret_cast<Args *>(bytes.data());
  args->struct_size = static_cast<uint32_t>(bytes.size());
  BOOST_TEST(flashcore_attention_fwd(context, args, nullptr, nullptr) == FLASHCORE_OK);
  BOOST_TEST(problem.outputs_right());
  problem.poison_outputs();
  bytes.back() = 1;
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_attention_fwd(context, args, nullptr, &poisoned.error), FLASHCORE_UNSUPPORTED,
                "struct_size");
  BOOST_TEST(problem.outputs_untouched());
}

BOOST_AUTO_TEST_CASE(addresses_that_are_no_host_memory) {
  const NoMemory nowhere;
  const struct {
    const char *field;
    flashcore_tensor Args::*tensor;
  } tensors[] = {{"query.data", &Args::query},
                 {"key.data", &Args::key},
                 {"value.data", &Args::value},
                 {"output.data", &Args::output},
                 {"lse.data", &Args::lse}};
  for (const auto &tensor : tensors) {
    for (uint64_t address : {nowhere.address(), uint64_t{0x1000}, uint64_t{0xffff800000000000}}) {
      Problem problem;
      (problem.args.*tensor.tensor).data = address;
      PoisonedError poisoned;
      const flashcore_status status = flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error);
      check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, tensor.field);
      BOOST_TEST(problem.outputs_untouched());
    }
  }
  Problem problem;
  check_good_call(context, problem);
}

// A good address and a stride that leads out of the allocation: the first sequence is memory, the second is not.
BOOST_AUTO_TEST_CASE(strides_that_lead_out_of_memory) {
  const NoMemory pages;
  constexpr int64_t half = NoMemory::bytes / 2;
  BOOST_REQUIRE(mprotect(pages.pages, half, PROT_READ | PROT_WRITE) == 0);
  for (auto [field, tensor, rows] :
       {std::tuple{"query.data", &Args::query, 5}, std::tuple{"key.data", &Args::key, 7},
        std::tuple{"value.data", &Args::value, 7}, std::tuple{"output.data", &Args::output, 5}}) {
    Problem problem;
    flashcore_tensor &moved = problem.args.*tensor;
    moved.data = pages.address();
    const int64_t heads = rows == 5 ? 4 : 2;
    const int64_t strides[] = {half / 2, heads * 16, 16, 1};
    std::copy(strides, strides + 4, moved.stride);
    PoisonedError poisoned;
    const flashcore_status status = flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error);
    check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, field);
    BOOST_TEST(problem.outputs_untouched());
    moved.stride[0] = half / 4;
    BOOST_TEST(flashcore_attention_fwd(context, &problem.args, nullptr, nullptr) == FLASHCORE_OK);
  }
}

BOOST_AUTO_TEST_CASE(gpu_kernels_on_the_cpu) {
  BOOST_REQUIRE(flashcore_kernel_count() > 0);
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info info{};
    info.struct_size = sizeof(info);
    BOOST_REQUIRE(flashcore_kernel_describe(index, &info, nullptr) == FLASHCORE_OK);
    const bool of_attention = info.operation == FLASHCORE_OPERATION_ATTENTION_FWD;
    Problem problem;
    std::memcpy(problem.args.kernel, info.name, sizeof(problem.args.kernel));
    PoisonedError poisoned;
    const flashcore_status status = flashcore_attention_fwd(context, &problem.args, nullptr, &poisoned.error);
    check_failure(poisoned, status, of_attention ? FLASHCORE_UNSUPPORTED : FLASHCORE_INVALID_ARGUMENT, "kernel");
    BOOST_TEST(problem.outputs_untouched());
  }
  Problem problem;
  std::strcpy(problem.args.kernel, "cpu");
  check_good_call(context, problem);
}

BOOST_AUTO_TEST_CASE(names_of_kernels_and_modules) {
  for (const char *name : {"sm80_fwd_mma", "sm80_fwd_mma-fp16-d64-64x64-w4-qreg", "fwd_scalar"})
    BOOST_TEST(flashcore_kernel_check_name(name, nullptr) == FLASHCORE_OK, name);
  const std::string endless(FLASHCORE_NAME_BYTES, 'x');
  for (const char *name :
       {"", "cpu", "fwd_magic", "sm80_fwd_mma-fp16", "sm80_fwd_mma-fp16-d64-64x8-w4", endless.c_str()}) {
    PoisonedError poisoned;
    const flashcore_status status = flashcore_kernel_check_name(name, &poisoned.error);
    check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, "kernel");
  }
  PoisonedError poisoned;
  check_failure(poisoned, flashcore_kernel_check_name(nullptr, &poisoned.error), FLASHCORE_INVALID_ARGUMENT, "name");
}

BOOST_AUTO_TEST_CASE(modules_that_cannot_be_obtained) {
  flashcore_module_info info{};
  info.struct_size = sizeof(info);
  const struct {
    const char *module, *arch, *field;
  } cases[] = {{nullptr, "sm_89", "module"},
               {"sm80_fwd_mma-fp16-d64-64x64-w4", nullptr, "arch"},
               {"sm80_fwd_mma-fp16-d64-64x64-w4", "ada", "arch"},
               {"sm80_fwd_mma", "sm_89", "kernel"},
               {"sm80_fwd_mma-fp16-d64-64x8-w4", "sm_89", "kernel"},
               {"", "sm_89", "kernel"}};
  for (const auto &one : cases) {
    PoisonedError poisoned;
    const flashcore_status status =
        flashcore_module_obtain(nullptr, one.module, one.arch, &info, nullptr, nullptr, &poisoned.error);
    check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, one.field);
  }
  PoisonedError poisoned;
  const flashcore_status status = flashcore_module_obtain(nullptr, "sm80_fwd_mma-fp16-d64-64x64-w4", "sm_89", nullptr,
                                                          nullptr, nullptr, &poisoned.error);
  check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, "info");
}

BOOST_AUTO_TEST_CASE(the_model_of_bad_input) {
  Args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1, args.heads_q = 8, args.seqlen_q = 512, args.seqlen_kv = 512, args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  device.arch = 89, device.multiprocessors = 58, device.shared_memory_per_block_optin_bytes = 101376;
  flashcore_model_info model{};
  model.struct_size = sizeof(model);
  BOOST_TEST(flashcore_kernel_model(&args, &device, &model, nullptr) == FLASHCORE_OK);
  BOOST_TEST(model.total_us > 0);
  BOOST_TEST(std::string(model.module).size() > 0u);
  for (auto member : {&flashcore_device_info::arch, &flashcore_device_info::multiprocessors,
                      &flashcore_device_info::shared_memory_per_block_optin_bytes}) {
    flashcore_device_info wrong = device;
    wrong.*member = 0;
    PoisonedError poisoned;
    check_failure(poisoned, flashcore_kernel_model(&args, &wrong, &model, &poisoned.error), FLASHCORE_INVALID_ARGUMENT,
                  "device");
  }
  Args unserved = args;
  std::strcpy(unserved.kernel, "no_such_kernel");
  PoisonedError poisoned, without;
  check_failure(poisoned, flashcore_kernel_model(&unserved, &device, &model, &poisoned.error),
                FLASHCORE_INVALID_ARGUMENT, "kernel");
  check_failure(without, flashcore_kernel_model(&args, nullptr, &model, &without.error), FLASHCORE_INVALID_ARGUMENT,
                "device");
}

BOOST_AUTO_TEST_CASE(prepare_and_workspace_take_absent_addresses) {
  Problem problem;
  for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output, &Args::lse})
    (problem.args.*tensor).data = 0;
  BOOST_TEST(flashcore_attention_prepare(context, &problem.args, nullptr) == FLASHCORE_OK);
  int64_t bytes = -1;
  BOOST_TEST(flashcore_attention_workspace_bytes(context, &problem.args, &bytes, nullptr) == FLASHCORE_OK);
  BOOST_TEST(bytes >= 0);
  for (const BadInput &bad : bad_inputs()) {
    if (std::strcmp(bad.field, "workspace") == 0) continue;
    Problem spoiled;
    bad.spoil(spoiled.args);
    if (spoiled.args.query.data == 0 || spoiled.args.key.data == 0 || spoiled.args.value.data == 0 ||
        spoiled.args.output.data == 0 || (spoiled.args.seqlen_new > 0 && spoiled.args.new_key.data == 0))
      continue;
    PoisonedError poisoned;
    check_failure(poisoned, flashcore_attention_prepare(context, &spoiled.args, &poisoned.error), bad.status,
                  bad.field);
    poisoned = {};
    bytes = -1;
    check_failure(poisoned, flashcore_attention_workspace_bytes(context, &spoiled.args, &bytes, &poisoned.error),
                  bad.status, bad.field);
    BOOST_TEST(bytes == 0);
  }
}

BOOST_AUTO_TEST_CASE(explanations_of_bad_input) {
  Problem problem;
  flashcore_attention_explanation explanation{};
  for (uint32_t size : {0u, 8u}) {
    explanation.struct_size = size;
    PoisonedError poisoned;
    const flashcore_status status = flashcore_attention_explain(context, &problem.args, &explanation, &poisoned.error);
    check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, "struct_size");
  }
  explanation.struct_size = sizeof(explanation);
  BOOST_TEST(flashcore_attention_explain(context, &problem.args, &explanation, nullptr) == FLASHCORE_OK);
  BOOST_TEST(explanation.supported == 1);
  BOOST_TEST(std::string(explanation.kernel) == "cpu");
  problem.args.descale_batch_stride = 2;
  BOOST_TEST(flashcore_attention_explain(context, &problem.args, &explanation, nullptr) == FLASHCORE_OK);
  BOOST_TEST(explanation.supported == 0);
  BOOST_TEST(std::string(explanation.kernel).empty());
  BOOST_TEST(std::string(explanation.reasons).find("descale_batch_stride is 2;") != std::string::npos,
             explanation.reasons);
  problem.args.batch = -1;
  problem.args.descale_batch_stride = 0;
  PoisonedError poisoned;
  const flashcore_status status = flashcore_attention_explain(context, &problem.args, &explanation, &poisoned.error);
  check_failure(poisoned, status, FLASHCORE_INVALID_ARGUMENT, "batch");
}

BOOST_AUTO_TEST_CASE(numbers_that_are_no_status) {
  BOOST_TEST(std::string(flashcore_status_name(12345)) == "UNKNOWN");
  BOOST_TEST(std::string(flashcore_status_sentence(-1)).size() > 0u);
}

// One context, eight threads, each with its own mistake and its own error; two of them also compute.
BOOST_AUTO_TEST_CASE(eight_threads_see_their_own_errors) {
  constexpr int thread_count = 8, rounds = 500;
  const std::vector<BadInput> all = bad_inputs();
  std::vector<int> wrong(thread_count, -1);
  std::vector<std::thread> threads;
  for (int index = 0; index < thread_count; ++index) {
    threads.emplace_back([&, index] {
      Problem good;
      int wrong_here = 0;
      for (int round = 0; round < rounds; ++round) {
        const BadInput &bad = all[static_cast<size_t>(index * 7 + round) % all.size()];
        Args args = good.args;
        bad.spoil(args);
        PoisonedError poisoned;
        const flashcore_status status = flashcore_attention_fwd(context, &args, nullptr, &poisoned.error);
        wrong_here +=
            status != bad.status || poisoned.error.status != status || bad.field != std::string(poisoned.error.field);
        wrong_here += !good.outputs_untouched();
        if (index < 2 && round % 50 == 0) {
          wrong_here +=
              flashcore_attention_fwd(context, &good.args, nullptr, nullptr) != FLASHCORE_OK || !good.outputs_right();
          good.poison_outputs();
        }
      }
      wrong[static_cast<size_t>(index)] = wrong_here;
    });
  }
  for (std::thread &thread : threads) thread.join();
  for (int count : wrong) BOOST_TEST(count == 0);
}

BOOST_AUTO_TEST_SUITE_END()
