// SPDX-License-Identifier: Apache-2.0
//
// share_memory against a list of every byte, over layouts made at random and layouts that people have.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <random>
#include <set>

#include "problem/shared_memory.hpp"

using namespace flashcore;

namespace {

std::set<uint64_t> all_bytes(const StridedBytes &set) {
  std::set<uint64_t> bytes;
  for (uint64_t i = 0; i <= set.last[0]; ++i)
    for (uint64_t j = 0; j <= set.last[1]; ++j)
      for (uint64_t k = 0; k <= set.last[2]; ++k)
        for (uint64_t byte = 0; byte < set.run_bytes; ++byte)
          bytes.insert(set.range.begin + i * set.step[0] + j * set.step[1] + k * set.step[2] + byte);
  return bytes;
}

bool meet(const std::set<uint64_t> &a, const std::set<uint64_t> &b) {
  for (uint64_t byte : a)
    if (b.count(byte) != 0) return true;
  return false;
}

StridedBytes layout(uint64_t begin, uint64_t run, std::initializer_list<std::pair<uint64_t, uint64_t>> size_and_step) {
  StridedBytes set;
  set.run_bytes = run;
  uint64_t extent = run;
  int i = 0;
  for (const auto &[size, step] : size_and_step) {
    set.last[i] = size - 1;
    set.step[i++] = step;
    extent += (size - 1) * step;
  }
  set.range = {begin, begin + extent};
  return set;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(shared_memory_suite)

BOOST_AUTO_TEST_CASE(random_layouts_agree_with_a_list_of_bytes) {
  std::mt19937 random(20240229);
  const auto pick = [&](uint64_t least, uint64_t most) { return least + random() % (most - least + 1); };
  const auto make = [&] {
    const uint64_t scale = uint64_t{1} << pick(0, 4);
    return layout(
        1000 + pick(0, 200), 2 * pick(1, 8),
        {{pick(1, 4), scale * pick(0, 9)}, {pick(1, 5), scale * pick(0, 20)}, {pick(1, 4), scale * pick(0, 40)}});
  };
  int shared = 0, between = 0;
  for (int round = 0; round < 4000; ++round) {
    const StridedBytes a = make(), b = make();
    const bool expected = meet(all_bytes(a), all_bytes(b));
    BOOST_TEST(share_memory(a, b) == expected);
    BOOST_TEST(share_memory(b, a) == expected);
    shared += expected;
    between += !expected && ranges_meet(a.range, b.range);
  }
  BOOST_TEST(shared > 400);
  BOOST_TEST(between > 400);  // the cases that make the search worth having
}

BOOST_AUTO_TEST_CASE(parts_of_one_buffer) {
  // [batch 64, row 4096, part 4, head 32, column 128] of 16-bit elements: parts of a row never meet.
  const uint64_t part = 32 * 128 * 2;
  const auto cut = [&](uint64_t index, uint64_t shift) {
    return layout((uint64_t{1} << 32) + index * part + shift, 256,
                  {{64, 4096 * 4 * part}, {4096, 4 * part}, {32, 256}});
  };
  for (uint64_t i = 0; i < 4; ++i)
    for (uint64_t j = 0; j < 4; ++j) BOOST_TEST(share_memory(cut(i, 0), cut(j, 0)) == (i == j));
  BOOST_TEST(share_memory(cut(3, 2), cut(0, 0)));  // the end of a row's part 3 is the next row's part 0
  BOOST_TEST(!share_memory(cut(3, 2), cut(1, 0)));
  BOOST_TEST(share_memory(cut(1, 254), cut(2, 0)));
}

BOOST_AUTO_TEST_CASE(halves_of_rows) {
  const StridedBytes left = layout(0x10000, 128, {{100, 8192}, {32, 256}});
  const StridedBytes right = layout(0x10080, 128, {{100, 8192}, {32, 256}});
  BOOST_TEST(!share_memory(left, right));
  const StridedBytes wide = layout(0x10080, 130, {{100, 8192}, {32, 256}});
  BOOST_TEST(share_memory(left, wide));
}

BOOST_AUTO_TEST_CASE(a_plain_block_in_a_gap) {
  const StridedBytes rows = layout(0x10000, 256, {{1000, 4096}});
  const AddressRange gap{0x10000 + 5 * 4096 + 256, 0x10000 + 6 * 4096};
  BOOST_TEST(!share_memory(rows, plain_bytes(gap)));
  BOOST_TEST(share_memory(rows, plain_bytes({gap.begin - 1, gap.end})));
  BOOST_TEST(share_memory(rows, plain_bytes({gap.begin, gap.end + 1})));
}

BOOST_AUTO_TEST_CASE(nothing_meets_nothing) {
  const StridedBytes none, some = layout(0, 16, {});
  BOOST_TEST(!share_memory(none, some));
  BOOST_TEST(!share_memory(some, none));
  BOOST_TEST(!share_memory(none, none));
}

// Steps without common structure: the search gives up and must then say yes.
BOOST_AUTO_TEST_CASE(beyond_the_budget_the_answer_is_yes) {
  const uint64_t many = 1'000'000;
  const StridedBytes a = layout(0, 2, {{many, 2 * 99991}, {many, 2 * 49999}, {many, 2 * 24989}});
  StridedBytes b = layout(1'000'000'001, 1, {{many, 2 * 98999}, {many, 2 * 47981}, {many, 2 * 23981}});
  b.run_bytes = 1;
  BOOST_TEST(share_memory(a, b));
}

BOOST_AUTO_TEST_CASE(extents_up_to_the_whole_address_space) {
  const uint64_t half = uint64_t{1} << 63;
  const StridedBytes low = layout(2, 2, {{2, half - 4}});
  const StridedBytes same = layout(2, 2, {{2, half - 4}});
  const StridedBytes shifted = layout(4, 2, {{2, half - 8}});
  BOOST_TEST(share_memory(low, same));
  BOOST_TEST(!share_memory(low, shifted));
}

BOOST_AUTO_TEST_SUITE_END()
