// SPDX-License-Identifier: Apache-2.0
//
// Workspaces, through the public interface: a library whose one kernel asks for one, on the stand-in driver. Of each launch the stand-in
// keeps the parameters, so where a call's workspace lies is seen in what its stages were given.
#define BOOST_TEST_MODULE workspace
#include <atomic>
#include <boost/test/unit_test.hpp>
#include <set>
#include <thread>

#include "api/gpu_fixture.hpp"
#include "api/malloc_failures.hpp"
#include "contract/passport.h"
#include "plan/kernel_table.hpp"
#include "plan/tuned_rows.hpp"
#include "unit/cubin/synthetic_cubin.hpp"

using boost::unit_test::precondition;

// ---- The kernel table of this program, in place of the library's ----------------------------------------------------

namespace flashcore {
namespace {

using namespace kernels;

// Two stages, which their grids tell apart, and a kilobyte for every key from the second on.
namespace hoarder {

struct Choices {
  int32_t tile_kv;
};
constexpr Choice choices[] = {{"tile_kv", Choice::number, "", 64, 64}};
constexpr bool specialization(int32_t index, Choices *out) {
  *out = {64};
  return index == 0;
}
constexpr Refusal refuse(const ProblemKey &) { return no_refusal; }
constexpr bool serves(const Choices &, const ProblemKey &) { return true; }
constexpr int64_t dynamic_shared_bytes(const Choices &) { return 0; }
constexpr Plan plan(const Choices &, const ProblemKey &key, const DeviceLimits &) {
  Plan plan = single_launch(1, 32, 0, {});
  plan.stages[plan.stage_count++] = {{2, 1, 1}, 32, 1, 0, 0, 0};
  plan.workspace_bytes = (key.seqlen_kv - 1) * 1024;
  return plan;
}

struct Params {
  uint64_t addresses[address_count];
};
void pack(const Specialization &, const ProblemKey &, const AttentionCall &call, const DeviceLimits &, void *params) {
  auto &own = *static_cast<Params *>(params);
  for (int32_t i = 0; i < operand_count; ++i) own.addresses[i] = call.operands[i].data;
  own.addresses[address_workspace] = call.workspace;
}
struct Patches {
  AddressPatch list[address_count];
};
constexpr Patches patches = [] {
  Patches all{};
  for (int32_t i = 0; i < address_count; ++i) all.list[i] = {i, i * 8};
  return all;
}();

constexpr Passport passport = {
    .name = "hoarder",
    .summary = "asks for a workspace",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = allows_all,
    .refuse = refuse,
    .serves = on_choices<serves>,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = sizeof(Params),
    .pack = pack,
    .patches = patches.list,
};

}  // namespace hoarder

constexpr std::string_view some_sha256 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
constexpr KernelRow rows[] = {{&hoarder::passport, "// nothing", some_sha256, some_sha256}};

}  // namespace

std::span<const KernelRow> kernel_table() { return rows; }
std::span<const EmbeddedHeader> kernel_headers() { return {}; }
std::string_view kernel_headers_sha256() { return some_sha256; }
std::span<const TunedRow> tuned_rows() { return {}; }

}  // namespace flashcore

// ---- The tests ------------------------------------------------------------------------------------------------------

namespace {

using flashcore::hoarder::Params;

void *const legacy_stream = reinterpret_cast<void *>(1), *const per_thread_stream = reinterpret_cast<void *>(2);

// A compiler that has the one module.
struct Compiler {
  Compiler() {
    Sandbox::get();
    malloc_failures::know_libraries();  // before the stand-ins are there
    setenv("FLASHCORE_LIBNVRTC", FAKE_LIBNVRTC, 1);
    static FakeNvrtc compiler(FAKE_LIBNVRTC);
    synthetic::Cubin cubin;
    cubin.kernels[0].name = "hoarder";
    const synthetic::Bytes image = cubin.image();
    compiler.fake_nvrtc_set_cubin(image.data(), static_cast<int64_t>(image.size()));
  }
};

struct Opened : Books {
  std::unique_ptr<GpuContext> context;

  Opened() {
    fake().fake_set_option("params", sizeof(Params));
    fake().fake_set_current(fake().fake_primary_context(0));
    context = open();
  }
  ~Opened() {
    context.reset();
    fake().fake_set_current(nullptr);
  }
  static std::unique_ptr<GpuContext> open() { return std::make_unique<GpuContext>(FLASHCORE_JIT_ALLOWED); }
};

flashcore_attention_args args_of(int64_t seqlen_kv) {
  flashcore_attention_args args = small_args();
  args.seqlen_kv = seqlen_kv;
  return args;
}
constexpr int64_t kib = 1024;

struct Stream {
  flashcore_context context;
  void *handle = nullptr;
  explicit Stream(const GpuContext &owner) : context(owner.handle) {
    BOOST_REQUIRE(flashcore_stream_create(context, &handle, nullptr) == FLASHCORE_OK);
  }
  ~Stream() { BOOST_TEST(flashcore_stream_destroy(context, handle, nullptr) == FLASHCORE_OK); }
};

Params params_of(int64_t launch) {
  Params params;
  std::memcpy(&params, fake().fake_get_launch(launch)->params, sizeof(params));
  return params;
}

// Where the last call's workspace lay; both stages are given the same.
uint64_t last_workspace() {
  const int64_t count = fake().fake_launch_count();
  BOOST_REQUIRE(count >= 2);
  const Params first = params_of(count - 2), second = params_of(count - 1);
  BOOST_TEST(fake().fake_get_launch(count - 2)->grid[0] == 1u);
  BOOST_TEST(fake().fake_get_launch(count - 1)->grid[0] == 2u);
  BOOST_TEST(std::memcmp(&first, &second, sizeof(first)) == 0);
  return second.addresses[flashcore::kernels::address_workspace];
}

uint64_t workspace_of(const GpuProblem &problem, void *stream = nullptr) {
  BOOST_REQUIRE_EQUAL(problem.forward(stream), "OK");
  return last_workspace();
}

// The calls of the driver beside those that every call makes.
std::string calls_of(const std::function<std::string()> &work) {
  fake().fake_reset_calls();
  std::string text = work();
  for (int64_t i = 0; i < fake().fake_calls(""); ++i)
    if (const std::string name = fake().fake_call_name(i); name != "cuCtxGetCurrent") text += " " + name;
  return text;
}

boost::test_tools::assertion_result memory_can_fail(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result result(malloc_failures::possible());
  result.message() << "a sanitizer's malloc must stay in place";
  return result;
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(Compiler);

BOOST_FIXTURE_TEST_SUITE(workspace, Opened)

BOOST_AUTO_TEST_CASE(the_first_call_on_a_stream_allocates_and_the_next_ones_do_not) {
  GpuProblem problem(context->handle, args_of(5)), other(context->handle, args_of(5));
  BOOST_REQUIRE_EQUAL(GpuProblem(context->handle, args_of(1)).forward(), "OK");  // loads the module
  BOOST_TEST(calls_of([&] { return problem.forward(); }) ==
             "OK cuStreamIsCapturing cuMemAllocAsync cuStreamSynchronize cuLaunchKernel cuLaunchKernel");
  const uint64_t workspace = last_workspace();
  BOOST_TEST(workspace != 0u);
  for (const GpuProblem *again : {&problem, &other}) {
    BOOST_TEST(calls_of([&] { return again->forward(); }) == "OK cuStreamIsCapturing cuLaunchKernel cuLaunchKernel");
    BOOST_TEST(last_workspace() == workspace);
    BOOST_TEST(params_of(fake().fake_launch_count() - 1).addresses[0] == again->args.query.data);
  }
}

BOOST_AUTO_TEST_CASE(a_plan_without_one_asks_for_nothing) {
  flashcore_attention_args args = args_of(1);
  GpuProblem problem(context->handle, args);
  for (const bool given : {false, true, false}) {
    problem.args.workspace = given ? problem.args.output.data + 128 * 128 * 2 : 0;
    problem.args.workspace_bytes = given ? 16 : 0;
    BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    BOOST_TEST(last_workspace() == 0u);
    BOOST_TEST(calls_of([&] { return problem.forward(); }) == "OK cuLaunchKernel cuLaunchKernel");
  }
}

BOOST_AUTO_TEST_CASE(it_grows_by_half_and_what_it_was_is_freed) {
  GpuProblem five(context->handle, args_of(5)), six(context->handle, args_of(6)), seven(context->handle, args_of(7)),
      twenty(context->handle, args_of(20));
  const int64_t tensors = fake().fake_open("device_memory");
  const uint64_t first = workspace_of(five);
  BOOST_TEST(calls_of([&] { return six.forward(); }) ==
             "OK cuStreamIsCapturing cuMemAllocAsync cuStreamSynchronize cuMemFreeAsync cuLaunchKernel cuLaunchKernel");
  const uint64_t second = last_workspace();
  BOOST_TEST(second != first);
  BOOST_TEST(workspace_of(seven) == second);  // 4 KiB and a half of them are enough for 6
  BOOST_TEST(workspace_of(five) == second);
  BOOST_TEST(workspace_of(twenty) != second);
  BOOST_TEST(fake().fake_open("device_memory") == tensors + 1);
}

BOOST_AUTO_TEST_CASE(a_device_without_memory_pools_has_plain_memory) {
  fake().fake_set_option("pools", 0);
  const auto plain = open();
  GpuProblem five(plain->handle, args_of(5)), six(plain->handle, args_of(6));
  BOOST_REQUIRE_EQUAL(GpuProblem(plain->handle, args_of(1)).forward(), "OK");
  BOOST_TEST(calls_of([&] { return five.forward(); }) ==
             "OK cuStreamIsCapturing cuMemAlloc cuStreamSynchronize cuLaunchKernel cuLaunchKernel");
  BOOST_TEST(calls_of([&] { return six.forward(); }) ==
             "OK cuStreamIsCapturing cuMemAlloc cuStreamSynchronize cuMemFree cuLaunchKernel cuLaunchKernel");
}

BOOST_AUTO_TEST_CASE(streams_and_contexts_have_their_own) {
  const auto other = open();
  const Stream a(*context), b(*context);
  const GpuProblem problem(context->handle, args_of(5)), of_other(other->handle, args_of(5));
  std::set<uint64_t> seen;
  for (void *stream : {static_cast<void *>(nullptr), a.handle, b.handle, per_thread_stream}) {
    const uint64_t workspace = workspace_of(problem, stream);
    BOOST_TEST(seen.insert(workspace).second);
    BOOST_TEST(seen.insert(workspace_of(of_other, stream)).second);
    BOOST_TEST(workspace_of(problem, stream) == workspace);
  }
  BOOST_TEST(workspace_of(problem, legacy_stream) == workspace_of(problem));  // two names of one stream
}

BOOST_AUTO_TEST_CASE(the_stream_of_each_thread_has_its_own) {
  const GpuProblem problem(context->handle, args_of(5));
  const uint64_t mine = workspace_of(problem, per_thread_stream);
  uint64_t others = 0;
  std::thread([&] { others = workspace_of(problem, per_thread_stream); }).join();
  BOOST_TEST(others != mine);
  BOOST_TEST(workspace_of(problem, per_thread_stream) == mine);
}

// Else a second stage would find what another call's first one wrote.
BOOST_AUTO_TEST_CASE(threads_on_one_stream_launch_all_stages_of_a_call_before_the_next) {
  const GpuProblem small(context->handle, args_of(3));
  BOOST_REQUIRE_EQUAL(small.forward(), "OK");
  constexpr int threads_count = 4, calls = 20;
  fake().fake_set_option("launch_us", 100);
  std::atomic<int> started{0}, failures{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < threads_count; ++i)
    threads.emplace_back([&] {
      const GpuProblem own(context->handle, args_of(5));
      for (++started; started < threads_count;) std::this_thread::yield();
      for (int call = 0; call < calls; ++call) failures += own.forward() != "OK";
    });
  for (std::thread &thread : threads) thread.join();
  BOOST_TEST(failures == 0);
  const int64_t count = fake().fake_launch_count();
  BOOST_REQUIRE(count == 2 + 2 * threads_count * calls);
  int64_t torn = 0;
  std::set<uint64_t> callers;
  for (int64_t i = 0; i < count; i += 2) {
    const Params first = params_of(i), second = params_of(i + 1);
    torn += std::memcmp(&first, &second, sizeof(first)) != 0 || fake().fake_get_launch(i)->grid[0] != 1;
    callers.insert(first.addresses[0]);
  }
  BOOST_TEST(torn == 0);
  BOOST_TEST(callers.size() == size_t{threads_count} + 1);
}

// ---- captures

BOOST_AUTO_TEST_CASE(a_capture_has_what_prepare_reserved_or_memory_beside_the_graph) {
  const GpuProblem problem(context->handle, args_of(5)), larger(context->handle, args_of(6));
  BOOST_REQUIRE_EQUAL(GpuProblem(context->handle, args_of(1)).forward(), "OK");
  const Stream stream(*context);
  const auto capture = [&](const GpuProblem &one) {
    fake().fake_set_capture(stream.handle, 1);
    const std::string calls = calls_of([&] { return one.forward(stream.handle); });
    fake().fake_set_capture(stream.handle, 0);
    return calls;
  };
  BOOST_TEST(calls_of([&] { return problem.prepare(); }) == "OK cuMemAlloc");
  BOOST_TEST(calls_of([&] { return problem.prepare(); }) == "OK");  // it is there
  const std::string launched = "OK cuStreamIsCapturing cuLaunchKernel cuLaunchKernel";
  BOOST_TEST(capture(problem) == launched);
  const uint64_t captured = last_workspace();
  BOOST_TEST(capture(problem) == launched);
  BOOST_TEST(last_workspace() == captured);
  // A larger one takes the place of what the graph has, which stays: in a capture and outside.
  const int64_t open = fake().fake_open("device_memory");
  BOOST_TEST(capture(larger) ==
             "OK cuStreamIsCapturing cuThreadExchangeStreamCaptureMode cuMemAlloc "
             "cuThreadExchangeStreamCaptureMode cuLaunchKernel cuLaunchKernel");
  BOOST_TEST(last_workspace() != captured);
  BOOST_TEST(workspace_of(GpuProblem(context->handle, args_of(30)), stream.handle) != captured);
  BOOST_TEST(fake().fake_open("device_memory") == open + 2);
  BOOST_TEST(fake().fake_calls("cuMemFree") + fake().fake_calls("cuMemFreeAsync") == 1);  // the problem's tensors
}

BOOST_AUTO_TEST_CASE(a_failure_of_the_driver_in_a_capture_leaves_no_memory) {
  for (int64_t nth = 1; nth <= 4; ++nth) {
    const auto own = open();
    const GpuProblem problem(own->handle, args_of(5));
    const Stream stream(*own);
    BOOST_REQUIRE_EQUAL(GpuProblem(own->handle, args_of(1)).forward(), "OK");
    const int64_t before = fake().fake_open("device_memory");
    fake().fake_set_capture(stream.handle, 1);
    fake().fake_fail_call(nth, 2, 0);
    const std::string text = problem.forward(stream.handle);
    fake().fake_clear_failures();
    BOOST_TEST(contains(text, " 2 "), "call " << nth << ": " << text);
    BOOST_TEST(fake().fake_open("device_memory") == before);
    BOOST_TEST(problem.forward(stream.handle) == "OK");
    fake().fake_set_capture(stream.handle, 0);
  }
}

BOOST_AUTO_TEST_CASE(a_call_before_the_capture_prepares_its_own_stream) {
  const GpuProblem problem(context->handle, args_of(5));
  const Stream stream(*context);
  const uint64_t workspace = workspace_of(problem, stream.handle);
  fake().fake_set_capture(stream.handle, 1);
  BOOST_TEST(workspace_of(problem, stream.handle) == workspace);
  fake().fake_set_capture(stream.handle, 0);
}

// What prepare reserved and no capture took is for whoever needs one next, whatever else is prepared.
BOOST_AUTO_TEST_CASE(one_block_at_a_time_is_reserved) {
  const GpuProblem small(context->handle, args_of(5)), large(context->handle, args_of(50));
  BOOST_REQUIRE_EQUAL(small.prepare(), "OK");
  const int64_t open = fake().fake_open("device_memory");
  BOOST_TEST(calls_of([&] { return large.prepare(); }) == "OK cuMemAlloc cuMemFree");
  BOOST_TEST(small.prepare() == "OK");
  BOOST_TEST(fake().fake_open("device_memory") == open);
  BOOST_TEST(calls_of([&] { return small.forward(); }) ==
             "OK cuStreamIsCapturing cuStreamSynchronize cuLaunchKernel cuLaunchKernel");
  BOOST_TEST(fake().fake_open("device_memory") == open);
}

// ---- the caller's own

BOOST_AUTO_TEST_CASE(the_callers_own_is_used_where_it_is_given) {
  GpuProblem problem(context->handle, args_of(5));
  const GpuProblem memory(context->handle, args_of(5));
  problem.args.workspace = memory.args.query.data, problem.args.workspace_bytes = 4 * kib;
  const int64_t open = fake().fake_open("device_memory");
  for (int i = 0; i < 2; ++i) BOOST_TEST(workspace_of(problem) == problem.args.workspace);
  BOOST_TEST(problem.prepare() == "OK");
  BOOST_TEST(fake().fake_open("device_memory") == open);
  problem.args.workspace += 16;  // another one than in the call before
  BOOST_TEST(workspace_of(problem) == problem.args.workspace);
  problem.args.workspace = 0, problem.args.workspace_bytes = 0;
  BOOST_TEST(workspace_of(problem) != 0u);
  BOOST_TEST(fake().fake_open("device_memory") == open + 1);
}

BOOST_AUTO_TEST_CASE(one_that_is_too_small_is_refused_by_name) {
  GpuProblem problem(context->handle, args_of(5));
  const GpuProblem memory(context->handle, args_of(5));
  problem.args.workspace = memory.args.query.data, problem.args.workspace_bytes = 4 * kib - 1;
  const std::string expected =
      "WORKSPACE_TOO_SMALL 0 [workspace_bytes] workspace_bytes is 4095; allowed: 4096 or more, or 0 for the context's "
      "own workspace";
  BOOST_TEST(problem.forward() == expected);
  BOOST_TEST(problem.forward() == expected);
  BOOST_TEST(problem.prepare() == expected);
  problem.args.workspace = 0;  // prepare may not know yet where it will be
  BOOST_TEST(problem.prepare() == expected);
  BOOST_TEST(fake().fake_launch_count() == 0);
}

BOOST_AUTO_TEST_CASE(how_much_is_needed_is_told) {
  const flashcore_attention_args args = args_of(5);
  int64_t bytes = 0;
  BOOST_TEST(flashcore_attention_workspace_bytes(context->handle, &args, &bytes, nullptr) == FLASHCORE_OK);
  BOOST_TEST(bytes == 4 * kib);
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  BOOST_TEST(flashcore_attention_explain(context->handle, &args, &explanation, nullptr) == FLASHCORE_OK);
  BOOST_TEST(explanation.workspace_bytes == 4 * kib);
}

// ---- failures

BOOST_AUTO_TEST_CASE(a_device_that_is_full_says_so_and_the_block_stays) {
  const GpuProblem small(context->handle, args_of(5)), large(context->handle, args_of(6));
  const uint64_t workspace = workspace_of(small);
  fake().fake_set_option("memory", 0);
  BOOST_TEST(large.forward().rfind("OUT_OF_DEVICE_MEMORY 2 ", 0) == 0u, large.forward());
  BOOST_TEST(large.prepare().rfind("OUT_OF_DEVICE_MEMORY 2 ", 0) == 0u);
  BOOST_TEST(workspace_of(small) == workspace);
}

// Every call of the driver that growing makes fails once; the next call of the library works, and all is freed.
BOOST_AUTO_TEST_CASE(every_failure_of_the_driver_is_told_and_forgotten) {
  int failed = 0;
  for (const int64_t pools : {1, 0})
    for (int64_t nth = 1; nth <= 8; ++nth) {
      fake().fake_set_option("pools", pools);
      const auto own = open();
      const GpuProblem small(own->handle, args_of(5)), large(own->handle, args_of(6)),
          reserved(own->handle, args_of(99));
      BOOST_REQUIRE_EQUAL(small.forward(), "OK");
      fake().fake_fail_call(nth, 700, 0);
      const std::string texts[] = {large.forward(per_thread_stream), large.forward(), reserved.prepare()};
      fake().fake_clear_failures();
      for (const std::string &text : texts) failed += text.rfind("CONTEXT_LOST 700 ", 0) == 0u;
      for (const std::string &text : texts) BOOST_TEST((text == "OK" || contains(text, " 700 ")), text);
      BOOST_TEST(large.forward() == "OK");
      BOOST_TEST(large.forward(per_thread_stream) == "OK");
      BOOST_TEST(reserved.prepare() == "OK");
    }
  BOOST_TEST(failed == 16);
}

BOOST_AUTO_TEST_CASE(every_failure_of_memory_is_told_and_forgotten, *precondition(memory_can_fail)) {
  fake().fake_set_option("record", 0);
  int refused = 0;
  for (int64_t nth = 1; nth <= 8; ++nth) {
    const auto own = open();
    const GpuProblem small(own->handle, args_of(5)), large(own->handle, args_of(6));
    BOOST_REQUIRE_EQUAL(small.forward(), "OK");
    BOOST_REQUIRE_EQUAL(large.prepare(), "OK");
    const Stream stream(*own);
    for (void *where : {static_cast<void *>(nullptr), stream.handle}) {
      flashcore_error error = fresh_error();
      malloc_failures::fail_from(nth, malloc_failures::Then::fail);
      const flashcore_status status = flashcore_attention_fwd(own->handle, &large.args, where, &error);
      malloc_failures::stop();
      BOOST_TEST((status == FLASHCORE_OK || status == FLASHCORE_OUT_OF_HOST_MEMORY), describe(status, error));
      refused += status != FLASHCORE_OK;
      BOOST_TEST(large.forward(where) == "OK");
    }
  }
  BOOST_TEST(refused == 2);  // for the stream, and for what a graph may make it keep
}

BOOST_AUTO_TEST_CASE(a_forked_child_touches_nothing) {
  const GpuProblem problem(context->handle, args_of(5));
  const uint64_t workspace = workspace_of(problem);
  const ChildResult child = run_in_child([&] {
    const std::string text = problem.forward().substr(0, 6) + " " + problem.prepare().substr(0, 6);
    flashcore_context_destroy(context->handle);
    return text + " " + std::to_string(fake().fake_misuses());
  });
  BOOST_TEST(child.signal == 0);
  BOOST_TEST(child.text == "FORKED FORKED 0");
  BOOST_TEST(workspace_of(problem) == workspace);
}

BOOST_AUTO_TEST_SUITE_END()
