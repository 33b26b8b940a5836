// SPDX-License-Identifier: Apache-2.0
//
// FLASHCORE_ADDRESS_CHECKS_ALWAYS: what a kernel would trip over is refused before the launch, in every call, known shape or not,
// captured or not; and a context without it asks the driver for nothing.
#define BOOST_TEST_MODULE checked_addresses
#include <sys/mman.h>

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <set>
#include <utility>

#include "gpu_fixture.hpp"

namespace data = boost::unit_test::data;
using boost::unit_test::precondition;

namespace {

constexpr int32_t host_memory = 1, device_memory = 2;  // CUmemorytype
constexpr int64_t tensor_bytes = 128 * 2 * 64 * 2;

struct CheckedContext : GpuContext {
  CheckedContext() : GpuContext(FLASHCORE_JIT_FORBIDDEN, FLASHCORE_ADDRESS_CHECKS_ALWAYS) {}
};

// Memory that the stand-in knows nothing of, until it is told.
struct HostPages {
  static constexpr size_t bytes = 1 << 20;
  void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  HostPages() = default;
  HostPages(const HostPages &) = delete;
  HostPages &operator=(const HostPages &) = delete;
  ~HostPages() {
    fake().fake_forget_memory();
    munmap(memory, bytes);
  }
  uint64_t address() const { return reinterpret_cast<uintptr_t>(memory); }
};

int64_t launches() { return fake().fake_calls("cuLaunchKernel"); }
int64_t questions() { return fake().fake_calls("cuPointerGetAttributes"); }

void check_refused(const GpuProblem &problem, const std::string &field, const std::string &part,
                   void *stream = nullptr) {
  const int64_t before = launches();
  const std::string text = problem.forward(stream);
  BOOST_TEST(text.rfind("INVALID_ARGUMENT 0 [" + field + "] " + field + " is 0x", 0) == 0u, text);
  CHECK_TEXT(text, part);
  BOOST_TEST(launches() == before);
}

}  // namespace

BOOST_TEST_GLOBAL_FIXTURE(FilledSandbox);

BOOST_FIXTURE_TEST_SUITE(checked_addresses, Books, *precondition(modules_exist))

BOOST_AUTO_TEST_CASE(a_host_address_in_the_second_call_of_a_shape_is_refused_in_each_field) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  uint64_t lse = 0;
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, 4096, &lse, nullptr) == FLASHCORE_OK);
  problem.args.lse.data = lse;
  const HostPages host;
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  const std::pair<const char *, uint64_t *> fields[] = {{"query.data", &problem.args.query.data},
                                                        {"key.data", &problem.args.key.data},
                                                        {"value.data", &problem.args.value.data},
                                                        {"output.data", &problem.args.output.data},
                                                        {"lse.data", &problem.args.lse.data}};
  for (const auto &[field, address] : fields) {
    const uint64_t good = std::exchange(*address, host.address());
    check_refused(problem, field, "ordinary host memory");
    *address = good;
    BOOST_TEST(problem.forward() == "OK");
  }
  problem.args.workspace = host.address(), problem.args.workspace_bytes = 4096;
  check_refused(problem, "workspace", "ordinary host memory");
  BOOST_TEST(flashcore_buffer_free(context.handle, lse, nullptr) == FLASHCORE_OK);
}

// A shape that another one pushed out of the thread's memory is found among the plans: the same there.
BOOST_AUTO_TEST_CASE(a_remembered_shape_is_checked_too) {
  CheckedContext context;
  flashcore_attention_args longer = small_args();
  longer.seqlen_q = 200;
  GpuProblem problem(context.handle), other(context.handle, longer);
  BOOST_REQUIRE_EQUAL(problem.prepare(), "OK");
  const HostPages host;
  for (int i = 0; i < 2; ++i) {
    BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    BOOST_REQUIRE_EQUAL(other.forward(), "OK");
    const uint64_t good = std::exchange(problem.args.value.data, host.address());
    check_refused(problem, "value.data", "ordinary host memory");
    problem.args.value.data = good;
  }
}

BOOST_AUTO_TEST_CASE(it_costs_two_questions_per_tensor_and_nothing_without_it) {
  for (const int32_t checks :
       {FLASHCORE_ADDRESS_CHECKS_ALWAYS, FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES, FLASHCORE_ADDRESS_CHECKS_DEFAULT}) {
    GpuContext context(FLASHCORE_JIT_FORBIDDEN, checks);
    GpuProblem problem(context.handle);
    BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
    fake().fake_reset_calls();
    for (int i = 0; i < 10; ++i) BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(questions() == (checks == FLASHCORE_ADDRESS_CHECKS_ALWAYS ? 80 : 0));
    BOOST_TEST(launches() == 10);
    if (checks == FLASHCORE_ADDRESS_CHECKS_ALWAYS) continue;
    const HostPages host;  // goes to the driver unseen: what the mode is for
    problem.args.key.data = host.address();
    BOOST_TEST(problem.forward() == "OK");
    BOOST_TEST(questions() == 0);
  }
}

BOOST_AUTO_TEST_CASE(freed_memory_is_refused) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  uint64_t gone = 0;
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, 64 << 20, &gone, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_buffer_free(context.handle, gone, nullptr) == FLASHCORE_OK);
  problem.args.query.data = gone;
  // A sanitizer's allocator keeps for a while what the stand-in gave back.
  const uint64_t page = gone / 4096 * 4096;
  const bool is_kept = msync(reinterpret_cast<void *>(page), 4096, MS_ASYNC) == 0;
  check_refused(problem, "query.data", is_kept ? "ordinary host memory" : "it was freed, or never was memory");
}

BOOST_AUTO_TEST_CASE(an_allocation_that_is_too_short_is_refused_by_the_byte) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  uint64_t exact = 0, small = 0;
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, tensor_bytes, &exact, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE(flashcore_buffer_alloc(context.handle, tensor_bytes - 48, &small, nullptr) == FLASHCORE_OK);
  problem.args.value.data = exact;
  BOOST_TEST(problem.forward() == "OK");
  problem.args.value.data = exact + 16;
  check_refused(problem, "value.data", "is 16 bytes too short");
  problem.args.value.data = small;
  check_refused(problem, "value.data", "is 48 bytes too short");
  problem.args.value.data = exact;
  problem.args.value.stride[0] = 128 * 2 * 64, problem.args.value.stride[1] = 2 * 64 + 8,
  problem.args.value.stride[2] = 64, problem.args.value.stride[3] = 1;
  check_refused(problem, "value.data", "is " + std::to_string(127 * 16) + " bytes too short");
  for (const uint64_t address : {exact, small})
    BOOST_TEST(flashcore_buffer_free(context.handle, address, nullptr) == FLASHCORE_OK);
}

struct Kind {
  const char *name;
  int32_t type, managed, ordinal;
  bool reached;
  const char *problem;  // empty: legitimate
};
std::ostream &operator<<(std::ostream &stream, const Kind &kind) { return stream << kind.name; }

const Kind kinds[] = {
    {"device", device_memory, 0, 0, true, ""},
    {"managed", device_memory, 1, 0, true, ""},
    {"managed, now on the host", host_memory, 1, -1, true, ""},
    {"page-locked host", host_memory, 0, 0, true, ""},
    {"page-locked host of another device", host_memory, 0, 1, true, ""},
    {"peer", device_memory, 0, 1, true, ""},
    {"another device", device_memory, 0, 1, false, "memory of CUDA device 1, which kernels of device 0 do not reach"},
    {"page-locked and not mapped", host_memory, 0, 0, false,
     "page-locked host memory, which kernels of device 0 do not reach"},
};

BOOST_DATA_TEST_CASE(each_kind_of_memory, data::make(kinds), kind) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  const HostPages pages;
  fake().fake_add_memory(pages.address(), HostPages::bytes, kind.type, kind.managed, kind.ordinal,
                         kind.reached ? pages.address() : 0, 0, 0);
  problem.args.key.data = pages.address();
  if (*kind.problem != '\0')
    check_refused(problem, "key.data", kind.problem);
  else
    BOOST_TEST(problem.forward() == "OK");
  problem.args.key.data = pages.address() + HostPages::bytes - 256;
  if (*kind.problem == '\0')
    check_refused(problem, "key.data", "is " + std::to_string(tensor_bytes - 256) + " bytes too short");
}

BOOST_AUTO_TEST_CASE(host_memory_that_kernels_see_elsewhere_names_the_place) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  const HostPages pages;
  fake().fake_add_memory(pages.address(), HostPages::bytes, host_memory, 0, 0, 0x7000'0000'0000, 0, 0);
  problem.args.key.data = pages.address();
  check_refused(problem, "key.data", "which kernels reach at 0x700000000000");
}

// A range of virtual memory in which several pieces are mapped, as growing pools have them: a tensor may cross from one into the next,
// and must not end where nothing is mapped.
BOOST_AUTO_TEST_CASE(virtual_ranges_of_several_pieces) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  const HostPages pages;
  const uint64_t piece = 4096 * 4, reserved = 4096 * 64;
  for (int i = 0; i < 2; ++i)
    fake().fake_add_memory(pages.address() + i * piece, static_cast<int64_t>(piece), device_memory, 0, 0,
                           pages.address() + i * piece, pages.address(), static_cast<int64_t>(reserved));
  problem.args.key.data = pages.address();
  BOOST_TEST(tensor_bytes == static_cast<int64_t>(2 * piece));
  BOOST_TEST(problem.forward() == "OK");
  problem.args.key.data = pages.address() + 16;
  check_refused(problem, "key.data", "are no memory that the CUDA driver knows");
}

BOOST_AUTO_TEST_CASE(a_capture_is_checked_and_unharmed) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  void *stream = nullptr;
  BOOST_REQUIRE(flashcore_stream_create(context.handle, &stream, nullptr) == FLASHCORE_OK);
  BOOST_REQUIRE_EQUAL(problem.prepare(), "OK");
  const HostPages host;
  const uint64_t good = problem.args.output.data;
  fake().fake_set_capture(stream, 1);
  problem.args.output.data = host.address();
  check_refused(problem, "output.data", "ordinary host memory", stream);
  problem.args.output.data = good;
  fake().fake_reset_calls();
  BOOST_TEST(problem.forward(stream) == "OK");
  std::set<std::string> called;
  for (int64_t i = 0; i < fake().fake_calls(""); ++i) called.insert(fake().fake_call_name(i));
  BOOST_TEST((called == std::set<std::string>{"cuCtxGetCurrent", "cuCtxPushCurrent", "cuPointerGetAttributes",
                                              "cuLaunchKernel", "cuCtxPopCurrent"}));
  BOOST_TEST(fake().fake_get_launch(fake().fake_launch_count() - 1)->captured == 1);
  fake().fake_set_capture(stream, 0);
  BOOST_TEST(flashcore_stream_destroy(context.handle, stream, nullptr) == FLASHCORE_OK);
}

BOOST_AUTO_TEST_CASE(a_driver_that_does_not_answer_is_an_error) {
  CheckedContext context;
  GpuProblem problem(context.handle);
  BOOST_REQUIRE_EQUAL(problem.forward(), "OK");
  fake().fake_fail_function("cuPointerGetAttributes", 3, 700, 0);
  const std::string text = problem.forward();
  BOOST_TEST(text.rfind("CONTEXT_LOST 700 ", 0) == 0u, text);
}

// A tensor without elements has no memory, whatever its address.
BOOST_AUTO_TEST_CASE(what_is_not_read_is_not_asked_for) {
  CheckedContext context;
  flashcore_attention_args args = small_args();
  args.seqlen_kv = 0;
  GpuProblem problem(context.handle, args);
  problem.args.key.data = problem.args.value.data = 0x1000;
  fake().fake_reset_calls();
  BOOST_TEST(problem.forward() == "OK");
  BOOST_TEST(questions() == 4);
}

BOOST_AUTO_TEST_CASE(the_variable_and_the_option) {
  const auto questions_with = [](const char *variable, int32_t option) {
    if (variable != nullptr) setenv("FLASHCORE_CHECK_ADDRESSES", variable, 1);
    GpuContext context(FLASHCORE_JIT_FORBIDDEN, option);
    unsetenv("FLASHCORE_CHECK_ADDRESSES");
    GpuProblem problem(context.handle);
    problem.prepare();
    fake().fake_reset_calls();
    BOOST_TEST(problem.forward() == "OK");
    return questions();
  };
  for (const char *on : {"1", "on"}) {
    BOOST_TEST(questions_with(on, FLASHCORE_ADDRESS_CHECKS_DEFAULT) == 8);
    BOOST_TEST(questions_with(on, FLASHCORE_ADDRESS_CHECKS_NEW_SHAPES) == 0);
  }
  for (const char *off : {static_cast<const char *>(nullptr), "", "0", "off"}) {
    BOOST_TEST(questions_with(off, FLASHCORE_ADDRESS_CHECKS_DEFAULT) == 0);
    BOOST_TEST(questions_with(off, FLASHCORE_ADDRESS_CHECKS_ALWAYS) == 8);
  }
}

BOOST_AUTO_TEST_SUITE_END()
