// SPDX-License-Identifier: Apache-2.0
//
// The passport of the kernel for wide heads, sm80_fwd_wide.cu, as host and device agree on it: choices, shared memory, parameters and cost.
#pragma once

#include "attention_fwd/choices.h"
#include "attention_fwd/decode.h"
#include "attention_fwd/grid_split.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"

namespace flashcore::kernels::wide {

inline constexpr int32_t largest_head_dim = 576, largest_head_dim_v = 512;
// Keys and values lie in shared memory in pieces of so many keys and columns.
inline constexpr int32_t piece_keys = 64, piece_columns = 64, piece_bytes = piece_keys * piece_columns * 2;
constexpr int32_t pieces_of(int32_t columns) { return (columns + piece_columns - 1) / piece_columns; }
// Warps that have the same rows, and a share each of a tile's keys and of every piece's columns.
inline constexpr int32_t column_groups = 4;

// There is none for where the mask ends: one module serves every causal mask, and none.
struct Choices {
  int32_t dtype, head_dim, head_dim_v, window, scores, rows, calls, tile_q, tile_kv, warps, stages, alignment_bytes;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim({64, largest_head_dim}),
    attention_fwd::head_dim_v({64, largest_head_dim_v}),
    attention_fwd::window,
    attention_fwd::scores,
    attention_fwd::rows,
    attention_fwd::calls,
    attention_fwd::tile_q({16, 64}, Tries(16, 32, 64)),
    attention_fwd::tile_kv(attention_fwd::exactly(piece_keys)),
    attention_fwd::warps({4, 8}, Tries(4, 8)),
    attention_fwd::stages({2, 8}, Tries(2, 3, 4, 6, 8)),  // pieces, not tiles
    attention_fwd::alignment_bytes({2, 16}),
};
#endif

enum RowAlignment : int32_t { aligned = 1, unaligned = 2 };
struct Tile {
  int32_t head_dim, head_dim_v, tile_q, warps, stages;
  int32_t rows;  // RowAlignment
};
// The low ones are for few rows. The tall ones take all of what a block has on Ada, 99 KB: with 512 columns of keys there is room for a third
// piece.
inline constexpr Tile tiles[] = {{576, 512, 16, 4, 3, aligned},
                                 {576, 512, 32, 4, 4, aligned},
                                 {512, 512, 64, 8, 3, aligned},
                                 {576, 512, 64, 8, 2, aligned | unaligned}};

constexpr bool specialization(int32_t index, Choices *out) {
  for (const Tile &tile : tiles)
    for (int32_t variant = 0; variant < 4; ++variant) {
      const bool loose = (variant & 2) != 0;
      if ((tile.rows & (loose ? unaligned : aligned)) == 0 || index-- != 0) continue;
      *out = {(variant & 1) != 0 ? dtype_bfloat16 : dtype_float16,
              tile.head_dim,
              tile.head_dim_v,
              window_none,
              0,
              rows_dense,
              0,
              tile.tile_q,
              piece_keys,
              tile.warps,
              tile.stages,
              loose ? 2 : 16};
      return true;
    }
  return false;
}

constexpr Refusal allows(const Choices &s) {
  if (s.head_dim % piece_columns != 0) return {"head_dim", "64 to 576, by 64"};
  if (s.head_dim_v % piece_columns != 0) return {"head_dim_v", "64 to 512, by 64"};
  if (s.tile_q != 16 && s.tile_q != 32 && s.tile_q != 64) return {"tile_q", "16, 32 or 64"};
  if (s.warps != 4 && s.warps != 8) return {"warps", "4 or 8"};
  const int32_t warp_rows = s.tile_q * column_groups / s.warps;
  if (warp_rows != 16 && warp_rows != 32) return {"warps", "4 for tiles of 16 rows, 4 or 8 for 32, 8 for 64"};
  return no_refusal;
}

// Packed rows, as in decode.h: all query rows that share a key head, in tiles.
using Params = decode::Params;
// Places of the grid for the tiles of all sequences, for one key head: as many as the longest sequence may need for each, or, where sequences
// follow one another and that is less, as their rows need together (places_of_tiles() of contract/sequence.h).
struct TilePlaces {
  int64_t count;
  bool in_line;
};
constexpr TilePlaces tile_places(int32_t tile_q, int64_t batch, int64_t most_rows, int64_t rows_in_line) {
  const int64_t by_length = ceil_div(most_rows, tile_q) * batch;
  if (rows_in_line < 0) return {by_length, false};
  const int64_t in_line = places_of_tiles(rows_in_line, batch, tile_q);
  return in_line < by_length ? TilePlaces{in_line, true} : TilePlaces{by_length, false};
}
constexpr TilePlaces tile_places(int32_t tile_q, const ProblemKey &key) {
  const int64_t heads_per_kv = key.heads_q / key.heads_kv;
  return tile_places(tile_q, key.batch, key.seqlen_q * heads_per_kv,
                     key.total_q == no_total ? -1 : key.total_q * heads_per_kv);
}
template <int32_t tile_q>
constexpr TilePlaces tile_places(const AttentionFwdParams &params) {
  const RaggedRows &rows = params.ragged;
  return tile_places(tile_q, params.batch, int64_t{rows.most_queries} * params.heads_per_kv,
                     rows.cu_seqlens_q == 0 ? -1 : int64_t{rows.total_q} * params.heads_per_kv);
}
constexpr int64_t thread_blocks(const Choices &s, const ProblemKey &key) {
  return tile_places(s.tile_q, key).count * key.heads_kv;
}

// What a block of dense rows computes. Where later queries see more keys the longest tiles go first.
template <int32_t tile_q>
constexpr decode::BlockRows longest_first(decode::BlockRows rows) {
  rows.first_row = (rows.row_count - 1) / tile_q * tile_q - rows.first_row;
  return rows;
}
template <int32_t tile_q>
constexpr decode::BlockRows dense_rows(const AttentionFwdParams &params, uint32_t block) {
  return longest_first<tile_q>(decode::block_rows<tile_q, 1>(params, block));
}
// A block of a ragged batch writes down what it computes behind the parameters of its sequence.
struct SequenceParams : Params {
  decode::BlockRows work;
};
static_assert(sizeof(SequenceParams) == sizeof(Params) + 24, "the work is behind what is copied");

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim % 8 != 0 || key.head_dim > largest_head_dim) return {"head_dim", "a multiple of 8 up to 576"};
  if (key.head_dim_v % 8 != 0 || key.head_dim_v > largest_head_dim_v)
    return {"head_dim_v", "a multiple of 8 up to 512"};
  if (key.window() != window_none && asks_for_pieces(key))
    return {field_of_pieces(key), "0 where the first key that a query sees moves: its keys are few"};
  if (asks_for_pieces(key) && key.split_tokens % piece_keys != 0) return {"split_tokens", "a multiple of 64"};
  if (key.batch_invariant != 0 && end_of_keys(key) > most_pieces * int64_t{128})
    return {"seqlen_kv", "up to 8388480 where results may not depend on the batch"};
  if (key.seqlen_q * (key.heads_q / key.heads_kv) > 0x7ffffff0)
    return {"seqlen_q", "seqlen_q * heads_q / heads_kv below 2^31 - 16"};
  if (decode::row_tiles(16, key) > 0x7fffffff / (static_cast<int64_t>(key.heads_kv) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q / 16 below 2^31"};
  return no_refusal;
}

// Parts are of whole tiles of keys.
constexpr bool cuts_as_asked(const ProblemKey &key) {
  return !asks_for_pieces(key) || (key.split_tokens % piece_keys == 0 && grid_split::rows(key) <= 0x7fffffff);
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && key.head_dim <= s.head_dim && key.head_dim_v <= s.head_dim_v &&
         s.window == key.window() && s.scores == key.scores && s.rows == key.rows &&
         ((s.calls ^ key.calls()) & calls_float32_output) == 0 && cuts_as_asked(key) &&
         s.alignment_bytes <= key.alignment_bytes && (key.alignment_bytes < 16 || s.alignment_bytes == 16);
}

// Shared memory: Q, the pieces under way, P, a number of each row from each of the warps that share it, and of ragged batches where pages are
// and the parameters of the sequence.
struct Layout {
  int32_t pieces, probabilities, states, places, sequence, end;
};
constexpr Layout layout_of(const Choices &s) {
  Layout at{};
  at.pieces = s.tile_q * s.head_dim * 2;
  at.probabilities = at.pieces + s.stages * piece_bytes;
  at.states = at.probabilities + s.tile_q * piece_keys * 2;
  at.places = at.states + s.tile_q * column_groups * 4;
  at.sequence = at.places + (s.rows == rows_paged ? 2 * 2 * piece_keys * 4 : 0);
  at.end = at.sequence + (s.rows == rows_dense ? 0 : static_cast<int32_t>(sizeof(SequenceParams)));
  return at;
}
constexpr int64_t dynamic_shared_bytes(const Choices &s) { return layout_of(s).end; }

// Predicted: what is counted in the code, and a barrier for each piece, which all warps of a block come to together.
inline constexpr double piece_instructions = 70;  // of a warp, beside its products and their operands
inline constexpr double piece_latency = 600;      // clocks, from the L2 cache
constexpr int32_t registers(const Choices &s) {
  const int32_t row_tiles = s.tile_q * column_groups / s.warps / 16;
  return row_tiles * (s.head_dim_v / 8 + 24) + 40;
}
constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device, int32_t parts = 1) {
  const Rates rates = rates_of(device.arch);
  const auto queries_of_tile = static_cast<int32_t>(ceil_div(s.tile_q, key.heads_q / key.heads_kv));
  KeySteps steps = visibility_of(key).steps_of(queries_of_tile, piece_keys);
  if (parts > 1) steps = {steps.longest / parts, steps.mean / parts};
  const double key_pieces = pieces_of(key.head_dim), value_pieces = pieces_of(key.head_dim_v);
  const double pieces = key_pieces + value_pieces, columns = pieces * piece_columns;
  const double row_tiles = s.tile_q * column_groups / s.warps / 16.0;
  // ldmatrix of four 8x8 tiles: Q and K for every depth of 16, V for every 16 keys, P once.
  const double loads = s.warps * 4 * (key_pieces * (row_tiles + 1) + value_pieces + row_tiles);
  const double products = s.warps * 4 * pieces * row_tiles * 2;
  const double instructions =
      products + loads + s.warps * piece_instructions * pieces + s.tile_q * piece_keys / 128 * 20;
  const double piece_traffic = pieces * piece_bytes;
  const int32_t fitting = resident_blocks(registers(s), s.warps * 32, dynamic_shared_bytes(s), device),
                resident = fitting < 1 ? 1 : fitting;
  // All blocks of a multiprocessor have all their pieces but one under way.
  const double waiting = pieces * piece_latency / ((s.stages - 1) * resident);
  const StepClocks clocks = {2.0 * s.tile_q * piece_keys * columns / rates.tensor_flop,
                             s.tile_q * piece_keys / rates.exponentials, instructions / rates.instructions,
                             (loads * 512.0 + piece_traffic) / rates.shared_bytes,
                             larger_of(piece_traffic / rates.l2_bytes, waiting)};
  const double io_clocks = clocks_per_io_byte * s.tile_q * columns * 2.0;
  Cost cost = with_memory(cost_of_steps(clocks, static_cast<double>(thread_blocks(s, key)) * parts, steps, s.warps,
                                        resident, prologue_clocks + io_clocks, occupied_clocks + io_clocks, device),
                          key, device);
  // Nothing is measured yet. Heads that other kernels hold are theirs, unless a caller names this one.
  if (key.head_dim <= 256 && key.head_dim_v <= 256) cost.total_us *= 8;
  cost.merge_us = grid_split::merge_us(key, parts, s.head_dim_v, device);
  cost.total_us += cost.merge_us;
  return cost;
}

struct SplitCost {
  GridSplit split;
  Cost cost;
};
// Into as many parts as cost least, of those that give every multiprocessor a block, or so many blocks.
constexpr SplitCost cheapest_split(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const auto of_parts = [&](int64_t parts) {
    const GridSplit split = grid_split::shares(key, parts, piece_keys);
    return SplitCost{split, cost(s, key, device, split.parts)};
  };
  // A window's keys are few, and parts are counted from the first key of all.
  if (s.window != window_none) return of_parts(1);
  if (grid_split::is_given(key)) {
    // Of many queries the parts would take much memory, and blocks are enough.
    constexpr int64_t invariant_keys = 256, all_keys = int64_t{1} << 40;
    const GridSplit split = grid_split::given(key, piece_keys, key.seqlen_q <= few_queries ? invariant_keys : all_keys);
    return {split, cost(s, key, device, split.parts)};
  }
  if (key.multiprocessor_limit != 0) return of_parts(grid_split::parts_within(key, thread_blocks(s, key)));
  if (device.key_parts > 0) return of_parts(device.key_parts);
  SplitCost best = of_parts(1);
  const int64_t blocks = larger(1, thread_blocks(s, key));
  for (int32_t of_each = 1; of_each <= 4; ++of_each)
    if (const SplitCost other = of_parts(int64_t{of_each} * device.multiprocessors / blocks);
        other.cost.total_us < best.cost.total_us)
      best = other;
  // Sequences of a ragged batch may be of any length, and one long one must not be a single block's. Blocks of parts that a sequence does
  // not have end at once.
  constexpr int64_t most_keys_of_part = 8192;
  if (s.rows != rows_dense && decode::row_tiles(s.tile_q, key) == 1 && best.split.keys_per_part > most_keys_of_part)
    best = of_parts(ceil_div(key.seqlen_kv, most_keys_of_part));
  return best;
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const auto [split, cost] = cheapest_split(s, key, device);
  Plan plan = single_launch(thread_blocks(s, key), s.warps * 32, dynamic_shared_bytes(s), cost);
  plan.stages[0].grid.y = split.parts;
  return grid_split::with_merge(plan, split, key, s.head_dim_v, device, s.rows == rows_dense ? 0 : sizeof(Params));
}

#ifndef __CUDACC_RTC__
inline void pack(const Specialization &s, const ProblemKey &key, const AttentionCall &call, const DeviceLimits &device,
                 void *parameters) {
  Params &params = *static_cast<Params *>(parameters);
  static_cast<AttentionFwdParams &>(params) = attention_fwd::params_of(key, call, device);
  params.split = cheapest_split(choices_of<Choices>(s), key, device).split;
  params.split.workspace = call.workspace;
}
#endif

}  // namespace flashcore::kernels::wide
