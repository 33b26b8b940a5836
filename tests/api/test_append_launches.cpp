// SPDX-License-Identifier: Apache-2.0
//
// Calls that append and rotate, on the stand-in driver: which launches they become, that these are all there is once a shape is known, and that
// they find each other's results at every call's addresses; captures; workspaces.
#define BOOST_TEST_MODULE append_launches
#include <boost/test/unit_test.hpp>

#include "append_kv/append_params.h"
#include "attention_fwd/params.h"
#include "gpu_fixture.hpp"
#include "malloc_counter.hpp"

using boost::unit_test::precondition;
using flashcore::kernels::AppendParams;
using flashcore::kernels::AttentionFwdParams;

namespace {

// The small problem, and its last 8 rows anew; the tables lie behind the new rows.
struct AppendProblem : GpuProblem {
  uint64_t rows = 0;

  explicit AppendProblem(flashcore_context context_handle, bool rotates) : GpuProblem(context_handle) {
    flashcore_error error = fresh_error();
    if (flashcore_buffer_alloc(context, 1 << 16, &rows, &error) != FLASHCORE_OK)
      throw std::runtime_error(error.message);
    args.seqlen_new = 8;
    args.new_key.data = rows, args.new_value.data = rows + 8192;
    if (!rotates) return;
    args.rotary_dim = 32, args.rotary_cos = rows + 16384, args.rotary_sin = rows + 32768;
  }
  ~AppendProblem() { flashcore_buffer_free(context, rows, nullptr); }
};

std::string calls_since_reset() {
  std::string text;
  for (int64_t i = 0; i < fake().fake_calls(""); ++i) text += std::string(i == 0 ? "" : " ") + fake().fake_call_name(i);
  return text;
}

const fake_launch &launch_before_last(int64_t n) { return *fake().fake_get_launch(fake().fake_launch_count() - 1 - n); }

template <typename Params>
Params params_of(const fake_launch &launch) {
  Params params;
  std::memcpy(&params, launch.params, sizeof(params));
  return params;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_FIXTURE_TEST_SUITE(append_launches, Books)

BOOST_AUTO_TEST_CASE(a_known_call_is_two_launches_and_allocates_nothing, *precondition(modules_exist)) {
  for (const bool rotates : {false, true}) {
    GpuContext context;
    const AppendProblem problem(context.handle, rotates);
    BOOST_REQUIRE_EQUAL(problem.prepare(), "OK");
    BOOST_TEST(fake().fake_launch_count() == 0);
    for (int n = 0; n < 2; ++n) BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    fake().fake_reset_calls();
    BOOST_TEST(problem.forward() == "OK");
    const std::string calls = calls_since_reset();
    BOOST_TEST(calls.find("cuLaunchKernel cuLaunchKernel") != std::string::npos, calls);
    BOOST_TEST(calls.find("Alloc") == std::string::npos, calls);
    BOOST_TEST(calls.find("Synchronize") == std::string::npos, calls);
    if (malloc_count() >= 0) {
      fake().fake_set_option("record", 0);
      const int64_t before = malloc_count();
      flashcore_status status = FLASHCORE_OK;
      for (int n = 0; n < 3 && status == FLASHCORE_OK; ++n)
        status = flashcore_attention_fwd(context.handle, &problem.args, nullptr, nullptr);
      BOOST_TEST(malloc_count() == before);
      BOOST_TEST(status == FLASHCORE_OK);
      fake().fake_set_option("record", 1);
    }
    fake().fake_reset();
  }
}

BOOST_AUTO_TEST_CASE(launches_find_each_other_wherever_tensors_are, *precondition(modules_exist)) {
  GpuContext context;
  AppendProblem problem(context.handle, true);
  fake().fake_set_option(
      "params", sizeof(AttentionFwdParams) > sizeof(AppendParams) ? sizeof(AttentionFwdParams) : sizeof(AppendParams));
  uint64_t other = 0;
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, 1 << 16, &other, nullptr) == FLASHCORE_OK);
  for (int n = 0; n < 3; ++n) {
    if (n == 2) problem.args.query.data = other;
    BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    const fake_launch &ahead = launch_before_last(1), &attention = launch_before_last(0);
    BOOST_TEST(ahead.kernel == std::string("append_kv"));
    BOOST_TEST(ahead.grid[0] == 128u + 8);  // a block for each row of queries, and of new keys
    BOOST_TEST(ahead.threads[0] == 256u);
    const auto appended = params_of<AppendParams>(ahead);
    BOOST_TEST(appended.query.data == problem.args.query.data);
    BOOST_TEST(appended.key.data == problem.args.key.data);
    BOOST_TEST(appended.new_value.data == problem.args.new_value.data);
    BOOST_TEST(appended.rotary_sin == problem.args.rotary_sin);
    BOOST_TEST((appended.rotary_dim == 32 && appended.rotary_table_rows == 128));
    const auto attended = params_of<AttentionFwdParams>(attention);
    BOOST_TEST(attended.query.data == appended.rotated_query.data);
    BOOST_TEST(attended.query.data != problem.args.query.data);
    BOOST_TEST(attended.key.data == problem.args.key.data);
  }
  BOOST_TEST(flashcore_buffer_free(context.handle, other, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(what_is_not_rotated_needs_no_workspace, *precondition(modules_exist)) {
  GpuContext context;
  AppendProblem appends(context.handle, false), rotates(context.handle, true);
  int64_t bytes = -1;
  BOOST_TEST(flashcore_attention_workspace_bytes(context.handle, &appends.args, &bytes, nullptr) == FLASHCORE_OK);
  BOOST_TEST(bytes == 0);
  BOOST_TEST(flashcore_attention_workspace_bytes(context.handle, &rotates.args, &bytes, nullptr) == FLASHCORE_OK);
  BOOST_TEST(bytes == 128 * 2 * 64 * 2);
  flashcore_attention_explanation explanation;
  explanation.struct_size = sizeof(explanation);
  BOOST_TEST(flashcore_attention_explain(context.handle, &rotates.args, &explanation, nullptr) == FLASHCORE_OK);
  BOOST_TEST(explanation.workspace_bytes == bytes);
  // The caller's own.
  uint64_t workspace = 0;
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, bytes, &workspace, nullptr) == FLASHCORE_OK);
  fake().fake_set_option("params", sizeof(AppendParams));
  rotates.args.workspace = workspace, rotates.args.workspace_bytes = bytes;
  BOOST_TEST(rotates.forward() == "OK");
  BOOST_TEST(params_of<AppendParams>(launch_before_last(1)).rotated_query.data == workspace);
  --rotates.args.workspace_bytes;
  BOOST_TEST(rotates.forward().rfind("WORKSPACE_TOO_SMALL 0 [workspace_bytes] ", 0) == 0u);
  BOOST_TEST(flashcore_buffer_free(context.handle, workspace, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(a_capture_of_what_is_not_loaded_is_refused_and_unharmed, *precondition(modules_exist)) {
  GpuContext context;
  const GpuProblem plain(context.handle);
  const AppendProblem problem(context.handle, true);
  BOOST_REQUIRE_EQUAL(plain.prepare(), "OK");
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  fake().fake_set_capture(stream, 1);
  const std::string text = problem.forward(stream);
  BOOST_TEST(text.rfind("NOT_PREPARED 0 [] ", 0) == 0u, text);
  CHECK_TEXT(text, "append_kv-fp16 is not loaded; call flashcore_attention_prepare");
  BOOST_TEST(fake().fake_launch_count() == 0);
  fake().fake_set_capture(stream, 0);
  BOOST_REQUIRE_EQUAL(problem.prepare(), "OK");
  fake().fake_set_capture(stream, 1);
  BOOST_TEST(problem.forward(stream) == "OK");
  BOOST_TEST((launch_before_last(0).captured == 1 && launch_before_last(1).captured == 1));
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(a_launch_that_fails_is_told_and_none_follows, *precondition(modules_exist)) {
  GpuContext context;
  const AppendProblem problem(context.handle, true);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  const int64_t launches = fake().fake_launch_count();
  fake().fake_fail_function("cuLaunchKernel", 1, 719, 0);
  BOOST_TEST(problem.forward().rfind("CONTEXT_LOST 719 ", 0) == 0u);
  BOOST_TEST(fake().fake_launch_count() == launches);
  fake().fake_clear_failures();
}

BOOST_AUTO_TEST_CASE(new_rows_are_checked_as_other_tensors_are, *precondition(modules_exist)) {
  GpuContext context(FLASHCORE_JIT_FORBIDDEN, FLASHCORE_ADDRESS_CHECKS_ALWAYS);
  AppendProblem problem(context.handle, true);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  alignas(16) static unsigned char host[16384];
  for (const auto &[field, address] : {std::pair<const char *, uint64_t *>{"new_key.data", &problem.args.new_key.data},
                                       {"new_value.data", &problem.args.new_value.data},
                                       {"rotary_cos", &problem.args.rotary_cos},
                                       {"rotary_sin", &problem.args.rotary_sin}}) {
    const uint64_t good = std::exchange(*address, reinterpret_cast<uintptr_t>(host));
    const std::string text = problem.forward();
    BOOST_TEST(text.rfind(std::string("INVALID_ARGUMENT 0 [") + field + "] ", 0) == 0u, text);
    *address = good;
  }
  BOOST_TEST(problem.forward() == "OK");
}

BOOST_AUTO_TEST_SUITE_END()
