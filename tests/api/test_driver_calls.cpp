// SPDX-License-Identifier: Apache-2.0
//
// Which driver calls the library makes: one launch when warm and nothing around it, none that would break a capture,
// one shared-memory opt-in per function, grids and shared memory within the device's limits.
#define BOOST_TEST_MODULE driver_calls
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <thread>

#include "gpu_fixture.hpp"
#include "malloc_counter.hpp"
#include "out_struct.hpp"

using boost::unit_test::precondition;

namespace {

constexpr int32_t max_dynamic_shared = 8;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES

std::string calls_since_reset() {
  std::string text;
  for (int64_t i = 0; i < fake().fake_calls(""); ++i) text += std::string(i == 0 ? "" : " ") + fake().fake_call_name(i);
  return text;
}

void *make_primary_current() {
  void *context = fake().fake_primary_context(0);
  fake().fake_set_current(context);
  return context;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_FIXTURE_TEST_SUITE(driver_calls, Books)

// Where NVRTC is, the modules of all these tests can be made; else every one of them would be skipped for a wrong
// reason.
BOOST_AUTO_TEST_CASE(the_modules_can_be_made_where_there_is_a_compiler) {
  const std::string &why_not = Sandbox::get().fill_cache();
  BOOST_TEST((why_not.empty() || contains(why_not, "NVRTC was not found")), why_not);
}

BOOST_AUTO_TEST_CASE(a_warm_call_is_one_launch, *precondition(modules_exist)) {
  void *primary = make_primary_current();
  {
    GpuContext context;
    GpuProblem problem(context.handle);
    BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    fake().fake_reset_calls();
    BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuLaunchKernel");
    BOOST_TEST(fake().fake_get_current() == primary);
  }
  fake().fake_set_current(nullptr);
}

// Another library's own context (cuCtxCreate, a green one) is current when the device is opened, and is gone when a framework calls
// on a stream of the primary one.
BOOST_AUTO_TEST_CASE(a_foreign_context_that_is_current_at_opening_is_not_kept, *precondition(modules_exist)) {
  GpuContext framework;
  void *side_stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(framework.handle, &side_stream, nullptr) == FLASHCORE_OK);
  void *const primary = fake().fake_primary_context(0), *const foreign = fake().fake_user_context(0);
  fake().fake_set_current(foreign);
  {
    GpuContext context;
    BOOST_TEST(fake().fake_get_current() == foreign);
    void *const all[] = {foreign, nullptr, primary};
    for (void *current : all) {
      fake().fake_set_current(current);
      GpuProblem problem(context.handle);
      void *own_stream = nullptr;
      BOOST_REQUIRE(flashcore_stream_create(context.handle, &own_stream, nullptr) == FLASHCORE_OK);
      void *const streams[] = {nullptr, side_stream, own_stream};
      for (void *stream : streams) {
        BOOST_TEST(problem.forward(stream) == "OK");
        BOOST_TEST(fake().fake_get_launch(fake().fake_launch_count() - 1)->context == primary);
        BOOST_TEST(fake().fake_get_current() == current);
      }
      BOOST_TEST(flashcore_stream_destroy(context.handle, own_stream, nullptr) == FLASHCORE_OK);
    }
    fake().fake_set_current(foreign);
  }
  BOOST_TEST(fake().fake_get_current() == foreign);
  fake().fake_set_current(nullptr);
  BOOST_TEST(flashcore_stream_destroy(framework.handle, side_stream, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(a_stream_of_a_foreign_context_is_refused_and_the_reason_said, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  void *const stream = fake().fake_user_stream(fake().fake_user_context(0));
  const std::string text = problem.forward(stream);
  BOOST_TEST(text.rfind("CUDA_ERROR 400 ", 0) == 0u, text);
  CHECK_TEXT(text, "of another CUDA context than the device's primary one");
  BOOST_TEST(fake().fake_launch_count() == 0);
}

BOOST_AUTO_TEST_CASE(a_warm_call_with_another_context_current_puts_it_back, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  for (void *current : {static_cast<void *>(nullptr), fake().fake_user_context(0)}) {
    fake().fake_set_current(current);
    fake().fake_reset_calls();
    BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuCtxPushCurrent cuLaunchKernel cuCtxPopCurrent");
    BOOST_TEST(fake().fake_get_current() == current);
  }
  fake().fake_set_current(nullptr);
}

// Of what is remembered for each shape nothing is mixed up.
BOOST_AUTO_TEST_CASE(shapes_that_alternate_are_launches_with_their_own_parameters, *precondition(modules_exist)) {
  make_primary_current();
  {
    GpuContext context;
    flashcore_attention_args longer = small_args();
    longer.seqlen_q = 256;
    GpuProblem problems[] = {GpuProblem(context.handle), GpuProblem(context.handle, longer),
                             GpuProblem(context.handle)};
    fake().fake_set_option("params", 64);
    for (const GpuProblem &problem : problems) BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    for (int round = 0; round < 3; ++round)
      for (int i = 0; i < 3; ++i) {
        fake().fake_reset_calls();
        BOOST_TEST(problems[i].forward() == "OK");
        BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuLaunchKernel");
        const fake_launch *first = fake().fake_get_launch(i);
        const fake_launch *last = fake().fake_get_launch(fake().fake_launch_count() - 1);
        BOOST_TEST(last->grid[0] == first->grid[0]);
        BOOST_TEST(std::memcmp(last->params, first->params, 64) == 0);
      }
    BOOST_TEST(fake().fake_get_launch(0)->grid[0] != fake().fake_get_launch(1)->grid[0]);
    BOOST_TEST(std::memcmp(fake().fake_get_launch(0)->params, fake().fake_get_launch(2)->params, 64) != 0);
  }
  fake().fake_set_current(nullptr);
}

BOOST_AUTO_TEST_CASE(a_warm_call_allocates_nothing, *precondition(modules_exist) * precondition(no_sanitizer)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  flashcore_error error = fresh_error();
  BOOST_REQUIRE(flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) == FLASHCORE_OK);
  fake().fake_set_option("record", 0);
  const int64_t before = malloc_count();
  BOOST_TEST(before > 0);  // the counter counts
  int failures = 0;
  for (int i = 0; i < 1000; ++i)
    failures += flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) != FLASHCORE_OK;
  BOOST_TEST(malloc_count() == before);
  BOOST_TEST(failures == 0);
  BOOST_TEST(fake().fake_calls("cuLaunchKernel") >= 1000);
}

// Its name is read in every call.
BOOST_AUTO_TEST_CASE(a_warm_call_of_a_named_module_allocates_nothing,
                     *precondition(modules_exist) * precondition(no_sanitizer)) {
  GpuContext context;
  flashcore_error error = fresh_error();
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  const flashcore_attention_args any = small_args();
  BOOST_REQUIRE(flashcore_attention_explain(context.handle, &any, &explanation, &error) == FLASHCORE_OK);
  const std::string module = explanation.module;
  GpuProblem problem(context.handle, small_args(module.c_str()));
  BOOST_REQUIRE(flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) == FLASHCORE_OK);
  BOOST_TEST(std::string(fake().fake_get_launch(fake().fake_launch_count() - 1)->kernel) == explanation.kernel);
  fake().fake_set_option("record", 0);
  const int64_t before = malloc_count();
  int failures = 0;
  for (int i = 0; i < 1000; ++i)
    failures += flashcore_attention_fwd(context.handle, &problem.args, nullptr, &error) != FLASHCORE_OK;
  BOOST_TEST(malloc_count() == before);
  BOOST_TEST(failures == 0);
}

BOOST_AUTO_TEST_CASE(the_launch_carries_the_problem, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle, small_args(large_shared_kernel));
  void *stream = nullptr;
  flashcore_error error = fresh_error();
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, &error) == FLASHCORE_OK);
  fake().fake_set_option("params", 64);
  BOOST_REQUIRE_EQUAL(problem.forward(stream), "OK");
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  BOOST_REQUIRE(flashcore_attention_explain(context.handle, &problem.args, &explanation, &error) == FLASHCORE_OK);
  BOOST_REQUIRE(fake().fake_launch_count() == 1);
  const fake_launch *launch = fake().fake_get_launch(0);
  BOOST_TEST(std::string(launch->kernel) == explanation.kernel);
  BOOST_TEST(launch->stream == stream);
  for (int i = 0; i < 3; ++i) BOOST_TEST(static_cast<int32_t>(launch->grid[i]) == explanation.grid[i]);
  BOOST_TEST(static_cast<int32_t>(launch->threads[0]) == explanation.threads_per_block);
  BOOST_TEST(launch->dynamic_shared_bytes == explanation.dynamic_shared_bytes);
  uint64_t query = 0;
  std::memcpy(&query, launch->params, sizeof(query));
  BOOST_TEST(query == problem.args.query.data);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, &error) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(the_shared_memory_opt_in_is_set_once_per_function, *precondition(modules_exist)) {
  GpuContext context;
  flashcore_attention_args longer = small_args(large_shared_kernel);
  longer.seqlen_q = 256;
  GpuProblem first(context.handle, small_args(large_shared_kernel)), second(context.handle, longer);
  BOOST_TEST(first.prepare() == "OK");
  for (int i = 0; i < 3; ++i) {
    BOOST_TEST(first.forward() == "OK");
    BOOST_TEST(second.forward() == "OK");  // another shape, the same module
  }
  int32_t bytes = 0;
  BOOST_TEST(fake().fake_attribute_sets(large_shared_kernel, max_dynamic_shared, &bytes) == 1);
  BOOST_TEST(bytes > 48 * 1024);
  BOOST_TEST(static_cast<int32_t>(fake().fake_get_launch(0)->dynamic_shared_bytes) == bytes);
  BOOST_TEST(fake().fake_calls("cuModuleLoadData") == 1);
}

BOOST_AUTO_TEST_CASE(a_device_with_too_little_shared_memory_is_refused_with_need_and_limit) {
  fake().fake_set_option("optin", 65536);
  fake().fake_set_option("shared_sm", 65536);
  GpuContext context;
  GpuProblem problem(context.handle, small_args(large_shared_kernel));
  fake().fake_reset_calls();
  const std::string text = problem.forward();
  BOOST_TEST(text.rfind("UNSUPPORTED 0 ", 0) == 0u, text);
  CHECK_TEXT(text, "bytes of shared memory per block, the device allows 65536");
  CHECK_TEXT(text, std::string(large_shared_kernel));
  BOOST_TEST(fake().fake_calls("cuModuleLoadData") == 0);
}

// What the compiler put into static shared memory is only known once the module is loaded.
BOOST_AUTO_TEST_CASE(static_shared_memory_counts_against_the_limit, *precondition(modules_exist)) {
  fake().fake_set_option("static_shared", 40000);
  GpuContext context;
  GpuProblem problem(context.handle, small_args(large_shared_kernel));
  const std::string text = problem.forward();
  BOOST_TEST(text.rfind("UNSUPPORTED 0 ", 0) == 0u, text);
  CHECK_TEXT(text, "bytes of dynamic shared memory per block; the device allows " + std::to_string(101376 - 40000));
  BOOST_TEST(fake().fake_open("modules") == 0);
}

BOOST_AUTO_TEST_CASE(more_thread_blocks_than_65535_go_into_x, *precondition(modules_exist)) {
  GpuContext context;
  for (const char *kernel : {"", large_shared_kernel}) {
    flashcore_attention_args many = small_args(kernel);
    many.batch = 70000;
    many.heads_q = 1;
    many.seqlen_q = many.seqlen_kv = 1;
    GpuProblem problem(context.handle, many);
    BOOST_TEST(problem.forward() == "OK");
    const fake_launch *launch = fake().fake_get_launch(fake().fake_launch_count() - 1);
    BOOST_TEST(launch->grid[0] == 70000u);
    BOOST_TEST(launch->grid[1] == 1u);
    BOOST_TEST(launch->grid[2] == 1u);
  }
}

BOOST_AUTO_TEST_CASE(more_thread_blocks_than_a_grid_holds_are_refused_before_the_driver) {
  GpuContext context;
  flashcore_attention_args many = small_args();
  many.batch = int64_t{1} << 26;
  many.heads_q = 64;
  many.heads_kv = 1;
  flashcore_error error = fresh_error();
  fake().fake_reset_calls();
  const flashcore_status status = flashcore_attention_prepare(context.handle, &many, &error);
  BOOST_TEST(status == FLASHCORE_UNSUPPORTED, describe(status, error));
  BOOST_TEST(std::string(error.field) == "batch");
  BOOST_TEST(fake().fake_calls("cuModuleLoadData") == 0);
  BOOST_TEST(fake().fake_calls("cuLaunchKernel") == 0);
}

// ---- threads

BOOST_AUTO_TEST_CASE(threads_that_meet_a_new_shape_load_its_module_once, *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle, small_args(large_shared_kernel));
  fake().fake_reset_calls();
  std::atomic<int> failures{0}, started{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (++started; started < 8;) std::this_thread::yield();
      for (int call = 0; call < 50; ++call)
        failures += flashcore_attention_fwd(context.handle, &problem.args, nullptr, nullptr) != FLASHCORE_OK;
      failures += fake().fake_get_current() != nullptr;
    });
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(failures == 0);
  BOOST_TEST(fake().fake_calls("cuModuleLoadData") == 1);
  BOOST_TEST(fake().fake_attribute_sets(large_shared_kernel, max_dynamic_shared, nullptr) == 1);
  BOOST_TEST(fake().fake_launch_count() == 8 * 50);
}

// ---- captures

BOOST_AUTO_TEST_CASE(a_capture_of_a_cold_shape_is_refused_and_unharmed, *precondition(modules_exist)) {
  void *primary = make_primary_current();
  {
    GpuContext context;
    GpuProblem problem(context.handle);
    void *stream = nullptr;
    BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
    fake().fake_set_capture(stream, 1);
    fake().fake_reset_calls();
    const std::string text = problem.forward(stream);
    BOOST_TEST(text.rfind("NOT_PREPARED 0 ", 0) == 0u, text);
    CHECK_TEXT(text, "flashcore_attention_prepare");
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuStreamIsCapturing");
    fake().fake_set_capture(stream, 0);
    BOOST_TEST(problem.prepare() == "OK");
    fake().fake_set_capture(stream, 1);
    fake().fake_reset_calls();
    BOOST_TEST(problem.forward(stream) == "OK");
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuLaunchKernel");
    BOOST_TEST(fake().fake_get_launch(0)->captured == 1);
    fake().fake_set_capture(stream, 0);
    BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
    BOOST_TEST(fake().fake_get_current() == primary);
  }
  fake().fake_set_current(nullptr);
}

// Another length of a shape whose module is loaded needs no slow step, so a capture does not stop it.
BOOST_AUTO_TEST_CASE(a_capture_of_a_new_length_of_a_loaded_module_is_a_launch, *precondition(modules_exist)) {
  GpuContext context;
  flashcore_attention_args longer = small_args(large_shared_kernel);
  longer.seqlen_kv = 200;
  GpuProblem first(context.handle, small_args(large_shared_kernel)), second(context.handle, longer);
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  BOOST_TEST(first.prepare() == "OK");
  fake().fake_set_capture(stream, 1);
  BOOST_TEST(second.forward(stream) == "OK");
  BOOST_TEST(fake().fake_launch_count() == 1);
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

// ---- waiting for the device

BOOST_AUTO_TEST_CASE(to_synchronize_waits_for_the_whole_context_and_puts_the_caller_s_back) {
  GpuContext context;
  void *const others[] = {nullptr, fake().fake_user_context(0)};
  for (void *current : others) {
    fake().fake_set_current(current);
    fake().fake_reset_calls();
    BOOST_TEST(flashcore_context_synchronize(context.handle, nullptr) == FLASHCORE_OK);
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuCtxPushCurrent cuCtxSynchronize cuCtxPopCurrent");
    BOOST_TEST(fake().fake_get_current() == current);
  }
  fake().fake_set_current(nullptr);
}

BOOST_AUTO_TEST_CASE(to_synchronize_tells_of_work_that_failed) {
  GpuContext context;
  flashcore_error error = fresh_error();
  fake().fake_fail_function("cuCtxSynchronize", 1, 700, 0);
  BOOST_TEST(flashcore_context_synchronize(context.handle, &error) == FLASHCORE_CONTEXT_LOST);
  BOOST_TEST(error.driver_code == 700);
  CHECK_TEXT(error.message, "cuCtxSynchronize failed with CUDA_ERROR_ILLEGAL_ADDRESS (700)");
  BOOST_TEST(fake().fake_get_current() == nullptr);
}

// ---- structs

BOOST_AUTO_TEST_CASE(every_byte_of_a_struct_about_a_gpu_is_written) {
  GpuContext context;
  check_every_byte_is_written<flashcore_device_info>(
      [](auto *info) { return flashcore_device_describe(0, info, nullptr); });
  check_every_byte_is_written<flashcore_device_info>(
      [&](auto *info) { return flashcore_context_describe_device(context.handle, info, nullptr); });
  flashcore_device_info by_ordinal{}, by_context{};
  by_ordinal.struct_size = by_context.struct_size = sizeof(by_ordinal);
  BOOST_REQUIRE(flashcore_device_describe(0, &by_ordinal, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_context_describe_device(context.handle, &by_context, nullptr) == FLASHCORE_OK);
  BOOST_TEST(std::memcmp(&by_ordinal, &by_context, sizeof(by_ordinal)) == 0);
  check_every_byte_is_written<flashcore_context_info>(
      [&](auto *info) { return flashcore_context_describe(context.handle, info, nullptr); });
  const flashcore_attention_args args = small_args();
  check_every_byte_is_written<flashcore_attention_explanation>(
      [&](auto *explanation) { return flashcore_attention_explain(context.handle, &args, explanation, nullptr); });
}

// ---- addresses

BOOST_AUTO_TEST_CASE(an_address_that_the_driver_does_not_know_is_named_when_the_shape_is_new,
                     *precondition(modules_exist)) {
  GpuContext context;
  GpuProblem problem(context.handle);
  std::vector<uint16_t> host(128 * 2 * 64 + 64, 0);
  const uint64_t good = problem.args.key.data;
  problem.args.key.data = (reinterpret_cast<uintptr_t>(host.data()) + 63) / 64 * 64;
  const std::string text = problem.forward();
  BOOST_TEST(text.rfind("INVALID_ARGUMENT 0 [key.data]", 0) == 0u, text);
  BOOST_TEST(fake().fake_launch_count() == 0);
  problem.args.key.data = good;
  BOOST_TEST(problem.forward() == "OK");
}

BOOST_AUTO_TEST_SUITE_END()
