// SPDX-License-Identifier: Apache-2.0
//
// The steady loop of machine code that is written here by hand: the right one of several loops, its classes, what is jumped
// over, and both encodings of a branch.
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "cubin/steady_loop.hpp"

namespace {

using namespace flashcore;
namespace data = boost::unit_test::data;

constexpr uint64_t hmma = 0x723c, ldsm = 0x783b, mufu = 0x7308, multiply_add = 0x7223, multiply_add_constant = 0x7823,
                   fmnmx = 0x7209, move = 0x7202, hgmma = 0x79f0, hgmma_of_registers = 0x7df0, leave = 0x794d;
constexpr uint64_t always = 7, if_p0 = 0;

class Code {
 public:
  explicit Code(int32_t arch) : arch_(arch) {}
  Code &add(uint64_t low, int32_t times = 1) {
    for (int32_t i = 0; i < times; ++i)
      words_.insert(words_.end(), {low, uint64_t{0xfea0003800000} & ~uint64_t{0x3ffff}});
    return *this;
  }
  int64_t here() const { return static_cast<int64_t>(words_.size() / 2); }
  Code &branch(int64_t target, uint64_t predicate) {
    const int64_t words = (target - here() - 1) * 4;  // of 4 bytes
    const int64_t high_part = arch_ >= 90 ? words >> 8 : words;
    uint64_t low = 0x947 | predicate << 12 | static_cast<uint64_t>(high_part) << 34;
    if (arch_ >= 90) low |= (static_cast<uint64_t>(words) & 0xff) << 16;
    words_.insert(words_.end(), {low, static_cast<uint64_t>(high_part) >> 30 & 0x3ffff});
    return *this;
  }
  std::vector<uint8_t> bytes() const {
    std::vector<uint8_t> bytes(words_.size() * 8);
    std::memcpy(bytes.data(), words_.data(), bytes.size());
    return bytes;
  }

 private:
  int32_t arch_;
  std::vector<uint64_t> words_;
};

constexpr int32_t archs[] = {80, 89, 90, 120};

}  // namespace

BOOST_AUTO_TEST_SUITE(steady_loop)

BOOST_DATA_TEST_CASE(counts_by_class, data::make(archs), arch) {
  Code code(arch);
  code.add(move, 300);  // far enough that a displacement needs more than eight bits
  const int64_t head = code.here();
  code.add(ldsm, 2)
      .add(hmma, 8)
      .add(mufu, 4)
      .add(multiply_add, 3)
      .add(multiply_add_constant)
      .add(fmnmx, 5)
      .add(move, 70)
      .branch(head, if_p0);
  code.add(hmma, 20).add(move, 3);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 8);
  BOOST_TEST(loop->ldsm == 2);
  BOOST_TEST(loop->mufu == 4);
  BOOST_TEST(loop->ffma == 4);
  BOOST_TEST(loop->fmnmx == 5);
  BOOST_TEST(loop->other == 71);
  BOOST_TEST(loop->skipped == 0);
  BOOST_TEST(loop->first_byte == head * 16);
  BOOST_TEST(loop->bytes == (8 + 2 + 4 + 4 + 5 + 71) * 16);
}

BOOST_DATA_TEST_CASE(the_shorter_of_two_loops_with_as_many_mma, data::make(archs), arch) {
  Code code(arch);
  int64_t head = code.here();
  code.add(hmma, 8).add(move, 40).branch(head, if_p0);
  head = code.here();
  code.add(hmma, 8).add(move, 10).branch(head, if_p0);
  head = code.here();
  code.add(hmma, 4).branch(head, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 8);
  BOOST_TEST(loop->other == 11);
}

BOOST_DATA_TEST_CASE(an_outer_loop_is_not_the_steady_one, data::make(archs), arch) {
  Code code(arch);
  const int64_t outer = code.here();
  code.add(hmma, 30);
  const int64_t inner = code.here();
  code.add(hmma, 6).branch(inner, if_p0).branch(outer, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 6);
}

BOOST_DATA_TEST_CASE(what_a_branch_jumps_over_is_in_no_class, data::make(archs), arch) {
  Code code(arch);
  const int64_t head = code.here();
  code.add(hmma, 8).branch(head + 8 + 1 + 5, if_p0).add(multiply_add, 5);  // the rescale: five instructions
  code.branch(head + 14 + 1 + 2, if_p0).add(hmma, 2);                      // jumps over mma: work of the loop
  code.branch(head + 17 + 1 + 3, always)
      .add(multiply_add, 3)
      .branch(head, if_p0);  // an unconditional one says nothing about passes
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 10);
  BOOST_TEST(loop->skipped == 5);
  BOOST_TEST(loop->ffma == 3);
  BOOST_TEST(loop->other == 4);
}

// A loop that loads matrices does its work on them: products of what lies in registers, behind a branch, are for few passes. So are
// loops without a product, which make no outer loop of the one around them.
BOOST_DATA_TEST_CASE(products_beside_the_work, data::make(archs), arch) {
  Code code(arch);
  int64_t head = code.here();
  code.add(ldsm, 4).add(hmma, 8).add(fmnmx, 20).branch(head, if_p0);
  head = code.here();
  code.add(ldsm, 4).add(hmma, 8).branch(head + 12 + 1 + 9, if_p0).add(hmma, 6);
  const int64_t inner = code.here();
  code.add(move, 2).branch(inner, if_p0).branch(head, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->first_byte == head * 16);
  BOOST_TEST(loop->hmma == 8);
  BOOST_TEST(loop->skipped == 9);
  BOOST_TEST(loop->other == 2);
}

// Products of warpgroups need no ldmatrix; a branch at the end of the loop jumps over what few passes do.
BOOST_DATA_TEST_CASE(products_of_warpgroups, data::make(archs), arch) {
  Code code(arch);
  const int64_t head = code.here();
  code.add(hgmma, 8).add(hgmma_of_registers, 6).add(mufu, 7).add(fmnmx, 5);
  code.branch(code.here() + 1 + 9, if_p0).add(mufu, 2).add(multiply_add, 7).branch(head, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hgmma == 14);
  BOOST_TEST(loop->hmma == 0);
  BOOST_TEST(loop->products() == 14);
  BOOST_TEST(loop->mufu == 7);
  BOOST_TEST(loop->ffma == 0);
  BOOST_TEST(loop->skipped == 9);
  BOOST_TEST(loop->other == 2);
}

// A wait for a barrier goes to the end of the code, where it tries again, and back: as far as the branch goes it is no loop, though
// there are more products in between than in any.
BOOST_DATA_TEST_CASE(a_wait_beside_the_code, data::make(archs), arch) {
  for (const bool ends_before_it : {true, false}) {
    Code code(arch);
    const int64_t head = code.here();
    code.add(hgmma, 8).add(move, 3).branch(head, if_p0);
    const int64_t after_wait = code.here();
    code.add(hgmma, 16).add(ends_before_it ? leave : move);
    const int64_t wait = code.here();
    code.add(move).branch(wait, if_p0).branch(after_wait, always);
    const auto loop = find_steady_loop(code.bytes(), arch);
    BOOST_REQUIRE(loop.has_value());
    BOOST_TEST(loop->hgmma == (ends_before_it ? 8 : 16));
  }
}

// An exit that only some threads take is a step of the loop.
BOOST_DATA_TEST_CASE(an_exit_under_a_condition, data::make(archs), arch) {
  Code code(arch);
  code.add(hgmma, 8).add((leave & ~uint64_t{0xf000}) | if_p0 << 12).branch(0, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hgmma == 8);
  BOOST_TEST(loop->other == 2);
}

BOOST_DATA_TEST_CASE(code_without_such_a_loop, data::make(archs), arch) {
  BOOST_TEST(!find_steady_loop({}, arch).has_value());
  BOOST_TEST(!find_steady_loop(Code(arch).add(hmma, 8).bytes(), arch).has_value());
  BOOST_TEST(!find_steady_loop(Code(arch).add(move, 8).branch(0, if_p0).bytes(), arch).has_value());
  BOOST_TEST(
      !find_steady_loop(Code(arch).add(hmma, 8).branch(-5, if_p0).bytes(), arch).has_value());  // out of the code
}

// Code that is made of branches alone, nested and side by side, is read in one pass: 16 MB in less than a second, where a look at each
// pair of branches would take an hour.
BOOST_AUTO_TEST_CASE(a_million_branches) {
  constexpr int64_t count = 500'000;
  Code code(89);
  code.add(hmma, 3).branch(0, if_p0);
  for (int64_t i = 0; i < count; ++i)
    code.branch(i % 2 == 0 ? 0 : code.here() - 1, if_p0);                               // back, within the first loops
  for (int64_t i = 0; i < count; ++i) code.branch(code.here() + 1 + count - i, if_p0);  // over all that follows
  code.branch(4, if_p0);
  const auto start = std::chrono::steady_clock::now();
  const auto loop = find_steady_loop(code.bytes(), 89);
  BOOST_TEST((std::chrono::steady_clock::now() - start < std::chrono::seconds(20)));
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 3);
  BOOST_TEST(loop->bytes == 4 * 16);
}

// Loops that cross one another are counted in as little time.
BOOST_AUTO_TEST_CASE(loops_that_cross) {
  constexpr int64_t count = 250'000;
  Code code(89);
  code.add(hmma, count);
  for (int64_t i = 0; i < count; ++i) code.branch(i, if_p0);
  const auto start = std::chrono::steady_clock::now();
  const auto loop = find_steady_loop(code.bytes(), 89);
  BOOST_TEST((std::chrono::steady_clock::now() - start < std::chrono::seconds(20)));
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == count);
  BOOST_TEST(loop->first_byte == 0);
}

// A loop that loads matrices, and multiplies only behind a branch: it has no product that every pass makes.
BOOST_DATA_TEST_CASE(a_loop_whose_products_are_all_jumped_over, data::make(archs), arch) {
  Code code(arch);
  code.add(ldsm).branch(5, if_p0).add(hmma, 3).branch(0, if_p0);
  BOOST_TEST(!find_steady_loop(code.bytes(), arch).has_value());
  const int64_t head = code.here();
  code.add(ldsm).add(hmma).branch(head, if_p0);
  const auto loop = find_steady_loop(code.bytes(), arch);
  BOOST_REQUIRE(loop.has_value());
  BOOST_TEST(loop->hmma == 1);
}

// Any bytes are safe.
BOOST_DATA_TEST_CASE(random_bytes, data::make(archs), arch) {
  std::mt19937_64 random(7);
  for (int32_t round = 0; round < 200; ++round) {
    std::vector<uint8_t> bytes(random() % 4096);
    for (uint8_t &byte : bytes) byte = static_cast<uint8_t>(random());
    for (size_t at = 0; at + 16 <= bytes.size(); at += 64) bytes[at] = 0x47, bytes[at + 1] = 0x09;
    const auto loop = find_steady_loop(bytes, arch);
    if (loop) BOOST_TEST(loop->first_byte + loop->bytes <= static_cast<int64_t>(bytes.size()));
  }
}

BOOST_AUTO_TEST_SUITE_END()
