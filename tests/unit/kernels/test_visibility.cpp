// SPDX-License-Identifier: Apache-2.0
//
// Visibility, held to the masks' definitions key by key. The functions are those that kernels, the CPU device and the cost model ask.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <utility>

#include "attention_fwd/params.h"

using namespace flashcore::kernels;

namespace {

constexpr Mask window = {true, true}, left_edge = {true, false}, chunks = {true, true, true};
constexpr int32_t far = 1 << 20;

template <Mask mask>
bool in_chunk_of(const Visibility<mask> &visibility, int32_t query, int32_t key) {
  const int32_t chunk = visibility.chunk, position = query + visibility.keys - visibility.queries;
  if (!mask.in_chunks || chunk == 0) return true;
  return position >= 0 && position / chunk == key / chunk;
}

template <Mask mask>
bool sees(const Visibility<mask> &visibility, int32_t query, int32_t key) {
  return key >= 0 && key < visibility.keys && (!mask.begin_moves || key >= query + visibility.first_offset) &&
         (!mask.end_moves || key <= query + visibility.last_offset) && in_chunk_of(visibility, query, key);
}

template <Mask mask>
void check_runs(const Visibility<mask> &visibility, int32_t tile_kv) {
  for (int32_t query = 0; query < visibility.queries; ++query) {
    const auto run = visibility.keys_of(query);
    BOOST_TEST((run.begin >= 0 && run.begin <= run.end && run.end <= visibility.keys));
    int32_t wrong = 0;
    for (int32_t key = 0; key < visibility.keys; ++key) {
      const bool seen = sees(visibility, query, key);
      wrong += seen != (key >= run.begin && key < run.end);
      wrong += seen != visibility.band_of(query).sees(key);
    }
    for (int32_t first = 0; first < visibility.keys; first += tile_kv) {
      const auto within = visibility.run_within(query, first, tile_kv);
      wrong += within.begin < 0 || within.end < 0 || within.end > tile_kv;
      const int32_t first_row = query / 16 * 16, from = query % 4 * 2;
      const auto nearby = visibility.runs_near(first_row, first).of(query - first_row, from);
      for (int32_t key = first; key < first + tile_kv; ++key) {
        wrong += sees(visibility, query, key) != (key - first >= within.begin && key - first < within.end);
        wrong += sees(visibility, query, key) != nearby.sees(key - first - from);
      }
    }
    BOOST_TEST(wrong == 0, wrong << " wrong answers on query " << query);
  }
}

template <Mask mask>
void check_tiles(const Visibility<mask> &visibility, int32_t tile_q, int32_t tile_kv) {
  for (int32_t first = 0; first < visibility.queries; first += tile_q) {
    const KeyTiles<mask> tiles = visibility.tiles_of(first, tile_q, tile_kv);
    const int32_t all = (visibility.keys + tile_kv - 1) / tile_kv,
                  query_end = std::min(first + tile_q, visibility.queries);
    for (int32_t tile = 0; tile < all; ++tile) {
      bool some = false, whole = true;
      for (int32_t query = first; query < query_end; ++query)
        for (int32_t key = tile * tile_kv; key < (tile + 1) * tile_kv; ++key) {
          some |= sees(visibility, query, key);
          whole &= sees(visibility, query, key);
        }
      // Where runs have gaps between them, tiles in a gap are worked through too.
      const bool taken = tile >= tiles.begin() && tile < tiles.end;
      BOOST_TEST((mask.in_chunks ? taken || !some : taken == some), "tile " << tile << " from query " << first);
      if (some) BOOST_TEST(tiles.needs_mask(tile) == !whole, "mask of tile " << tile << " from query " << first);
    }
    BOOST_TEST(tiles.begin() <= tiles.end);
    BOOST_TEST((tiles.end <= all && tiles.whole_end <= all));
    // Walking down, every query has seen a key before the end that is asked for, and not more than it must have.
    for (int32_t query = first; query < query_end; ++query) {
      if (visibility.keys_of(query).begin == visibility.keys_of(query).end) continue;
      const int32_t end = visibility.whole_end_after_a_key(tiles, query, tile_kv);
      BOOST_TEST((end >= 0 && end <= tiles.whole_end));
      int32_t seen = 0;
      for (int32_t key = end * tile_kv; key < visibility.keys; ++key) seen += sees(visibility, query, key);
      if (end > tiles.begin()) BOOST_TEST(seen > 0, "query " << query << " above tile " << end);
      if (end < tiles.whole_end) BOOST_TEST(seen <= tile_kv, "query " << query << " above tile " << end);
    }
  }
}

template <Mask mask>
void check_steps(const Visibility<mask> &visibility, int32_t tile_q, int32_t keys_per_step) {
  double longest = 0, sum = 0, blocks = 0;
  for (int32_t first = 0; first < visibility.queries; first += tile_q) {
    double steps = 0;
    for (int32_t key = 0; key < visibility.keys; key += keys_per_step) {
      bool some = false;
      for (int32_t query = first; query < std::min(first + tile_q, visibility.queries) && !some; ++query)
        for (int32_t other = key; other < key + keys_per_step && !some; ++other) some = sees(visibility, query, other);
      steps += some;
    }
    longest = std::max(longest, steps), sum += steps, ++blocks;
  }
  const KeySteps steps = visibility.steps_of(tile_q, keys_per_step);
  BOOST_TEST(steps.longest == longest);
  BOOST_TEST(steps.mean == sum / blocks, boost::test_tools::tolerance(1e-12));
}

template <Mask mask>
void check(const Visibility<mask> &visibility) {
  BOOST_TEST_CONTEXT(visibility.queries << " queries, " << visibility.keys << " keys, offsets "
                                        << visibility.first_offset << ", " << visibility.last_offset) {
    for (const int32_t tile_kv : {32, 64}) {
      check_runs(visibility, tile_kv);
      for (const int32_t tile_q : {1, 64, 128}) check_tiles(visibility, tile_q, tile_kv);
    }
    if constexpr (!mask.in_chunks)
      for (const int32_t tile_q : {1, 3, 64, 128})
        for (const int32_t keys_per_step : {1, 32, 48, 256})
          if (!mask.begin_moves || visibility.queries <= 64 * tile_q)  // of more blocks some are asked
            check_steps(visibility, tile_q, keys_per_step);
  }
}

ProblemKey problem(int64_t seqlen_q, int64_t seqlen_kv, int32_t causal) {
  ProblemKey key{};
  key.seqlen_q = seqlen_q, key.seqlen_kv = seqlen_kv, key.causal = causal;
  return key;
}

}  // namespace

BOOST_AUTO_TEST_CASE(causal_masks_hide_what_they_say) {
  for (const int32_t queries : {1, 31, 64, 129})
    for (const int32_t keys : {0, 1, 32, 63, 65, 200}) {
      check(Visibility<no_mask>{queries, keys, 0, 0});
      for (const int32_t offset : {0, keys - queries, keys, -500})
        check(Visibility<causal_mask>{queries, keys, 0, offset});
    }
}

BOOST_AUTO_TEST_CASE(windows_hide_what_they_say) {
  for (const int32_t queries : {1, 64, 129})
    for (const int32_t keys : {0, 1, 63, 200})
      for (const int32_t first : {-far, -90, -1, 0, keys - queries - 40, 300}) {
        check(Visibility<left_edge>{queries, keys, first, 0});
        for (const int32_t width : {1, 20, 150}) check(Visibility<window>{queries, keys, first, first + width - 1});
      }
}

// With a window beside them and without, with more queries than keys, so that chunks lie before all keys, and with fewer.
BOOST_AUTO_TEST_CASE(chunks_hide_what_they_say) {
  for (const int32_t queries : {1, 64, 129})
    for (const int32_t keys : {0, 1, 63, 200})
      for (const int32_t chunk : {1, 16, 50, 1000})
        for (const int32_t first : {-far, keys - queries - 20}) {
          check(Visibility<chunks>{queries, keys, first, keys - queries, chunk});
          check(Visibility<chunks>{queries, keys, first, keys, chunk});
        }
}

BOOST_AUTO_TEST_CASE(a_problem_says_which_keys_are_seen) {
  const auto seen = [](int32_t causal, int64_t query) {
    return visibility_of(problem(5, 12, causal)).keys_of(query).end;
  };
  BOOST_TEST((seen(causal_none, 0) == 12 && seen(causal_none, 4) == 12));
  BOOST_TEST((seen(causal_top_left, 0) == 1 && seen(causal_top_left, 4) == 5));
  BOOST_TEST((seen(causal_bottom_right, 0) == 8 && seen(causal_bottom_right, 4) == 12));
  BOOST_TEST(visibility_of(problem(5, 12, causal_none)).keys_of_all() == 12);
  BOOST_TEST(visibility_of(problem(5, 12, causal_top_left)).keys_of_all() == 5);
  BOOST_TEST(visibility_of(problem(12, 5, causal_bottom_right)).keys_of_all() == 5);
  BOOST_TEST(visibility_of(problem(0, 5, causal_none)).keys_of_all() == 0);
}

BOOST_AUTO_TEST_CASE(a_problem_has_windows_and_chunks) {
  ProblemKey key = problem(5, 12, causal_none);
  const auto seen = [&](int64_t query) {
    const auto run = visibility_of(key).keys_of(query);
    return std::pair<int64_t, int64_t>(run.begin, run.end);
  };
  const auto is_mask = [&](bool begin_moves, bool end_moves, bool in_chunks) {
    const Mask mask = mask_of(key);
    return mask.begin_moves == begin_moves && mask.end_moves == end_moves && mask.in_chunks == in_chunks;
  };
  key.window_left = 3;  // the first query's position is 7
  BOOST_TEST((is_mask(true, false, false) && seen(0) == std::pair<int64_t, int64_t>(4, 12)));
  key.window_right = 2;
  BOOST_TEST((is_mask(true, true, false) && seen(0) == std::pair<int64_t, int64_t>(4, 10)));
  BOOST_TEST((seen(4) == std::pair<int64_t, int64_t>(8, 12)));
  key.causal = causal_bottom_right;
  BOOST_TEST((seen(0) == std::pair<int64_t, int64_t>(4, 8)));
  key.window_left = window_open, key.window_right = window_open, key.attention_chunk = 4;
  BOOST_TEST((is_mask(true, true, true) && seen(0) == std::pair<int64_t, int64_t>(4, 8)));
  BOOST_TEST((seen(1) == std::pair<int64_t, int64_t>(8, 9)));
  key.causal = causal_none;
  BOOST_TEST((seen(1) == std::pair<int64_t, int64_t>(8, 12)));
  // A window that begins behind its end: no block has anything to do.
  key.attention_chunk = 0, key.causal = causal_top_left, key.window_left = 2;
  for (const int64_t query : {0, 4}) BOOST_TEST((seen(query) == std::pair<int64_t, int64_t>(0, 0)));
  BOOST_TEST(visibility_of(key).tiles_of(0, 64, 64).end == 0);
}

BOOST_AUTO_TEST_CASE(sequences_at_the_limits_do_not_overflow) {
  constexpr int64_t most = 0x7fffffff;
  const KeySteps rows = visibility_of(problem(most, most, causal_top_left)).steps_of(1, 1);
  BOOST_TEST(rows.longest == 2147483647.0);
  BOOST_TEST(rows.mean == 1073741824.0);  // (most + 1) / 2
  BOOST_TEST(visibility_of(problem(most, most, causal_none)).steps_of(1, 1).mean == 2147483647.0);
  BOOST_TEST(visibility_of(problem(most, 1, causal_bottom_right)).steps_of(128, 64).longest == 1);
  const auto tiles = visibility_of(problem(most, most, causal_none)).tiles_of(0x7fffff80, 128, 64);
  BOOST_TEST(tiles.end == 0x2000000);
  BOOST_TEST(visibility_of(problem(0, most, causal_none)).steps_of(128, 64).mean == 0);
  // The widest window, of positions at either end, and many blocks.
  ProblemKey wide = problem(most, most, causal_bottom_right);
  wide.window_left = most - 2;
  BOOST_TEST(visibility_of(wide).keys_of(most - 1).begin == 1);
  BOOST_TEST(visibility_of(wide).steps_of(128, 64).longest == 0x2000000);
  ProblemKey late = problem(most, 1, causal_none);
  late.window_left = 0;
  BOOST_TEST((visibility_of(late).keys_of(0).begin == 0 && visibility_of(late).keys_of(most - 1).end == 1));
  // A far query's keys, seen from a tile far away.
  BOOST_TEST(!(Visibility<causal_mask>{0x7fffffff, 128, 0, -0x7fffffff}.runs_near(0, 64).of(0, 0).sees(0)));
  BOOST_TEST(
      (Visibility<causal_mask>{0x7fffffff, 0x7fffffff, 0, 0x7fffffff}.runs_near(0x7fffff00, 0).of(0, 0).sees(63)));
}
