// SPDX-License-Identifier: Apache-2.0
//
// Which keys a query sees, and what that makes of tiles of keys. Kernels, the CPU device, packing and the cost model ask here; the
// references of tests and tools have definitions of their own.
//
// What all of them rely on, and a further mask has to keep: a query sees one run of keys, begin .. end - 1, perhaps an empty one, and
// neither end falls from a query to the next. Causal masks, sliding windows and chunks are of this form. What is not (a mask tensor, say)
// is a change of scores.
#pragma once

#include "contract/problem_key.h"
#include "contract/types.h"

namespace flashcore::kernels {

// Which ends of the run move with the query; an end that does not is that of the sequence. Kernels are compiled for it, so that an end
// that stays costs nothing. A kernel that cannot work with a begin that moves says so in a static_assert.
struct Mask {
  bool begin_moves, end_moves;
  bool in_chunks = false;  // both ends move, and no further than those of the query's own chunk

  constexpr bool later_see_more() const { return end_moves && !begin_moves; }
};
inline constexpr Mask no_mask = {false, false}, causal_mask = {false, true};
constexpr Mask mask_if(bool causal) { return causal ? causal_mask : no_mask; }
// What the choices of a kernel's module say: does the end move, and what moves the begin?
constexpr Mask mask_of(bool end_moves, int32_t window) {
  return {window != window_none, end_moves, window == window_in_chunks};
}
// A begin that something else than the mask moves: the mask's own then lies far ahead of all keys.
constexpr Mask with_begin(Mask mask, bool moves) { return {mask.begin_moves || moves, mask.end_moves, mask.in_chunks}; }
// For whoever asks without being compiled for a mask: an end that stays is one that moves too far off to hide a key.
inline constexpr Mask any_mask = {true, true, true};

// Keys begin .. end - 1, counted from the sequence's first key or from another one.
template <Mask mask, typename Count>
struct KeyRun {
  Count begin, end;
  constexpr bool sees(Count key) const { return key < end && (!mask.begin_moves || key >= begin); }
};

// The tiles of keys that a block of queries works through: begin() .. end - 1 hold a key that some query of the block sees. Of those,
// whole_begin() .. whole_end - 1 are seen whole by every query; the others need masks.
template <Mask mask>
struct KeyTiles {
  int32_t end, whole_end;
  int32_t moving_begin, moving_whole_begin;  // read only where the begin moves

  constexpr int32_t begin() const { return mask.begin_moves ? moving_begin : 0; }
  constexpr int32_t whole_begin() const { return mask.begin_moves ? moving_whole_begin : 0; }
  constexpr bool any() const { return end > begin(); }
  constexpr bool needs_mask(int32_t tile) const {
    return tile >= whole_end || (mask.begin_moves && tile < moving_whole_begin);
  }
};

// Steps that blocks of queries take through their keys: the longest block's, and the mean of all.
struct KeySteps {
  double longest, mean;
};

// The sum of floor((first + i * step) / divisor) over i = 0 .. count - 1, in as many rounds as Euclid takes for the greatest common
// divisor: there may be 2^31 blocks. Nothing is below 0.
constexpr int64_t sum_of_quotients(int64_t count, int64_t first, int64_t step, int64_t divisor) {
  int64_t sum = 0;
  while (true) {
    sum += count * (count - 1) / 2 * (step / divisor) + count * (first / divisor);
    first %= divisor, step %= divisor;
    const int64_t past_last = first + count * step;
    if (past_last < divisor) return sum;
    count = past_last / divisor, first = past_last % divisor;
    const int64_t old_step = step;
    step = divisor, divisor = old_step;
  }
}

// Query i of a sequence sees the keys i + first_offset .. i + last_offset, as far as they exist; in chunks those alone that are in the same
// chunk of keys as its own position, i + diagonal.
template <Mask mask>
struct Visibility {
  int32_t queries, keys;
  int32_t first_offset;  // asked for only where the begin moves
  int32_t last_offset;   // where the end does
  int32_t chunk = 0;     // keys of a chunk, in chunks; for any_mask 0: none
  // Asked for only in chunks: where query 0 is, counted from key 0, and how far into its chunk key 0 is.
  int32_t diagonal = keys - queries;
  int32_t chunk_phase = 0;

  using Run = KeyRun<mask, int64_t>;
  using NearRun = KeyRun<mask, int32_t>;  // counted from a key nearby
  using Tiles = KeyTiles<mask>;

  // Keys that do not exist included.
  constexpr Run band_of(int64_t query) const {
    Run band = {mask.begin_moves ? query + first_offset : 0, mask.end_moves ? query + last_offset + 1 : keys};
    if constexpr (mask.in_chunks)
      if (chunk != 0) {
        const int64_t begin = begin_of_chunk(query);
        if (band.begin < begin) band.begin = begin;
        if (band.end > begin + chunk) band.end = begin + chunk;
      }
    return band;
  }
  constexpr Run keys_of(int64_t query) const {
    const Run band = band_of(query);
    const int64_t end = !mask.end_moves ? keys : band.end < 0 ? 0 : band.end < keys ? band.end : keys;
    return {!mask.begin_moves || band.begin < 0 ? 0 : band.begin < end ? band.begin : end, end};
  }

  // Has every query a key? A begin that moves may leave one without.
  constexpr bool all_see_keys() const { return !mask.begin_moves && (!mask.end_moves || keys_of(0).end > 0); }

  // For the queries first_query .. first_query + tile_q - 1, as far as they exist; the first does.
  constexpr Tiles tiles_of(int32_t first_query, int32_t tile_q, int32_t tile_kv) const {
    const int32_t last_query = (tile_q < queries - first_query ? first_query + tile_q : queries) - 1;
    const Run of_first = keys_of(first_query), of_last = keys_of(last_query);
    const auto end = static_cast<int32_t>((of_last.end + tile_kv - 1) / tile_kv);
    return {end, static_cast<int32_t>(of_first.end / tile_kv),
            of_first.begin < of_last.end ? static_cast<int32_t>(of_first.begin / tile_kv) : end,
            static_cast<int32_t>((of_last.begin + tile_kv - 1) / tile_kv)};
  }
  // The first tile that `count` queries, as far as they exist, see from its beginning on.
  constexpr int32_t whole_begin_of(int32_t first_query, int32_t count, int32_t tile_kv) const {
    const int32_t last_query = (count < queries - first_query ? first_query + count : queries) - 1;
    return static_cast<int32_t>((keys_of(last_query).begin + tile_kv - 1) / tile_kv);
  }
  // Tiles are walked from the last to the first. The end of those whole ones before which every query from first_query on has seen a key.
  constexpr int32_t whole_end_after_a_key(const Tiles &tiles, int32_t first_query, int32_t tile_kv) const {
    if constexpr (mask.begin_moves)
      if (const Run run = keys_of(first_query); run.begin == run.end) return tiles.begin();
    const int64_t seen = keys_of(first_query).end;
    const auto left = static_cast<int32_t>((seen > 0 ? seen - 1 : 0) / tile_kv);
    return left < tiles.whole_end ? left : tiles.whole_end;
  }

  // The runs of neighbouring queries, counted from a key, so that the keys of a tile are compared as 32-bit constants. A run that begins or
  // ends far away does so below or above every key of any tile.
  struct NearRuns {
    int32_t begin_of_first, end_of_first, end_of_sequence;

    // Of the row-th query, counted from the from-th key.
    constexpr NearRun of(int32_t row, int32_t from) const {
      const int32_t end = end_of_first + row;
      return {begin_of_first + row - from, (mask.end_moves && end < end_of_sequence ? end : end_of_sequence) - from};
    }
  };
  // In chunks a run's ends do not move along with the rows.
  template <typename Seen>
  struct NearRunsInChunks {
    Seen seen;
    int32_t first_query, first_key;

    constexpr NearRun of(int32_t row, int32_t from) const {
      const Run band = seen.band_of(int64_t{first_query} + row);
      const int64_t end = band.end < seen.keys ? band.end : seen.keys;
      return {near(band.begin - first_key) - from, near(end - first_key) - from};
    }
  };
  constexpr auto runs_near(int32_t first_query, int32_t first_key) const {
    if constexpr (mask.in_chunks) {
      return NearRunsInChunks<Visibility>{*this, first_query, first_key};
    } else {
      const Run band = band_of(first_query);
      return NearRuns{near(band.begin - first_key), near(band.end - first_key), keys - first_key};
    }
  }
  // A query's keys among first_key .. first_key + count - 1, counted from there and held to 0 .. count.
  constexpr NearRun run_within(int64_t query, int32_t first_key, int32_t count) const {
    const auto held = [&](int64_t key) { return static_cast<int32_t>(key < 0 ? 0 : key < count ? key : count); };
    const Run band = band_of(query);
    return {mask.begin_moves ? held(band.begin - first_key) : 0,
            held((mask.end_moves && band.end < keys ? band.end : keys) - first_key)};
  }

  // Of all keys, those that some query sees.
  constexpr int64_t keys_of_all() const { return queries == 0 ? 0 : keys_of(queries - 1).end - keys_of(0).begin; }

  // Over all blocks of tile_q queries, which take keys_per_step keys a step. Where begins move and blocks are many, over some of them.
  constexpr KeySteps steps_of(int32_t tile_q, int32_t keys_per_step) const {
    if (queries == 0) return {0, 0};
    if constexpr (mask.begin_moves)
      if (chunk != 0 || int64_t{first_offset} + queries > 1) return steps_of_some(tile_q, keys_per_step);
    // All blocks but the last end at end_of_first + i * tile_q, held to 0 .. keys.
    const int64_t others = (int64_t{queries} - 1) / tile_q, end_of_first = band_of(tile_q - 1).end;
    const auto ending_below = [&](int64_t key) {
      const int64_t below = end_of_first >= key ? 0
                            : mask.end_moves    ? (key - end_of_first + tile_q - 1) / tile_q
                                                : others;
      return below < others ? below : others;
    };
    const int64_t empty = ending_below(0), rising = ending_below(keys) - empty, full = others - empty - rising;
    const auto steps_to = [&](int64_t end) { return (end + keys_per_step - 1) / keys_per_step; };
    const int64_t of_last = steps_to(keys_of(queries - 1).end);
    const int64_t of_rising =
        sum_of_quotients(rising, end_of_first + empty * tile_q + keys_per_step - 1, tile_q, keys_per_step);
    return {static_cast<double>(of_last),
            static_cast<double>(of_rising + full * steps_to(keys) + of_last) / static_cast<double>(others + 1)};
  }

 private:
  static constexpr int32_t near(int64_t distance) {
    constexpr int64_t far = 1 << 29;  // above any tile, and room for the rows of a warp
    return static_cast<int32_t>(distance < -far ? -far : distance > far ? far : distance);
  }
  // Of the chunk that a query's position is in, which may be one before all keys.
  constexpr int64_t begin_of_chunk(int64_t query) const {
    const int64_t position = query + diagonal + chunk_phase;
    return (position < 0 ? position - (chunk - 1) : position) / chunk * chunk - chunk_phase;
  }
  constexpr KeySteps steps_of_some(int32_t tile_q, int32_t keys_per_step) const {
    constexpr int64_t most = 64;
    const int64_t blocks = (int64_t{queries} + tile_q - 1) / tile_q, count = blocks < most ? blocks : most;
    int64_t longest = 0, sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t block = blocks <= most ? i : i * (blocks - 1) / (most - 1);
      const Tiles tiles = tiles_of(static_cast<int32_t>(block * tile_q), tile_q, keys_per_step);
      const int64_t steps = tiles.end - tiles.begin();
      sum += steps;
      if (steps > longest) longest = steps;
    }
    return {static_cast<double>(longest), static_cast<double>(sum) / static_cast<double>(count)};
  }
};

constexpr Mask mask_of(const ProblemKey &key) {
  return mask_of(key.causal != causal_none || key.window_right != window_open || key.attention_chunk != 0,
                 key.window());
}

// What hides keys, whatever the lengths.
struct MaskRule {
  int32_t causal;  // Causal
  int32_t chunk;   // positions; 0: no chunks
  int64_t window_left, window_right;

  // Lengths are below 2^31: src/problem holds them there.
  constexpr Visibility<any_mask> visibility(int64_t queries, int64_t keys) const {
    return visibility(queries, keys, keys - queries, 0);
  }
  constexpr Visibility<any_mask> visibility(int64_t queries, int64_t keys, int64_t diagonal,
                                            int32_t chunk_phase) const {
    constexpr int64_t too_far = -0x80000000ll;
    int64_t first = window_left == window_open ? too_far : diagonal - window_left;
    int64_t last = causal == causal_bottom_right ? diagonal : causal == causal_top_left ? 0 : keys;
    if (window_right != window_open && last > diagonal + window_right) last = diagonal + window_right;
    if (first < too_far) first = too_far;
    if (first > last) last = too_far;  // no query sees a key, and no block has to look for one
    return {static_cast<int32_t>(queries),
            static_cast<int32_t>(keys),
            static_cast<int32_t>(first),
            static_cast<int32_t>(last),
            chunk,
            static_cast<int32_t>(diagonal),
            chunk_phase};
  }
};
constexpr MaskRule mask_rule_of(const ProblemKey &key) {
  return {key.causal, key.attention_chunk, key.window_left, key.window_right};
}
// Of a sequence of such lengths.
constexpr Visibility<any_mask> visibility_of(const ProblemKey &key, int64_t queries, int64_t keys) {
  if (key.has_positions == 0) return mask_rule_of(key).visibility(queries, keys);
  return mask_rule_of(key).visibility(queries, keys, key.query_offset,
                                      key.attention_chunk == 0 ? 0 : key.key_position % key.attention_chunk);
}
// Of sequences as long as any may be.
constexpr Visibility<any_mask> visibility_of(const ProblemKey &key) {
  return visibility_of(key, key.seqlen_q, key.seqlen_kv);
}

}  // namespace flashcore::kernels
