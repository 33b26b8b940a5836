// SPDX-License-Identifier: Apache-2.0
//
// flashcore_merge_states on the stand-in driver: which launch a call becomes and that it is all there is, once the types are known;
// captures; addresses; what is refused on a GPU alone.
#define BOOST_TEST_MODULE merge_launches
#include <sys/mman.h>

#include <boost/test/unit_test.hpp>
#include <utility>

#include "gpu_fixture.hpp"
#include "malloc_counter.hpp"
#include "merge_states/merge_params.h"

using boost::unit_test::precondition;
using flashcore::kernels::MergeStatesParams;

namespace {

std::string prepared(flashcore_context context, const flashcore_merge_states_args &args) {
  flashcore_error error = fresh_error();
  const flashcore_status status = flashcore_merge_states_prepare(context, &args, &error);
  return status == FLASHCORE_OK ? "OK" : describe(status, error);
}

std::string calls_since_reset() {
  std::string text;
  for (int64_t i = 0; i < fake().fake_calls(""); ++i) text += std::string(i == 0 ? "" : " ") + fake().fake_call_name(i);
  return text;
}

const fake_launch &last_launch() { return *fake().fake_get_launch(fake().fake_launch_count() - 1); }

MergeStatesParams last_params() {
  MergeStatesParams params;
  std::memcpy(&params, last_launch().params, sizeof(params));
  return params;
}

struct HostPages {
  static constexpr size_t bytes = 1 << 20;
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  HostPages() = default;
  HostPages(const HostPages &) = delete;
  HostPages &operator=(const HostPages &) = delete;
  ~HostPages() { munmap(memory, bytes); }
  uint64_t address() const { return reinterpret_cast<uintptr_t>(memory); }
};

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_FIXTURE_TEST_SUITE(merge_launches, Books)

BOOST_AUTO_TEST_CASE(a_known_call_is_one_launch_and_allocates_nothing, *precondition(modules_exist)) {
  void *const primary = fake().fake_primary_context(0);
  fake().fake_set_current(primary);
  {
    GpuContext context;
    const GpuMerge merge(context.handle);
    BOOST_REQUIRE_EQUAL(prepared(context.handle, small_merge()), "OK");
    BOOST_TEST(fake().fake_launch_count() == 0);
    fake().fake_reset_calls();
    BOOST_TEST(merge.run() == "OK");
    BOOST_TEST(calls_since_reset() == "cuCtxGetCurrent cuLaunchKernel");
    if (malloc_count() >= 0) {
      fake().fake_set_option("record", 0);
      flashcore_error error = fresh_error();
      const int64_t before = malloc_count();
      flashcore_status status = FLASHCORE_OK;
      for (int n = 0; n < 3 && status == FLASHCORE_OK; ++n)
        status = flashcore_merge_states(context.handle, &merge.args, nullptr, &error);
      BOOST_TEST(malloc_count() == before);
      BOOST_TEST(status == FLASHCORE_OK);
      fake().fake_set_option("record", 1);
    }
  }
  fake().fake_set_current(nullptr);
}

BOOST_AUTO_TEST_CASE(what_is_launched_is_what_was_asked_for, *precondition(modules_exist)) {
  GpuContext context;
  GpuMerge merge(context.handle);
  fake().fake_set_option("params", sizeof(MergeStatesParams));
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE_EQUAL(merge.run(stream), "OK");
  BOOST_TEST(last_launch().kernel == std::string("merge_states"));
  BOOST_TEST(last_launch().stream == stream);
  BOOST_TEST(last_launch().threads[0] == 256u);
  BOOST_TEST(last_launch().grid[0] == 2u * 16 * 4 * 8 / 256);  // 16 bytes of 8 columns for each thread
  BOOST_TEST(last_launch().grid[1] * last_launch().grid[2] == 1u);
  BOOST_TEST(last_launch().dynamic_shared_bytes == 0u);
  const MergeStatesParams params = last_params();
  BOOST_TEST(params.output_states.data == merge.memory[0]);
  BOOST_TEST(params.lse_states.data == merge.memory[1]);
  BOOST_TEST(params.output.data == merge.memory[2]);
  BOOST_TEST(params.lse.data == merge.memory[3]);
  BOOST_TEST(params.output_state_stride == 2 * 16 * 4 * 64);
  BOOST_TEST(params.lse_state_stride == 2 * 16 * 4);
  BOOST_TEST(params.lse_states.stride_row == 1);
  BOOST_TEST(params.lse_states.stride_head == 16);
  BOOST_TEST(params.state_count == 3);
  BOOST_TEST(params.rows == 2u * 16 * 4);
  BOOST_TEST(params.chunks == 8u);
  BOOST_TEST(params.lse_factor > 0.69f);
  merge.args.lse.data = 0, merge.args.lse_base = FLASHCORE_LSE_BASE2;
  BOOST_REQUIRE_EQUAL(merge.run(stream), "OK");
  BOOST_TEST(last_params().lse.data == 0u);
  BOOST_TEST(last_params().lse_factor == 1.0f);
  BOOST_TEST(last_params().log2_factor == 1.0f);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(rows_that_16_bytes_do_not_fit_go_by_elements, *precondition(modules_exist)) {
  GpuContext context;
  GpuMerge merge(context.handle);
  merge.args.seqlen_q = 15, merge.args.output.data += 2;
  BOOST_REQUIRE_EQUAL(merge.run(), "OK");
  BOOST_TEST(last_launch().kernel == std::string("merge_states_elementwise"));
  BOOST_TEST(last_launch().grid[0] == 2u * 15 * 4 / 4);  // 64 threads for each row
}

BOOST_AUTO_TEST_CASE(nothing_is_launched_for_no_rows) {
  GpuContext context;
  flashcore_merge_states_args args = small_merge();
  args.batch = 0;
  flashcore_error error = fresh_error();
  BOOST_TEST(flashcore_merge_states(context.handle, &args, nullptr, &error) == FLASHCORE_OK);
  BOOST_TEST(fake().fake_launch_count() == 0);
}

BOOST_AUTO_TEST_CASE(a_capture_of_unknown_types_is_refused_and_unharmed, *precondition(modules_exist)) {
  GpuContext context;
  const GpuMerge merge(context.handle);
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  fake().fake_set_capture(stream, 1);
  const std::string text = merge.run(stream);
  BOOST_TEST(text.rfind("NOT_PREPARED 0 [] ", 0) == 0u, text);
  CHECK_TEXT(text, "merge_states-fp16 is not loaded; call flashcore_merge_states_prepare");
  fake().fake_set_capture(stream, 0);
  BOOST_REQUIRE_EQUAL(prepared(context.handle, small_merge()), "OK");
  fake().fake_set_capture(stream, 1);
  BOOST_TEST(merge.run(stream) == "OK");
  BOOST_TEST(last_launch().captured == 1);
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(addresses_are_asked_for_when_types_are_new, *precondition(modules_exist)) {
  GpuContext context;
  GpuMerge merge(context.handle);
  const HostPages host;
  merge.args.lse_states.data = host.address();
  const std::string text = merge.run();
  BOOST_TEST(text.rfind("INVALID_ARGUMENT 0 [lse_states.data] ", 0) == 0u, text);
  CHECK_TEXT(text, "ordinary host memory");
  BOOST_TEST(fake().fake_launch_count() == 0);
}

BOOST_AUTO_TEST_CASE(checked_addresses_of_every_operand, *precondition(modules_exist)) {
  GpuContext context(FLASHCORE_JIT_FORBIDDEN, FLASHCORE_ADDRESS_CHECKS_ALWAYS);
  GpuMerge merge(context.handle);
  const HostPages host;
  BOOST_REQUIRE_EQUAL(merge.run(), "OK");
  const std::pair<const char *, uint64_t *> fields[] = {{"output_states.data", &merge.args.output_states.data},
                                                        {"lse_states.data", &merge.args.lse_states.data},
                                                        {"output.data", &merge.args.output.data},
                                                        {"lse.data", &merge.args.lse.data}};
  for (const auto &[field, address] : fields) {
    const uint64_t good = std::exchange(*address, host.address());
    const std::string text = merge.run();
    BOOST_TEST(text.rfind(std::string("INVALID_ARGUMENT 0 [") + field + "] ", 0) == 0u, text);
    *address = good;
    BOOST_TEST(merge.run() == "OK");
  }
  // All states count: one more than there is memory for.
  merge.args.output.data = merge.args.output_states.data, merge.args.lse.data = 0;
  ++merge.args.state_count;
  const std::string text = merge.run();
  BOOST_TEST(text.rfind("INVALID_ARGUMENT 0 [output_states.data] ", 0) == 0u, text);
  CHECK_TEXT(text, std::to_string(GpuMerge::state_bytes) + " bytes too short");
}

BOOST_AUTO_TEST_CASE(more_rows_than_a_grid_has_blocks_for_are_refused) {
  GpuContext context;
  flashcore_merge_states_args args = small_merge();
  args.batch = args.seqlen_q = 65536;
  const std::string text = prepared(context.handle, args);
  BOOST_TEST(text.rfind("UNSUPPORTED 0 [batch] ", 0) == 0u, text);
  CHECK_TEXT(text, "batch * seqlen_q * heads_q below 2^31");
}

BOOST_AUTO_TEST_CASE(a_launch_that_fails_is_told, *precondition(modules_exist)) {
  GpuContext context;
  const GpuMerge merge(context.handle);
  BOOST_REQUIRE_EQUAL(merge.run(), "OK");
  fake().fake_fail_function("cuLaunchKernel", 1, 719, 0);
  BOOST_TEST(merge.run().rfind("CONTEXT_LOST 719 ", 0) == 0u);
  fake().fake_clear_failures();
}

// What no cache holds and nobody may compile: the next call, with the right to compile, is told the same way as attention's.
BOOST_AUTO_TEST_CASE(a_module_that_cannot_be_had_is_told) {
  GpuContext context;
  flashcore_merge_states_args args = small_merge();
  args.output.dtype = FLASHCORE_DTYPE_BFLOAT16;
  const std::string text = prepared(context.handle, args);
  BOOST_TEST(text.rfind("COMPILER_UNAVAILABLE 0 [] ", 0) == 0u, text);
  CHECK_TEXT(text, "merge_states-fp16-bf16");
}

BOOST_AUTO_TEST_SUITE_END()
