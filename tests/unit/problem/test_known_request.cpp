// SPDX-License-Identifier: Apache-2.0
//
// KnownRequest says yes only where validate_attention would say yes to the same problem.
#include "problem/known_request.hpp"

#include <memory>
#include <random>

#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

// Without a workspace, which is never remembered.
Args usual_args() {
  Args args = explicit_args();
  args.workspace = 0, args.workspace_bytes = 0, args.kernel[0] = '\0';
  return args;
}

KnownRequest known(const Args &args) {
  const auto problem = validate_attention(&args, AddressRule::required);
  BOOST_REQUIRE(problem.ok());
  KnownRequest request;
  request.remember(args, problem.value());
  return request;
}

bool matches(const KnownRequest &request, const Args &args) {
  KnownRequest::Addresses addresses{};
  if (!request.matches(&args, &addresses)) return false;
  const KnownRequest::Addresses given = {args.query.data, args.key.data, args.value.data, args.output.data,
                                         args.lse.data};
  BOOST_TEST((addresses == given));
  return true;
}

uint64_t *addresses_of(Args &args, int i) {
  flashcore_tensor *const tensors[] = {&args.query, &args.key, &args.value, &args.output, &args.lse};
  return &tensors[i]->data;
}

}  // namespace

BOOST_AUTO_TEST_CASE(known_requests_differ_in_their_addresses_only) {
  for (const Args &args : {usual_args(), contiguous_args()}) {
    const KnownRequest request = known(args);
    BOOST_TEST(matches(request, args));
    for (size_t byte = 0; byte < sizeof(Args); ++byte) {
      Args other = args;
      reinterpret_cast<unsigned char *>(&other)[byte] ^= 0x40;
      const bool in_address = [&] {
        for (int i = 0; i < 5; ++i) {
          const auto *begin = reinterpret_cast<const unsigned char *>(addresses_of(other, i));
          const auto *changed = reinterpret_cast<const unsigned char *>(&other) + byte;
          if (changed >= begin && changed < begin + 8) return true;
        }
        return false;
      }();
      if (!in_address) BOOST_TEST(!matches(request, other), "byte " << byte);
    }
    BOOST_TEST(!request.matches(nullptr, nullptr));
  }
}

BOOST_AUTO_TEST_CASE(known_requests_with_bad_addresses_are_looked_at_anew) {
  const Args args = usual_args();
  const KnownRequest request = known(args);
  for (int i = 0; i < 5; ++i) {
    Args other = args;
    *addresses_of(other, i) += 1 << 20;
    BOOST_TEST(matches(request, other), i);
    for (const uint64_t bad : {uint64_t{0}, *addresses_of(other, i) + 2, ~uint64_t{0} - 15}) {
      *addresses_of(other, i) = bad;
      BOOST_TEST(!matches(request, other), i << " at " << bad);
    }
  }
  for (int output : {3, 4})
    for (int input : {0, 1, 2, 3}) {
      if (input == output) continue;
      Args other = args;
      *addresses_of(other, output) = *addresses_of(other, input);
      BOOST_TEST(!matches(request, other), output << " on " << input);
      // Its last element's row begins inside.
      *addresses_of(other, output) -= 16;
      BOOST_TEST(!matches(request, other), output << " into " << input);
    }
  Args without = args;
  without.lse.data = 0;
  BOOST_TEST(!matches(request, without));
  BOOST_TEST(!matches(known(without), args));
  BOOST_TEST(matches(known(without), without));
}

BOOST_AUTO_TEST_CASE(unusual_requests_are_not_remembered) {
  Args with_workspace = usual_args(), unaligned = usual_args(), no_rows = usual_args(), no_keys = usual_args();
  with_workspace.workspace = 0x600000000, with_workspace.workspace_bytes = 4096;
  unaligned.key.data += 2;
  no_rows.batch = 0, no_keys.seqlen_kv = 0;
  for (const Args &args : {with_workspace, unaligned, no_rows, no_keys}) BOOST_TEST(!matches(known(args), args));
  struct {
    Args args;
    uint64_t tail;
  } larger{usual_args(), 0};
  larger.args.struct_size = sizeof(larger);
  BOOST_TEST(!matches(known(larger.args), larger.args));
  // And what was known before is known no more.
  KnownRequest request = known(usual_args());
  request.remember(with_workspace, validate_attention(&with_workspace, AddressRule::required).value());
  BOOST_TEST(!matches(request, usual_args()));
}

// Random addresses, dense enough that tensors meet: whatever matches is valid, and the same problem at these addresses.
BOOST_AUTO_TEST_CASE(what_matches_is_valid) {
  std::mt19937_64 random(7);
  const KnownRequest request = known(usual_args());
  const auto before = validate_attention(&*std::make_unique<Args>(usual_args()), AddressRule::required);
  int matched = 0, refused = 0;
  for (int n = 0; n < 20000; ++n) {
    Args args = usual_args();
    for (int i = 0; i < 5; ++i)
      *addresses_of(args, i) = 0x100000000 + random() % 64 * 8192 + (random() % 8 == 0 ? 8 : 0);
    if (!matches(request, args)) {
      ++refused;
      continue;
    }
    ++matched;
    const auto problem = validate_attention(&args, AddressRule::required);
    BOOST_REQUIRE(problem.ok());
    BOOST_REQUIRE(std::memcmp(&problem.value().key, &before.value().key, sizeof(problem.value().key)) == 0);
  }
  BOOST_TEST(matched > 100);
  BOOST_TEST(refused > 100);
}

// A program in another language may have put its struct at any address.
BOOST_AUTO_TEST_CASE(arguments_need_no_alignment) {
  const Args args = usual_args();
  alignas(16) unsigned char bytes[sizeof(Args) + 16];
  for (const size_t offset : {1u, 2u, 4u, 9u}) {
    std::memcpy(bytes + offset, &args, sizeof(args));
    const auto *odd = reinterpret_cast<const Args *>(bytes + offset);
    const auto problem = validate_attention(odd, AddressRule::required);
    BOOST_REQUIRE(problem.ok());
    KnownRequest request;
    request.remember(odd, problem.value());
    KnownRequest::Addresses addresses{};
    BOOST_TEST(request.matches(odd, &addresses));
    BOOST_TEST(addresses[fwd::output] == args.output.data);
    BOOST_TEST(matches(request, args));
  }
}
