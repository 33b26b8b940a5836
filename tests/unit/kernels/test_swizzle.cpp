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
  // Neighbouring lanes store neighbouring chunks of a row.
  constexpr int32_t chunks = Rows::columns / 8;
  for (int32_t start = 0; start < 64 * chunks; start += 8) {
    std::vector<int32_t> phase;
    for (int32_t lane = start; lane < start + 8; ++lane) phase.push_back(Rows::offset(lane / chunks, lane % chunks));
    BOOST_TEST(conflict_free(phase), "from chunk " << start);
  }
}

template <typename Rows>
void check_distinct() {
  std::set<int32_t> offsets;
  for (int32_t row = 0; row < 64; ++row)
    for (int32_t chunk = 0; chunk < Rows::columns / 8; ++chunk) BOOST_TEST(offsets.insert(Rows::offset(row, chunk)).second);
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_counter_sees_a_conflict) { BOOST_TEST(!conflict_free({0, 128, 256, 384, 512, 640, 768, 896})); }

BOOST_AUTO_TEST_CASE(swizzled_rows_have_no_conflicts) {
  check_ldmatrix<SwizzledRows<64>>();
  check_ldmatrix<SwizzledRows<128>>();
  check_store<SwizzledRows<64>>();
  check_store<SwizzledRows<128>>();
  check_distinct<SwizzledRows<64>>();
  check_distinct<SwizzledRows<128>>();
}

BOOST_AUTO_TEST_CASE(padded_rows_have_no_load_conflicts) {
  check_ldmatrix<PaddedRows<64>>();
  check_distinct<PaddedRows<64>>();
}

BOOST_AUTO_TEST_CASE(advance_reaches_every_chunk_of_a_row) {
  for (int32_t row = 0; row < 64; ++row)
    for (const int32_t chunk : {0, 1})
      for (int32_t step = 0; step < 16; step += 2)
        BOOST_TEST(SwizzledRows<128>::advance(static_cast<uint32_t>(SwizzledRows<128>::offset(row, chunk)), step) ==
                   static_cast<uint32_t>(SwizzledRows<128>::offset(row, chunk + step)));
}
