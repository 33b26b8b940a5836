// SPDX-License-Identifier: Apache-2.0
//
// flashcore.hpp on the CPU device: owners that are closed or moved from, lifetimes, refused copies, errors of
// threads, exceptions. Built as C++17 and as C++20.
#define BOOST_TEST_MODULE cpp
#include <algorithm>
#include <array>
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <flashcore/flashcore.hpp>
#include <limits>
#include <string>
#include <thread>
#include <vector>

using namespace flashcore;

namespace {

static_assert(!std::is_copy_constructible_v<Context> && std::is_nothrow_move_constructible_v<Context>);
static_assert(!std::is_copy_constructible_v<Buffer> && std::is_nothrow_move_assignable_v<Buffer>);
static_assert(!std::is_copy_constructible_v<Stream> && !std::is_copy_constructible_v<Event> &&
              !std::is_copy_constructible_v<HostBuffer>);

Context open_cpu() {
  Result<Context> opened = Context::open(Options::cpu(1));
  BOOST_REQUIRE_MESSAGE(opened.ok(), opened.error().message());
  return std::move(opened).value();
}

template <typename T>
void check_refused(const Result<T> &result, const char *field, const char *part) {
  BOOST_TEST(!result.ok());
  BOOST_TEST(result.error().status() == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(result.error().name() == std::string("INVALID_ARGUMENT"));
  BOOST_TEST(result.error().field() == std::string(field));
  BOOST_TEST(std::string(result.error().message()).find(part) != std::string::npos, result.error().message());
}

// Every call of an empty context says that it is empty.
void check_every_call_refused(const Context &context) {
  const AttentionArgs args;
  const std::vector<int> items(4);
  BOOST_TEST(!context.is_open());
  check_refused(context.describe(), "context", "context is NULL");
  check_refused(context.describe_device(), "context", "context is NULL");
  check_refused(context.attention(args), "context", "context is NULL");
  check_refused(context.prepare(args), "context", "context is NULL");
  check_refused(context.workspace_bytes(args), "context", "context is NULL");
  check_refused(context.explain(args), "context", "context is NULL");
  check_refused(context.merge_states(MergeStatesArgs()), "context", "context is NULL");
  check_refused(context.prepare(MergeStatesArgs()), "context", "context is NULL");
  check_refused(context.allocate(16), "context", "context is NULL");
  check_refused(context.allocate_host(16), "context", "context is NULL");
  check_refused(context.upload(items), "context", "context is NULL");
  check_refused(context.create_stream(), "context", "context is NULL");
  check_refused(context.create_event(), "context", "context is NULL");
  check_refused(context.synchronize(), "context", "context is NULL");
}

AttentionArgs small_args(std::uint64_t query, std::uint64_t key, std::uint64_t value, std::uint64_t output) {
  AttentionArgs args;
  args.batch = 1, args.heads_q = 1, args.seqlen_q = 2, args.seqlen_kv = 2, args.head_dim = 8;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = query, args.key.data = key, args.value.data = value, args.output.data = output;
  return args;
}

// Everything that a program needs, on one device: memory, a stream, events, the call and its companions.
void check_attention(const Context &context, int32_t device_kind) {
  const std::vector<std::uint16_t> query(128, 0x3c00), key(128), value(128, 0x4000);
  std::array<std::uint16_t, 128> output{};
  const Buffer q = or_throw(context.upload(query)), k = or_throw(context.upload(key)),
               v = or_throw(context.upload(value));
  const Buffer o = or_throw(context.allocate(sizeof output));
  AttentionArgs args = small_args(q.address(), k.address(), v.address(), o.address());
  args.head_dim = 64;
  BOOST_TEST(or_throw(context.workspace_bytes(args)) >= 0);
  BOOST_TEST(or_throw(context.explain(args)).supported == 1);
  or_throw(context.prepare(args));
  const Stream stream = or_throw(context.create_stream());
  const Event start = or_throw(context.create_event()), end = or_throw(context.create_event());
  const HostBuffer pinned = or_throw(context.allocate_host(sizeof output));
  or_throw(o.fill(0xff, stream));
  or_throw(start.record(stream));
  or_throw(context.attention(args, stream));
  or_throw(end.record(stream));
  or_throw(o.copy_to_host(pinned.data(), pinned.bytes(), stream));
  or_throw(context.synchronize());  // of every stream: the time between events that are not done is an error
  BOOST_TEST(or_throw(end.elapsed_us_since(start)) >= 0);
  or_throw(stream.synchronize());
  or_throw(end.synchronize());
  or_throw(o.download(output, stream));
  for (std::uint16_t one : output) BOOST_TEST(one == 0x4000);
  BOOST_TEST(std::memcmp(pinned.data(), output.data(), sizeof output) == 0);
  BOOST_TEST(or_throw(context.describe_device()).kind == device_kind);
}

// Two sequences of one key each, which is the value, in pages of one key: a table and lengths on the device, fields as in flashcore.h.
void check_pages(const Context &context) {
  constexpr int head_dim = 64;
  std::vector<std::uint16_t> query(2 * head_dim), pages(3 * head_dim, 0xffff);  // NaN, where no page is used
  std::fill_n(pages.begin(), head_dim, std::uint16_t{0x3c00});
  std::fill_n(pages.begin() + 2 * head_dim, head_dim, std::uint16_t{0x4000});
  const Buffer q = or_throw(context.upload(query)), kv = or_throw(context.upload(pages));
  const Buffer table = or_throw(context.upload(std::array<std::int32_t, 4>{2, -1, 0, -1}));
  const Buffer lengths = or_throw(context.upload(std::array<std::int64_t, 2>{1, 1}));
  const Buffer o = or_throw(context.allocate(q.bytes()));
  AttentionArgs args = small_args(q.address(), kv.address(), kv.address(), o.address());
  args.batch = 2, args.seqlen_q = 1, args.head_dim = head_dim;
  args.page_count = 3, args.page_size = 1, args.page_table = table.address();
  args.seqused_kv = lengths.address(), args.index_dtype = FLASHCORE_DTYPE_INT64;
  or_throw(context.attention(args));
  or_throw(o.download(query));
  for (int i = 0; i < 2 * head_dim; ++i)
    BOOST_TEST(query[static_cast<std::size_t>(i)] == (i < head_dim ? 0x4000 : 0x3c00));
}

// Two states of two rows: of the second row the second state has seen no key.
void check_merge(const Context &context) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> outputs = {1, 2, 3, 4, 5, 6, 7, 8}, logarithms = {0, 1, 0, -infinity};
  const Buffer states = or_throw(context.upload(outputs)), lse_states = or_throw(context.upload(logarithms));
  const Buffer output = or_throw(context.allocate(4 * sizeof(float))),
               lse = or_throw(context.allocate(2 * sizeof(float)));
  MergeStatesArgs args;
  args.state_count = 2, args.batch = 1, args.seqlen_q = 2, args.heads_q = 1, args.head_dim_v = 2;
  args.output_states.dtype = FLASHCORE_DTYPE_FLOAT32;
  args.output_states.data = states.address(), args.lse_states.data = lse_states.address();
  args.output.data = output.address(), args.lse.data = lse.address();
  or_throw(context.prepare(args));
  const Stream stream = or_throw(context.create_stream());
  or_throw(context.merge_states(args, stream));
  or_throw(stream.synchronize());
  std::array<float, 4> merged{};
  std::array<float, 2> logarithm{};
  or_throw(output.download(merged, stream));
  or_throw(lse.download(logarithm, stream));
  const std::array<float, 4> expected = {3, 4, 3, 4};
  for (std::size_t i = 0; i < expected.size(); ++i) BOOST_TEST(std::abs(merged[i] - expected[i]) < 1e-6f);
  BOOST_TEST(std::abs(logarithm[0] - std::log(2.0f)) < 1e-6f);
  BOOST_TEST(std::abs(logarithm[1] - 1.0f) < 1e-6f);
  args.state_count = 0;
  check_refused(context.merge_states(args), "state_count", "1 to 1024");
}

struct HasGpu {
  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    boost::test_tools::assertion_result result(device_count().value() > 0);
    result.message() << "no GPU";
    return result;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(attention_on_the_cpu) { check_attention(open_cpu(), FLASHCORE_DEVICE_CPU); }
BOOST_AUTO_TEST_CASE(merged_states_on_the_cpu) { check_merge(open_cpu()); }

BOOST_AUTO_TEST_CASE(merged_states_on_a_gpu, *boost::unit_test::precondition(HasGpu())) {
  check_merge(or_throw(Context::open(Options::cuda())));
}

BOOST_AUTO_TEST_CASE(pages_on_the_cpu) { check_pages(open_cpu()); }

BOOST_AUTO_TEST_CASE(pages_on_a_gpu, *boost::unit_test::precondition(HasGpu())) {
  check_pages(or_throw(Context::open(Options::cuda())));
}

BOOST_AUTO_TEST_CASE(attention_on_a_gpu, *boost::unit_test::precondition(HasGpu())) {
  check_attention(or_throw(Context::open(Options::cuda())), FLASHCORE_DEVICE_CUDA);
}

BOOST_AUTO_TEST_CASE(closed_and_moved_contexts_are_refused) {
  check_every_call_refused(Context());
  Context first = open_cpu();
  Context second = std::move(first);
  check_every_call_refused(first);  // NOLINT: used after the move on purpose
  BOOST_TEST(second.is_open());
  second.close();
  check_every_call_refused(second);
  second.close();  // again is nothing
  second = open_cpu();
  BOOST_TEST(second.describe().ok());
  Context &self = second;
  second = std::move(self);
  BOOST_TEST(second.is_open());
}

BOOST_AUTO_TEST_CASE(closed_and_moved_streams_are_refused) {
  const Context context = open_cpu();
  const AttentionArgs args;
  Stream stream = or_throw(context.create_stream());
  const Stream moved = std::move(stream);
  const Event event = or_throw(context.create_event());
  const Buffer buffer = or_throw(context.allocate(16));
  // Its NULL would be the default stream, on which the call would go through.
  check_refused(context.attention(args, stream), "stream", "closed or was moved from");
  check_refused(event.record(stream), "stream", "closed or was moved from");
  check_refused(buffer.fill(0, stream), "stream", "closed or was moved from");
  BOOST_TEST(!stream.synchronize().ok());
  BOOST_TEST(buffer.fill(0, moved).ok());
  BOOST_TEST(buffer.fill(0, StreamRef(nullptr)).ok());
  BOOST_TEST(Stream().get() == nullptr);
}

BOOST_AUTO_TEST_CASE(closed_and_moved_events_are_refused) {
  const Context context = open_cpu();
  Event event = or_throw(context.create_event());
  or_throw(event.record());
  const Event moved = std::move(event);
  check_refused(event.record(), "context", "context is NULL");
  check_refused(event.synchronize(), "context", "context is NULL");
  check_refused(moved.elapsed_us_since(event), "start", "NULL");
  BOOST_TEST(moved.synchronize().ok());
}

BOOST_AUTO_TEST_CASE(closed_and_moved_buffers_are_refused) {
  const Context context = open_cpu();
  std::vector<std::uint16_t> items(16);
  Buffer buffer = or_throw(context.upload(items));
  Buffer moved = std::move(buffer);
  BOOST_TEST(buffer.address() == 0u);
  BOOST_TEST(buffer.bytes() == 0);
  check_refused(buffer.upload(items), "buffer", "closed or was moved from");
  check_refused(buffer.download(items), "buffer", "closed or was moved from");
  check_refused(buffer.fill(0), "buffer", "closed or was moved from");
  check_refused(moved.copy_from(buffer, 8), "bytes", "buffer of 0 bytes");
  check_refused(context.attention(small_args(buffer.address(), moved.address(), moved.address(), moved.address())),
                "query.data", "query.data is 0");
  BOOST_TEST(moved.close().ok());
  BOOST_TEST(moved.close().ok());
  check_refused(moved.upload(items), "buffer", "closed or was moved from");
}

BOOST_AUTO_TEST_CASE(copies_stay_inside_the_buffer) {
  const Context context = open_cpu();
  const Buffer buffer = or_throw(context.allocate(16)), other = or_throw(context.allocate(8));
  char bytes[32] = "0123456789abcde";
  BOOST_TEST(buffer.copy_from_host(bytes, 16).ok());
  BOOST_TEST(buffer.copy_from_host(bytes, 8, {}, 8).ok());
  check_refused(buffer.copy_from_host(bytes, 17), "bytes",
                "bytes is 17 from offset_bytes 0; allowed: what lies inside the buffer of 16 bytes");
  check_refused(buffer.copy_from_host(bytes, 9, {}, 8), "bytes", "bytes is 9 from offset_bytes 8");
  check_refused(buffer.copy_to_host(bytes, 8, {}, 9), "bytes", "offset_bytes 9");
  check_refused(buffer.copy_to_host(bytes, -1), "bytes", "bytes is -1");
  check_refused(buffer.copy_to_host(bytes, 8, {}, -1), "bytes", "offset_bytes -1");
  check_refused(buffer.copy_to_host(bytes, 8, {}, INT64_MAX), "bytes", "offset_bytes 9223372036854775807");
  check_refused(buffer.copy_from(other, 9), "bytes", "buffer of 8 bytes");
  check_refused(buffer.upload(bytes), "bytes", "bytes is 32");
  BOOST_TEST(other.copy_from(buffer, 8).ok());
  char read[16] = {};
  BOOST_TEST(buffer.copy_to_host(read, 8, {}, 8).ok());
  BOOST_TEST(std::string(read, 8) == "01234567");
  BOOST_TEST(or_throw(context.allocate(0)).bytes() == 0);
}

// With the address sanitizer a device that is let go of too early is a crash, one that is kept is a leak.
BOOST_AUTO_TEST_CASE(a_buffer_keeps_its_device_open) {
  Context context = open_cpu();
  const Buffer buffer = or_throw(context.allocate(16));
  HostBuffer host = or_throw(context.allocate_host(16));
  Stream stream = or_throw(context.create_stream());
  context.close();
  BOOST_TEST(buffer.fill(7, stream).ok());
  BOOST_TEST(buffer.copy_to_host(host.data(), host.bytes(), stream).ok());
  BOOST_TEST(stream.synchronize().ok());
  BOOST_TEST(static_cast<const char *>(host.data())[15] == 7);
  BOOST_TEST(host.close().ok());
  BOOST_TEST(host.data() == nullptr);
  BOOST_TEST(host.bytes() == 0);
}

BOOST_AUTO_TEST_CASE(options_that_do_not_fit_are_refused) {
  Options options = Options::cpu();
  BOOST_TEST(options.set_cache_directory("/nowhere").ok());
  check_refused(options.set_cache_directory(std::string(1024, 'x')), "cache_directory",
                "cache_directory has 1024 bytes; allowed: fewer than 1024");
  check_refused(options.set_module_path(std::string_view("a\0b", 3)), "module_path", "none of them zero");
  BOOST_TEST(std::string(options.cache_directory) == "/nowhere");
  BOOST_TEST(options.set_cache_directory({}).ok());
  BOOST_TEST(std::string(options.cache_directory).empty());
  BOOST_TEST(options.set_nvrtc_library(std::string(1023, 'x')).ok());
  options.device_kind = 99;
  const Result<Context> opened = Context::open(options);
  check_refused(opened, "device_kind", "99");
  check_every_call_refused(opened.value());  // after a failure the value is an empty context
  BOOST_TEST(Options::cuda(3).device_ordinal == 3);
  BOOST_TEST(Options::cuda().device_kind == FLASHCORE_DEVICE_CUDA);
}

BOOST_AUTO_TEST_CASE(an_error_keeps_its_texts_when_it_is_copied) {
  const Context context = open_cpu();
  const Error error = context.attention(AttentionArgs()).error();
  Error copy;
  BOOST_TEST(copy.status() == FLASHCORE_OK);
  copy = error;
  BOOST_TEST(copy.message() == std::string(error.message()));
  BOOST_TEST(copy.field() == std::string(error.field()));
  BOOST_TEST(!std::string(copy.field()).empty());
  const Error &self = copy;
  copy = self;
  BOOST_TEST(copy.message() == std::string(error.message()));
}

BOOST_AUTO_TEST_CASE(exceptions_are_opt_in) {
  BOOST_CHECK_EXCEPTION(or_throw(Context().describe()), Exception, [](const Exception &thrown) {
    return thrown.error().status() == FLASHCORE_INVALID_ARGUMENT &&
           std::string(thrown.what()).find("context is NULL") != std::string::npos;
  });
  const Result<flashcore_device_info> device = describe_device(1000);
  BOOST_TEST(!device.ok());
  BOOST_TEST(device->ordinal == 0);
  BOOST_TEST(device_count().ok());
}

// Many threads on one context, each with a mistake of its own: none may read another's text.
BOOST_AUTO_TEST_CASE(threads_never_see_each_other_s_error) {
  const Context context = open_cpu();
  const auto body = [&context](int thread, int &wrong) {
    for (int i = 0; i < 2000; ++i) {
      AttentionArgs args = small_args(256, 256, 256, 256);
      args.heads_q = -(thread * 10000 + i) - 1;
      const Result<void> done = context.attention(args);
      const std::string number = std::to_string(args.heads_q);
      wrong += done.ok() || done.error().field() != std::string("heads_q") ||
               std::string(done.error().message()).find(number) == std::string::npos;
    }
  };
  std::array<int, 4> wrong{};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread)
    threads.emplace_back(body, thread, std::ref(wrong[static_cast<std::size_t>(thread)]));
  for (std::thread &thread : threads) thread.join();
  for (int one : wrong) BOOST_TEST(one == 0);
}
