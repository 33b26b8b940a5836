// SPDX-License-Identifier: Apache-2.0
//
// Bank conflicts, counted over the kernels' own address functions: shared memory has 32 banks of 4 bytes, and an access of
// 16 bytes per lane is served eight lanes at a time.
#include <boost/test/unit_test.hpp>
#include <set>
#include <vector>

#include "parts/swizzle.cuh"

using namespace flashcore::kernels;

namespace {

// Bytes of one phase (eight accesses of 16 bytes): do two of them need the same bank?
bool conflict_free(const std::vector<int32_t> &offsets) {
  std::set<int32_t> banks;
  for (const int32_t offset : offsets)
    for (int32_t word = 0; word < 4; ++word)
      if (!banks.insert((offset / 4 + word) % 32).second) return false;
  return true;
}

template <typename Rows>
void check_ldmatrix() {
  // One 8x8 matrix: eight neighbouring rows at the same chunk.
  for (int32_t chunk = 0; chunk < Rows::columns / 8; ++chunk)
    for (int32_t first = 0; first < 64; first += 8) {
      std::vector<int32_t> phase;
      for (int32_t row = first; row < first + 8; ++row) phase.push_back(Rows::offset(row, chunk));
      BOOST_TEST(conflict_free(phase), "rows from " << first << ", chunk " << chunk);
    }
}

template <typename Rows>
void check_store() {
  // Neighbouring lanes store neighbouring chunks of a group, then the next row's.
  for (int32_t group = 0; group < Rows::columns / 8; group += Rows::group_chunks)
    for (int32_t start = 0; start < 64 * Rows::group_chunks; start += 8) {
      std::vector<int32_t> phase;
      for (int32_t lane = start; lane < start + 8; ++lane)
        phase.push_back(Rows::offset(lane / Rows::group_chunks, group + lane % Rows::group_chunks));
      BOOST_TEST(conflict_free(phase), "group " << group << " from chunk " << start);
    }
}

template <typename Rows>
void check_distinct() {
  std::set<int32_t> offsets;
  for (int32_t row = 0; row < 64; ++row)
    for (int32_t chunk = 0; chunk < Rows::columns / 8; ++chunk)
      BOOST_TEST(offsets.insert(Rows::offset(row, chunk)).second);
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_counter_sees_a_conflict) {
  BOOST_TEST(!conflict_free({0, 128, 256, 384, 512, 640, 768, 896}));
}

namespace {
template <int32_t... columns>
void check_swizzled() {
  (check_ldmatrix<SwizzledRows<columns>>(), ...);
  (check_store<SwizzledRows<columns>>(), ...);
  (check_distinct<SwizzledRows<columns>>(), ...);
}
template <int32_t columns>
void check_advance() {
  using Rows = SwizzledRows<columns>;
  for (int32_t row = 0; row < 64; ++row)
    for (const int32_t chunk : {0, 1})
      for (int32_t step = 0; step < columns / 8; step += 2)
        BOOST_TEST(Rows::advance(static_cast<uint32_t>(Rows::offset(row, chunk)), step) ==
                   static_cast<uint32_t>(Rows::offset(row, chunk + step)));
}
}  // namespace

BOOST_AUTO_TEST_CASE(swizzled_rows_have_no_conflicts) { check_swizzled<32, 64, 96, 128, 160, 192, 224, 256>(); }

BOOST_AUTO_TEST_CASE(padded_rows_have_no_load_conflicts) {
  check_ldmatrix<PaddedRows<64>>();
  check_distinct<PaddedRows<64>>();
}

BOOST_AUTO_TEST_CASE(advance_reaches_every_chunk_of_a_row) {
  check_advance<32>();
  check_advance<64>();
  check_advance<96>();
  check_advance<128>();
  check_advance<192>();
  check_advance<256>();
}
