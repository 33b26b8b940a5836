// SPDX-License-Identifier: Apache-2.0
//
// PreparedCall says yes only where validate_attention would say yes to the same problem; a thread's last calls are found, the last one
// first, and the oldest makes room.
#include "runtime/prepared_call.hpp"

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "plan/kernel_table.hpp"
#include "problem/attention_call.hpp"
#include "runtime/recent_calls.hpp"
#include "unit/problem/problem_fixture.hpp"

using namespace flashcore;

namespace {

Variants &variants() {
  static Variants all;
  return all;
}

// Without a workspace, which is never remembered.
Args usual_args() {
  static const uint64_t variant = variants().create("bool visible() {}", 4096).value();
  Args args = explicit_args();
  args.variant = variant, args.variant_params = 0xb00000000;
  args.workspace = 0, args.workspace_bytes = 0, args.kernel[0] = '\0';
  return args;
}

Args usual_appending_args() {
  Args args = appending_args();
  args.workspace = 0, args.workspace_bytes = 0, args.kernel[0] = '\0';
  return args;
}

constexpr uint64_t serial = 7;

// What became of the call: a launch of the table's first kernel, whose parameters hold 0x55 everywhere.
struct Made {
  AttentionProblem problem;
  LaunchPlan plan{1, 0};
  TensorMaps maps;  // none
  unsigned char parameters[kernels::most_parameter_bytes];
  kernels::AppendParams ahead{};
  PreparedCall::Launched launched;

  explicit Made(const Args *args, uint64_t device_serial = serial)
      : problem(valid(args)), launched{device_serial, args, problem, plan, maps, parameters, ahead} {
    std::memset(parameters, 0x55, sizeof(parameters));
  }
  static AttentionProblem valid(const Args *args) {
    const Result<AttentionProblem> checked = validate_attention(args, AddressRule::required, &variants());
    BOOST_REQUIRE(checked.ok());
    return checked.value();
  }
};

PreparedCall known(const Args &args) {
  PreparedCall call;
  call.remember(Made(&args).launched);
  return call;
}

// In the order of the operands.
uint64_t *addresses_of(Args &args, int i) {
  return reinterpret_cast<uint64_t *>(reinterpret_cast<char *>(&args) + fwd::operands[static_cast<size_t>(i)].offset);
}

PreparedCall::Addresses addresses_in(const Args &args) {
  PreparedCall::Addresses addresses{};
  for (int i = 0; i < kernels::operand_count; ++i) {
    Args copy = args;
    addresses[static_cast<size_t>(i)] = *addresses_of(copy, i);
  }
  return addresses;
}

bool matches(const PreparedCall &call, const Args &args) {
  PreparedCall::Addresses addresses;
  addresses.fill(~uint64_t{0});  // what is not written shows
  if (!call.matches(serial, &args, &addresses)) return false;
  BOOST_TEST((addresses == addresses_in(args)));
  return true;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(prepared_call)

BOOST_AUTO_TEST_CASE(known_calls_differ_in_their_addresses_only) {
  for (const Args &args : {usual_args(), usual_appending_args(), contiguous_args()}) {
    const PreparedCall call = known(args);
    BOOST_TEST(matches(call, args));
    for (size_t byte = 0; byte < sizeof(Args); ++byte) {
      Args other = args, before = args;
      reinterpret_cast<unsigned char *>(&other)[byte] ^= 0x40;
      const bool in_address = [&] {
        for (int i = 0; i < kernels::operand_count; ++i) {
          if (*addresses_of(before, i) == 0) continue;  // an operand that was absent is another problem
          const auto *begin = reinterpret_cast<const unsigned char *>(addresses_of(other, i));
          const auto *changed = reinterpret_cast<const unsigned char *>(&other) + byte;
          if (changed >= begin && changed < begin + 8) return true;
        }
        return false;
      }();
      if (!in_address) BOOST_TEST(!matches(call, other), "byte " << byte);
    }
    BOOST_TEST(!call.matches(serial, nullptr, nullptr));
    PreparedCall::Addresses addresses;
    BOOST_TEST(!call.matches(serial + 1, &args, &addresses));
    BOOST_TEST(!matches(PreparedCall(), args));
  }
}

BOOST_AUTO_TEST_CASE(known_calls_with_bad_addresses_are_looked_at_anew) {
  const Args args = usual_args();
  const PreparedCall call = known(args);
  for (int i = 0; i < kernels::operand_count; ++i) {
    Args other = args;
    if (*addresses_of(other, i) == 0) {  // what was absent is not known
      *addresses_of(other, i) = uint64_t{1} << 40;
      BOOST_TEST(!matches(call, other), i);
      continue;
    }
    *addresses_of(other, i) += 1 << 20;
    BOOST_TEST(matches(call, other), i);
    // A mask's bytes may lie anywhere.
    const uint64_t misaligned = i == kernels::operand_mask ? 0 : *addresses_of(other, i) + 2;
    for (const uint64_t bad : {uint64_t{0}, misaligned, ~uint64_t{0} - 15}) {
      *addresses_of(other, i) = bad;
      BOOST_TEST(!matches(call, other), i << " at " << bad);
    }
  }
  for (int output : {3, 4})
    for (int input : {0, 1, 2, 3}) {
      if (input == output) continue;
      Args other = args;
      *addresses_of(other, output) = *addresses_of(other, input);
      BOOST_TEST(!matches(call, other), output << " on " << input);
      // Its last element's row begins inside.
      *addresses_of(other, output) -= 16;
      BOOST_TEST(!matches(call, other), output << " into " << input);
    }
  Args without = args;
  without.lse.data = 0;
  BOOST_TEST(!matches(call, without));
  BOOST_TEST(!matches(known(without), args));
  BOOST_TEST(matches(known(without), without));
}

BOOST_AUTO_TEST_CASE(unusual_calls_are_told_apart) {
  Args with_workspace = usual_args(), unaligned = usual_args(), no_rows = usual_args(), no_keys = usual_args();
  with_workspace.workspace = 0x600000000, with_workspace.workspace_bytes = 4096;
  unaligned.key.data += 2;
  no_rows.batch = 0, no_keys.seqlen_kv = 0;
  for (const Args &args : {with_workspace, unaligned, no_rows, no_keys})
    BOOST_TEST(!PreparedCall::is_usual(Made(&args).launched));
  const Args usual = usual_args();
  BOOST_TEST(PreparedCall::is_usual(Made(&usual).launched));
  struct {
    Args args;
    uint64_t tail;
  } larger{usual_args(), 0};
  larger.args.struct_size = sizeof(larger);
  BOOST_TEST(!PreparedCall::is_usual(Made(&larger.args).launched));
}

BOOST_AUTO_TEST_CASE(a_cache_that_is_written_is_kept_apart) {
  const Args args = usual_appending_args(), reading = usual_args();
  const PreparedCall call = known(args), reads = known(reading);
  for (const int cache : {kernels::operand_key, kernels::operand_value})
    for (int i = 0; i < kernels::operand_count; ++i) {
      Args other = args;
      if (i == cache || *addresses_of(other, i) == 0) continue;
      *addresses_of(other, i) = *addresses_of(other, cache) + 16;
      BOOST_TEST(!matches(call, other), i << " in " << cache);
      Args read = reading;
      if (i == fwd::output || i == fwd::lse || *addresses_of(read, i) == 0) continue;
      *addresses_of(read, i) = *addresses_of(read, cache) + 16;
      BOOST_TEST(matches(reads, read), i << " in " << cache);
    }
}

// Where the launch ahead leaves queries and lengths, attention finds them.
BOOST_AUTO_TEST_CASE(addresses_of_what_is_left_ahead) {
  Args args = usual_appending_args();
  args.seqused_kv = 0x1200000000;
  const Made made(&args);
  LaunchPlan plan{1, 0};
  int function = 0;
  plan.ahead.function = reinterpret_cast<CudaFunction>(&function);
  plan.places = kernels::append_kv::places_of(made.problem.key, 100);
  const kernels::AppendParams ahead =
      kernels::append_kv::params_of(made.problem.key, attention_call(made.problem), plan.places, 0x50000);
  PreparedCall call;
  call.remember({serial, &args, made.problem, plan, made.maps, made.parameters, ahead});
  PreparedCall::Addresses addresses{};
  args.key.data += 1 << 20;
  BOOST_REQUIRE(call.matches(serial, &args, &addresses));
  addresses[kernels::address_workspace] = 0x70000;
  call.patch_ahead(addresses);
  const kernels::AppendParams &patched = call.ahead();
  BOOST_TEST(patched.key.data == args.key.data);
  BOOST_TEST(patched.query.data == args.query.data);
  BOOST_TEST(patched.ragged.seqused_kv == args.seqused_kv);
  BOOST_TEST(patched.kept_keys == 0x70000u + 256);
  BOOST_TEST(patched.rotated_query.data == 0x70000u + 512);
  BOOST_TEST(addresses[fwd::query] == patched.rotated_query.data);
  BOOST_TEST(addresses[fwd::seqused_kv] == patched.kept_keys);
  BOOST_TEST(addresses[fwd::key] == args.key.data);
}

// Random addresses, dense enough that tensors meet: whatever matches is valid, and the same problem at these addresses.
BOOST_AUTO_TEST_CASE(what_matches_is_valid) {
  std::mt19937_64 random(7);
  const PreparedCall call = known(usual_args());
  const auto before = validate_attention(&*std::make_unique<Args>(usual_args()), AddressRule::required, &variants());
  int matched = 0, refused = 0;
  for (int n = 0; n < 20000; ++n) {
    Args args = usual_args();
    for (int i = 0; i < kernels::operand_count; ++i)
      if (*addresses_of(args, i) != 0)
        *addresses_of(args, i) = 0x100000000 + random() % 64 * 8192 + (random() % 8 == 0 ? 8 : 0);
    if (!matches(call, args)) {
      ++refused;
      continue;
    }
    ++matched;
    const auto problem = validate_attention(&args, AddressRule::required, &variants());
    BOOST_REQUIRE(problem.ok());
    BOOST_REQUIRE(std::memcmp(&problem.value().key, &before.value().key, sizeof(problem.value().key)) == 0);
  }
  BOOST_TEST(matched > 100);
  BOOST_TEST(refused > 100);
}

// An id says nothing of what has become of it since.
BOOST_AUTO_TEST_CASE(calls_know_whether_a_variant_was_destroyed_since) {
  const Args with = usual_args(), without = contiguous_args();
  const uint64_t now = variants().destroyed();
  BOOST_TEST(known(with).variant_stays(now));
  BOOST_TEST(!known(with).variant_stays(now + 1));
  BOOST_TEST(known(without).variant_stays(now + 1));
}

// A program in another language may have put its struct at any address.
BOOST_AUTO_TEST_CASE(arguments_need_no_alignment) {
  const Args args = usual_args();
  alignas(16) unsigned char bytes[sizeof(Args) + 16];
  for (const size_t offset : {1u, 2u, 4u, 9u}) {
    std::memcpy(bytes + offset, &args, sizeof(args));
    const auto *odd = reinterpret_cast<const Args *>(bytes + offset);
    const auto problem = validate_attention(odd, AddressRule::required, &variants());
    BOOST_REQUIRE(problem.ok());
    PreparedCall call;
    call.remember(Made(odd).launched);
    PreparedCall::Addresses addresses{};
    BOOST_TEST(call.matches(serial, odd, &addresses));
    BOOST_TEST(addresses[fwd::output] == args.output.data);
    BOOST_TEST(matches(call, args));
  }
}

BOOST_AUTO_TEST_CASE(addresses_are_patched_and_nothing_else) {
  const Args args = usual_args();
  PreparedCall call = known(args);
  const kernels::Passport &passport = passport_at(0);
  BOOST_REQUIRE(passport.patches.count == kernels::attended_count);
  for (const uint64_t shift : {1 << 20, 0}) {
    PreparedCall::Addresses addresses = addresses_in(args);
    for (uint64_t &address : addresses) address += shift;
    const auto *parameters = static_cast<const unsigned char *>(call.patch(addresses));
    std::vector<unsigned char> expected(static_cast<size_t>(passport.parameter_bytes), 0x55);
    for (const kernels::AddressPatch &patch : passport.patches)
      std::memcpy(&expected[static_cast<size_t>(patch.byte_offset)], &addresses[static_cast<size_t>(patch.address)], 8);
    BOOST_TEST(std::equal(expected.begin(), expected.end(), parameters));
  }
}

namespace {

Args of_length(int64_t seqlen_kv) {
  Args args = contiguous_args();
  args.seqlen_kv = seqlen_kv;
  return args;
}

struct Recent {
  RecentCalls calls;
  PreparedCall *find(const Args &args) {
    PreparedCall::Addresses addresses;
    return calls.find(serial, &args, &addresses);
  }
  void remember(const Args &args) { calls.remember(Made(&args).launched); }
};

}  // namespace

BOOST_FIXTURE_TEST_CASE(the_last_calls_are_found_and_the_oldest_makes_room, Recent) {
  BOOST_TEST(find(of_length(1)) == nullptr);
  constexpr auto most = static_cast<int64_t>(RecentCalls::most_calls);
  for (int64_t length = 1; length <= most; ++length) remember(of_length(length));
  for (int64_t length = 1; length <= most; ++length) BOOST_TEST(find(of_length(length)) != nullptr, length);
  BOOST_TEST(find(of_length(1)) == find(of_length(1)));
  BOOST_TEST(find(of_length(1)) != find(of_length(2)));
  // In use again, so it is not the oldest one.
  BOOST_TEST(find(of_length(1)) != nullptr);
  remember(of_length(most + 1));
  BOOST_TEST(find(of_length(3)) == nullptr);
  for (const int64_t length : {1, 2, 4, 5}) BOOST_TEST(find(of_length(length)) != nullptr, length);
}

BOOST_FIXTURE_TEST_CASE(a_call_is_remembered_once, Recent) {
  for (int64_t length = 1; length <= 3; ++length) remember(of_length(length));
  // An output that begins inside another tensor's extent and may be apart from it all the same is looked at anew, in every call.
  for (int i = 0; i < 10; ++i) remember(of_length(4));
  for (int64_t length = 1; length <= 4; ++length) BOOST_TEST(find(of_length(length)) != nullptr, length);
}

BOOST_FIXTURE_TEST_CASE(an_optional_tensor_makes_another_call, Recent) {
  const Args with = of_length(1);
  Args without = with;
  without.lse.data = 0;
  remember(with), remember(without);
  BOOST_TEST(find(with) != nullptr);
  BOOST_TEST(find(without) != nullptr);
  BOOST_TEST(find(with) != find(without));
}

BOOST_FIXTURE_TEST_CASE(an_unusual_call_leaves_the_others_where_they_are, Recent) {
  for (int64_t length = 1; length <= 4; ++length) remember(of_length(length));
  Args unusual = of_length(5);
  unusual.workspace = 0x600000000, unusual.workspace_bytes = 4096;
  remember(unusual);
  BOOST_TEST(find(unusual) == nullptr);
  for (int64_t length = 1; length <= 4; ++length) BOOST_TEST(find(of_length(length)) != nullptr, length);
}

BOOST_AUTO_TEST_CASE(every_thread_has_its_own) {
  RecentCalls *const mine = RecentCalls::make_of_this_thread();
  BOOST_TEST(mine != nullptr);
  BOOST_TEST(RecentCalls::of_this_thread() == mine);
  std::thread([mine] {
    BOOST_TEST(RecentCalls::of_this_thread() == nullptr);
    RecentCalls *const other = RecentCalls::make_of_this_thread();
    BOOST_TEST(other != nullptr);
    BOOST_TEST(other != mine);
  }).join();
  BOOST_TEST(RecentCalls::make_of_this_thread() == mine);
}

BOOST_AUTO_TEST_SUITE_END()
