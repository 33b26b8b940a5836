// SPDX-License-Identifier: Apache-2.0
//
// What the passports of the decode kernels have in common (parts/decode.cuh).
#pragma once

#include "attention_fwd/choices.h"
#include "attention_fwd/grid_split.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"

namespace flashcore::kernels::decode {

inline constexpr int32_t largest_head_dim = 256, tile_q = 8;

struct Tile {
  int32_t head_dim, tile_kv, warps, cluster;
};

// There is none for where the mask ends: one module serves every causal mask, and none.
struct Choices {
  int32_t dtype, head_dim, head_dim_v, window, scores, rows, calls, tile_q, tile_kv, warps, cluster;
};
#ifndef __CUDACC_RTC__
struct ChoiceList {
  Choice list[11];
};
constexpr ChoiceList choices_with(const Choice &cluster) {
  return {{
      attention_fwd::dtype,
      attention_fwd::head_dim({32, largest_head_dim}),
      attention_fwd::head_dim_v({32, largest_head_dim}),
      attention_fwd::window,
      attention_fwd::scores,
      attention_fwd::rows,
      attention_fwd::calls,
      attention_fwd::tile_q({8, 16}, Tries(8, 16)),
      attention_fwd::tile_kv({16, 32}, Tries(16, 32)),
      attention_fwd::warps({2, 16}, Tries(2, 4, 8, 16)),
      cluster,
  }};
}
#endif

// Thread blocks that are meant to share a multiprocessor's registers: sixteen warps, or eight where the heads are widest.
constexpr int32_t resident_blocks(const Choices &s) {
  const int32_t warps = s.head_dim + s.head_dim_v <= 256 ? 16 : 8;
  return warps > s.warps ? warps / s.warps : 1;
}

// Both types for each tile.
template <int32_t count>
constexpr bool specialization(const Tile (&tiles)[count], int32_t index, Choices *out) {
  if (index < 0 || index >= 2 * count) return false;
  const Tile &tile = tiles[index / 2];
  *out = {(index & 1) != 0 ? dtype_bfloat16 : dtype_float16,
          tile.head_dim,
          tile.head_dim,
          window_none,
          0,
          rows_dense,
          0,
          tile_q,
          tile.tile_kv,
          tile.warps,
          tile.cluster};
  return true;
}

constexpr Refusal allows(const Choices &s) {
  if (s.head_dim % 32 != 0) return {"head_dim", "32 to 256, by 32"};
  if (s.head_dim_v % 32 != 0) return {"head_dim_v", "32 to 256, by 32"};
  if (s.tile_q != 8 && s.tile_q != 16) return {"tile_q", "8 or 16"};
  if (s.tile_kv != 16 && s.tile_kv != 32) return {"tile_kv", "16 or 32"};
  const bool wide = s.head_dim + s.head_dim_v > 256;
  if (s.warps != 2 && s.warps != 4 && s.warps != 8 && (s.warps != 16 || wide || s.tile_q != 8))
    return {"warps", "2, 4 or 8; 16 for tiles of 8 rows and up to 256 columns of key and value together"};
  if ((s.cluster & (s.cluster - 1)) != 0) return {"cluster", "1, 2, 4 or 8"};
  return no_refusal;
}

// All query rows that share a key head, in tiles.
constexpr int64_t row_tiles(int32_t tile_q, const ProblemKey &key) {
  return ceil_div(key.seqlen_q * (key.heads_q / key.heads_kv), tile_q);
}

// What a thread block computes: rows first_row .. of the query rows that share a key head, row r being query r / heads_per_kv of head
// r % heads_per_kv among those heads. Their positions rise with the rows.
struct BlockRows {
  int32_t batch, head_kv, first_row, row_count;
  int32_t rank;  // in the cluster
};
template <int32_t tile_q, int32_t cluster, int32_t rows_found = rows_dense>
constexpr BlockRows block_rows(const AttentionFwdParams &params, uint32_t block) {
  const uint32_t rows = static_cast<uint32_t>(params.seqlen_q) * static_cast<uint32_t>(params.heads_per_kv);
  const uint32_t most_rows =
      static_cast<uint32_t>(most_queries<rows_found>(params)) * static_cast<uint32_t>(params.heads_per_kv);
  const uint32_t tiles = (most_rows + tile_q - 1) / tile_q,
                 heads = static_cast<uint32_t>(params.heads_q / params.heads_per_kv);
  const uint32_t index = block / cluster, head = index / tiles;
  return {static_cast<int32_t>(head / heads), static_cast<int32_t>(head % heads),
          static_cast<int32_t>(index % tiles * tile_q), static_cast<int32_t>(rows),
          static_cast<int32_t>(block % cluster)};
}

constexpr int64_t thread_blocks(const Choices &s, const ProblemKey &key) {
  return row_tiles(s.tile_q, key) * key.heads_kv * key.batch * s.cluster;
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim % 8 != 0 || key.head_dim > largest_head_dim) return {"head_dim", "a multiple of 8 up to 256"};
  if (key.head_dim_v % 8 != 0 || key.head_dim_v > largest_head_dim) return {"head_dim_v", "a multiple of 8 up to 256"};
  if (key.window() != window_none && asks_for_pieces(key))
    return {field_of_pieces(key), "0 where the first key that a query sees moves: its keys are few"};
  if (key.batch_invariant != 0 && end_of_keys(key) > most_pieces * int64_t{128})
    return {"seqlen_kv", "up to 8388480 where results may not depend on the batch"};
  if (key.alignment_bytes < 16) return {"query", "16-byte aligned, in address and strides, as key, value and output"};
  // Packed rows are counted in 32 bits, and so are the blocks of the largest cluster.
  if (key.seqlen_q * (key.heads_q / key.heads_kv) > 0x7ffffff0)
    return {"seqlen_q", "seqlen_q * heads_q / heads_kv below 2^31 - 16"};
  if (row_tiles(tile_q, key) > 0x7fffffff / 8 / (static_cast<int64_t>(key.heads_kv) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && key.head_dim <= s.head_dim && key.head_dim_v <= s.head_dim_v &&
         s.window == key.window() && s.scores == key.scores && s.rows == key.rows &&
         s.calls == (key.calls() & calls_float32_output);
}

struct Params : AttentionFwdParams {
  GridSplit split;
};

// A partial output with its references and sums for each warp, and the block's where blocks merge; Q; and the parameters of a ragged batch's
// sequence.
constexpr int64_t bytes_before_sequence(const Choices &s) {
  const int32_t partials = s.warps + (s.cluster > 1 ? 1 : 0);
  return int64_t{partials} * s.tile_q * (s.head_dim_v + 4 + 2) * 4 + s.tile_q * ((s.head_dim + 31) / 32) * 64;
}
constexpr int64_t dynamic_shared_bytes(const Choices &s) {
  return bytes_before_sequence(s) + (s.rows == rows_dense ? 0 : sizeof(Params));
}

// Fitted on the H200: what a block takes beside its keys, alone and with a second one on its multiprocessor; what the merge of a cluster
// adds; how fast a block alone can read; and the share of the L2 cache's rate that loads into registers reach.
constexpr double block_us(const Choices &s) {
  const double alone = (s.warps > 8 ? 2.3 : 1.3) + (s.head_dim + s.head_dim_v > 256 ? 0.7 : 0.0);
  double merge = s.cluster > 1 ? 0.6 : 0.0;
  for (int32_t size = 1; size < s.cluster; size *= 2) merge += 0.3;
  return alone + merge;
}
inline constexpr double second_block = 0.4, l2_share = 0.82;
constexpr double block_bytes_per_clock(const Choices &s, const ProblemKey &key) {
  const double of_rows = s.rows == rows_paged ? 0.7 : 1;  // pages are looked up in between
  return of_rows * (s.warps > 8 ? 34 : key.head_dim + key.head_dim_v <= 128 ? 20 : 28);
}
// Clusters of four and more find no place for some blocks in their part of the GPU.
constexpr double placed_share(int32_t cluster) { return cluster >= 4 ? 0.85 : 1.0; }

constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device, int32_t parts = 1) {
  const Rates rates = rates_of(device.arch);
  const double clocks_of_us = rates.clock_mhz;
  const double tiles = larger_of(1, static_cast<double>(row_tiles(s.tile_q, key)));  // an empty problem has none
  // The heads of a query are rows of one tile, so that it reads the keys of few queries.
  const auto queries_of_tile = static_cast<int32_t>(ceil_div(s.tile_q, key.heads_q / key.heads_kv));
  const double keys = visibility_of(key).steps_of(queries_of_tile, 1).mean;
  const double bytes_of_block = 2.0 * keys * (key.head_dim + key.head_dim_v) / s.cluster / parts;
  const int32_t resident = resident_blocks(s);
  const double slots = static_cast<double>(resident) * device.multiprocessors * placed_share(s.cluster),
               blocks = static_cast<double>(thread_blocks(s, key)) * parts;
  // The tiles of one key head's rows find its keys in the L2 cache, all but the first.
  const double l2_us = bytes_of_block / device.multiprocessors / (rates.l2_bytes * l2_share) / clocks_of_us;
  const double us_of_block =
      larger_of(l2_us, bytes_of_block / tiles / device.multiprocessors / rates.memory_bytes / clocks_of_us);
  const double alone_us = bytes_of_block / block_bytes_per_clock(s, key) / clocks_of_us;
  const auto wave_us = [&](double in_wave) {
    const double per_multiprocessor = in_wave / device.multiprocessors;
    return larger_of(in_wave * us_of_block, alone_us) +
           block_us(s) * (per_multiprocessor > 1 ? 1 + second_block * (per_multiprocessor - 1) : 1);
  };
  const auto whole_waves = static_cast<double>(static_cast<int64_t>(blocks / slots));
  const double rest = blocks - whole_waves * slots;
  Cost cost{};
  cost.launch_us = launch_us;
  cost.blocks_per_multiprocessor = resident;
  cost.waves = blocks / slots;
  cost.l2_us = blocks * l2_us;
  cost.throughput_us = blocks * us_of_block;
  cost.latency_us = whole_waves * wave_us(slots) + (rest > 0.5 ? wave_us(rest) : 0.0);
  cost.merge_us = grid_split::merge_us(key, parts, s.head_dim_v, device);
  cost.total_us = cost.launch_us + cost.latency_us + cost.merge_us;
  return cost;
}

// Of batch-invariant calls: so many bytes of keys and values that few blocks keep a whole device busy, and many spend little on beginnings.
constexpr int64_t invariant_keys_of_part(const Choices &s) {
  return s.head_dim + s.head_dim_v <= 128 ? 512 : s.head_dim + s.head_dim_v <= 256 ? 256 : 128;
}

struct SplitCost {
  GridSplit split;
  Cost cost;
};
// Into as many parts as cost least, of those that give every multiprocessor a block, or so many blocks. Parts of whole steps of all warps.
constexpr SplitCost cheapest_split(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const int64_t step_keys = int64_t{s.tile_kv} * s.warps * s.cluster;
  // A window's keys are few, and parts are counted from the first key of all.
  if (s.window != window_none) return {grid_split::whole, cost(s, key, device)};
  if (grid_split::is_given(key)) {
    const GridSplit split = grid_split::given(key, step_keys, invariant_keys_of_part(s));
    return {split, cost(s, key, device, split.parts)};
  }
  if (key.multiprocessor_limit != 0) {
    const GridSplit split = grid_split::shares(key, grid_split::parts_within(key, thread_blocks(s, key)), step_keys);
    return {split, cost(s, key, device, split.parts)};
  }
  if (device.key_parts > 0) {
    const GridSplit split = grid_split::shares(key, device.key_parts, step_keys);
    return {split, cost(s, key, device, split.parts)};
  }
  SplitCost best = {grid_split::shares(key, 1, step_keys), cost(s, key, device)};
  const double blocks = larger_of(1, static_cast<double>(thread_blocks(s, key)));
  for (int32_t of_each = 1; of_each <= resident_blocks(s); ++of_each) {
    const double parts = static_cast<double>(of_each) * device.multiprocessors * placed_share(s.cluster) / blocks;
    const GridSplit split = grid_split::shares(key, static_cast<int64_t>(parts), step_keys);
    if (split.parts == best.split.parts) continue;
    if (const Cost other = cost(s, key, device, split.parts); other.total_us < best.cost.total_us)
      best = {split, other};
  }
  // Sequences of a ragged batch may be of any length, and one long one must not be a single block's. Blocks of parts that a sequence does
  // not have end at once.
  constexpr int64_t most_keys_of_part = 8192;
  if (s.rows != rows_dense && best.split.keys_per_part > most_keys_of_part) {
    const GridSplit split = grid_split::shares(key, ceil_div(key.seqlen_kv, most_keys_of_part), step_keys);
    best = {split, cost(s, key, device, split.parts)};
  }
  return best;
}

// A cluster's size is in the code of its kernel (__cluster_dims__).
constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const auto [split, cost] = cheapest_split(s, key, device);
  Plan plan = single_launch(thread_blocks(s, key), s.warps * 32, dynamic_shared_bytes(s), cost);
  plan.stages[0].cluster = s.cluster;
  if (s.cluster > 1) plan.stages[0].attributes = cluster_in_code;
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
// The struct of the family comes first.
inline constexpr auto patches = attention_fwd::with_workspace(
    attention_fwd::patches, sizeof(AttentionFwdParams) + __builtin_offsetof(GridSplit, workspace));
#endif

}  // namespace flashcore::kernels::decode
