// SPDX-License-Identifier: Apache-2.0
//
// What sm90_fwd_wgmma can do and what that costs: its tiles, its shared memory, its plan and its parameters.
#pragma once

#include "attention_fwd/choices.h"
#include "attention_fwd/grid_split.h"
#include "attention_fwd/pack.h"
#include "attention_fwd/tile_order.h"
#include "contract/cost.h"
#include "contract/passport.h"
#include "contract/tensor_map.h"

namespace flashcore::kernels::sm90_fwd_wgmma {

struct Tile {
  int32_t head_dim, head_dim_v, tile_q, tile_kv, split, packed;
};
// A head dimension is served by the next tile that holds it.
inline constexpr Tile tiles[] = {
    {64, 64, 192, 128, 0},     {64, 64, 128, 128, 0},  {96, 96, 128, 128, 0},    {128, 128, 128, 128, 0},
    {192, 128, 128, 112, 0},   {192, 192, 128, 96, 0}, {256, 256, 128, 80, 0},   {64, 64, 128, 128, 1},
    {128, 128, 128, 128, 1},   {256, 256, 128, 80, 1}, {64, 64, 128, 128, 0, 1}, {128, 128, 128, 128, 0, 1},
    {256, 256, 128, 80, 0, 1},
};
inline constexpr int32_t largest_head_dim = 256, stages = 2, panel_columns = tensor_map_columns;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, window, scores, rows, calls, tile_q, tile_kv, split, packed;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim({64, largest_head_dim}),
    attention_fwd::head_dim_v({64, largest_head_dim}),
    attention_fwd::causal,
    attention_fwd::window,
    attention_fwd::scores,
    attention_fwd::rows,
    attention_fwd::calls,
    attention_fwd::tile_q({128, 192}, Tries(128, 192)),
    attention_fwd::tile_kv({64, 192}, Tries(64, 80, 96, 112, 128, 160, 176, 192)),
    attention_fwd::split,
    attention_fwd::packed,
};
#endif

// Every tile for both types, with and without the causal mask.
constexpr bool specialization(int32_t index, Choices *out) {
  for (const Tile &tile : tiles)
    for (int32_t variant = 0; variant < 4; ++variant) {
      if (index-- != 0) continue;
      *out = {variant % 2 != 0 ? dtype_bfloat16 : dtype_float16,
              tile.head_dim,
              tile.head_dim_v,
              variant / 2,
              window_none,
              0,
              rows_dense,
              0,
              tile.tile_q,
              tile.tile_kv,
              tile.split,
              tile.packed};
      return true;
    }
  return false;
}

constexpr int32_t panels(int32_t columns) { return (columns + panel_columns - 1) / panel_columns; }
constexpr int32_t tile_bytes(int32_t rows, int32_t columns) { return rows * panels(columns) * panel_columns * 2; }
constexpr int32_t warpgroups(const Choices &s) { return s.tile_q / 64; }  // that multiply
constexpr int32_t threads(const Choices &s) { return 128 * (warpgroups(s) + 1); }

// Q, the stages of K and V, and barriers. Where there is room the next tile's Q is copied while this one's is in use.
constexpr int64_t bytes_with_query_stages(const Choices &s, int32_t query_stages) {
  return query_stages * int64_t{tile_bytes(s.tile_q, s.head_dim)} +
         stages * (int64_t{tile_bytes(s.tile_kv, s.head_dim)} + tile_bytes(s.tile_kv, s.head_dim_v)) +
         (2 * query_stages + 4 * stages) * 8;
}
constexpr int32_t query_stages(const Choices &s) {
  return s.split == 0 && s.packed == 0 && bytes_with_query_stages(s, 2) <= 227 << 10 ? 2 : 1;
}
// With the last P.V of a tile the first Q.K of the next one is issued, which runs while O is written: at S=512 +8 %. With one stage of Q, or
// with 160 registers, it costs 5 to 9 %.
constexpr bool tiles_overlap(const Choices &s) { return query_stages(s) == 2 && warpgroups(s) == 2; }
// Of the tiles of keys that a tile of queries sees, those that this block multiplies; no query sees a key where there are none.
struct KeyTiles {
  int32_t begin, count;
};

struct Params {
  TensorMap query, key, value;
  AttentionFwdParams attention;
  TileOrder order;  // of tiles of one head each
  GridSplit split;  // of packed rows
  // Of a ragged batch: its tiles, as places of a grid, and in the copy that a block has of these parameters the one at hand
  // (parts/ragged_rounds.cuh).
  int32_t units, box_rows;
  Sequence sequence;
  BlockWork work;
};
// Two copies of the parameters, and four barriers.
constexpr int64_t bytes_before_rounds(const Choices &s) { return bytes_with_query_stages(s, query_stages(s)); }
constexpr int64_t dynamic_shared_bytes(const Choices &s) {
  return bytes_before_rounds(s) + (s.rows == rows_dense ? 0 : 2 * sizeof(Params) + 32);
}

constexpr bool is_shape_of_wgmma(int32_t columns) {
  constexpr int32_t shapes[] = {64, 80, 96, 112, 128, 160, 176, 192, 256};
  for (const int32_t shape : shapes)
    if (columns == shape) return true;
  return false;
}
constexpr Refusal allows(const Choices &s) {
  if (s.window == window_in_chunks && s.causal == 0) return attention_fwd::chunk_without_end;
  if (s.packed != 0 && s.window != window_none) return {"packed", "0 where the first key moves"};
  if (s.rows != rows_dense && (s.packed != 0 || s.split != 0)) return {"rows", "dense where keys are split"};
  if (s.head_dim % 32 != 0) return {"head_dim", "64 to 256, by 32"};
  if (s.head_dim_v % 32 != 0 || !is_shape_of_wgmma(s.head_dim_v)) return {"head_dim_v", "64, 96, 128, 160, 192 or 256"};
  if (s.tile_q % 64 != 0) return {"tile_q", "128 or 192"};
  if (!is_shape_of_wgmma(s.tile_kv)) return {"tile_kv", "64, 80, 96, 112, 128, 160, 176 or 192"};
  if (s.packed != 0 && (s.split != 0 || s.tile_q != 128)) return {"packed", "0 with a split, and but for 128 rows"};
  if (s.tile_q == 192 && ((s.scores & (scores_bias | scores_mask)) != 0 || s.rows == rows_paged))
    return {"tile_q", "128 with a bias, a mask or pages, which take registers"};
  // O, the scores and the probabilities, and what all else takes at least.
  const int32_t registers = s.head_dim_v / 2 + s.tile_kv * 3 / 4 + 32;
  if (registers > (warpgroups(s) == 3 ? 160 : 240)) return {"tile_kv", "fewer keys, for O and scores in registers"};
  if (dynamic_shared_bytes(s) > 227 << 10) return {"tile_kv", "fewer keys, for two stages in 227 KiB"};
  return no_refusal;
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim % 8 != 0 || key.head_dim > largest_head_dim) return {"head_dim", "a multiple of 8 up to 256"};
  if (key.head_dim_v % 8 != 0 || key.head_dim_v > largest_head_dim) return {"head_dim_v", "a multiple of 8 up to 256"};
  if (key.seqlen_kv == 0) return {"seqlen_kv", "1 or more"};
  if (key.seqlen_q > 0x7fffffff - 256) return {"seqlen_q", "below 2^31 - 256"};  // tiles end past the last row
  if (key.page_size % 8 != 0)
    return {"page_size", "a multiple of 8"};  // a box begins where the permutation of rows does
  if (key.rows == rows_paged && key.ragged_by == by_leftpad_kv) return {"leftpad_kv", "absent where keys are in pages"};
  if (asks_for_pieces(key)) {  // packed tiles have them
    const bool wide = key.head_dim > 128 || key.head_dim_v > 128;
    if (key.window() != window_none)
      return {field_of_pieces(key), "0 where the first key that a query sees moves: its keys are few"};
    if (key.rows != rows_dense) return {field_of_pieces(key), "0 where rows are ragged or paged"};
    if (key.heads_q / key.heads_kv > 128) return {field_of_pieces(key), "0 with more than 128 heads to a key head"};
    if (grid_split::rows(key) > 0x7fffffff) return {field_of_pieces(key), "0 for 2^31 rows and more"};
    if (key.split_tokens % (wide ? 80 : 128) != 0)
      return {"split_tokens", wide ? "a multiple of 80" : "a multiple of 128"};
  }
  if (key.alignment_bytes < 16) return {"strides", "addresses and strides of rows that are multiples of 16 bytes"};
  if (attention_fwd::query_tiles(key, 64) > 0x7fffffff / key.heads_q)
    return {"batch", "batch * heads_q * seqlen_q / 64 below 2^31"};
  return no_refusal;
}

// A tile has so many queries, of one head or of all that share a key head.
constexpr int32_t heads_of_tile(const Choices &s, const ProblemKey &key) {
  return s.packed != 0 ? key.heads_q / key.heads_kv : 1;
}
constexpr int32_t queries_of_tile(const Choices &s, const ProblemKey &key) { return s.tile_q / heads_of_tile(s, key); }
constexpr int64_t query_tiles(const Choices &s, const ProblemKey &key) {
  return attention_fwd::query_tiles(key, queries_of_tile(s, key)) * (key.heads_q / heads_of_tile(s, key));
}
inline constexpr int32_t least_cluster = 2, most_cluster = 8;  // blocks that share the keys of a tile of queries

// Pieces are parts of packed tiles, of whole tiles of keys. What costs least says how many blocks share a cluster, and with it the bits.
constexpr bool cuts_as_asked(const Choices &s, const ProblemKey &key) {
  if (s.split != 0 && key.batch_invariant != 0) return false;
  return !asks_for_pieces(key) ||
         (s.packed != 0 && key.split_tokens % s.tile_kv == 0 && grid_split::rows(key) <= 0x7fffffff);
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && key.head_dim <= s.head_dim && key.head_dim_v <= s.head_dim_v &&
         attention_fwd::serves_features(s, key) && s.rows == key.rows && heads_of_tile(s, key) <= s.tile_q &&
         (s.split == 0 || query_tiles(s, key) <= 0x7fffffff / most_cluster) && cuts_as_asked(s, key);
}

// How tiles are put in order (TileOrder).
struct TileGroup {
  int64_t heads;
  bool in_pairs;
};
// By length, which is even, in groups of two to four tiles for each block (one is no use: lengths would fall and rise in step with the blocks'
// own back and forth), where L2 holds what a group reads and writes; if it holds three at most, a head's tiles must be so many that several
// blocks read the same keys at once (D=128: +2 to +4 % from 16 tiles on, -2 to -5 % below), and if it holds none, very many (D=256: +3 % with 128,
// -2 to 0 % with 32 and 64). Pairs otherwise.
constexpr TileGroup group_of_tiles(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  constexpr int64_t most_rounds = 4, least_rounds = 2, many_tiles = 16, very_many_tiles = 128;
  const int64_t heads = larger(1, key.batch * key.heads_q), tiles = larger(1, ceil_div(key.seqlen_q, s.tile_q));
  const int64_t columns_bytes = (key.head_dim + key.head_dim_v) * element_bytes(key.dtype);
  const int64_t bytes_of_head = columns_bytes * (key.seqlen_q + key.seqlen_kv * key.heads_kv / key.heads_q);
  const int64_t heads_in_l2 = device.l2_cache_bytes * 3 / 4 / larger(1, bytes_of_head);
  const auto heads_of = [&](int64_t rounds) { return ceil_div(rounds * device.multiprocessors, tiles); };
  const int64_t least = tiles >= many_tiles ? heads_of(least_rounds) : heads_of(most_rounds);
  const int64_t wanted = heads_in_l2 >= least              ? smaller(heads_in_l2, heads_of(most_rounds))
                         : heads <= heads_of(least_rounds) ? heads
                         : tiles >= very_many_tiles        ? heads_of(most_rounds)
                                                           : 0;
  if (wanted == 0) return {2, true};
  const int64_t sharing = key.heads_q / key.heads_kv, groups = ceil_div(heads, wanted);
  const bool too_small = groups > 1 && ceil_div(heads, groups) < heads_of(least_rounds);
  return {ceil_div(ceil_div(heads, too_small ? groups - 1 : groups), sharing) * sharing, false};
}

// Of dense rows.
constexpr TileOrder tile_order(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const TileGroup group = group_of_tiles(s, key, device);
  return TileOrder::of(key.batch, key.heads_q, key.heads_q / key.heads_kv, ceil_div(key.seqlen_q, s.tile_q),
                       group.heads, group.in_pairs);
}

// Fitted on the H200: of the 76 rows with as many queries as keys that this kernel has in benchmarks/results/compare-h200-*.json
// measured times are 0.87 to 1.13 of it, with a standard deviation of 5 %. A step takes the longer of products and exponentials, a
// share of the other, and what neither hides.
struct StepCost {
  double products, exponentials, total;  // clocks
};
constexpr StepCost step_cost(const Choices &s, const Rates &rates) {
  constexpr double wgmma_flop = 4096, share_of_other = 0.37, clocks_of_step = 290;
  const double products = 2.0 * s.tile_q * s.tile_kv * (s.head_dim + s.head_dim_v) / wgmma_flop;
  const double exponentials = s.tile_q * s.tile_kv / rates.exponentials;
  // Two multiplying warpgroups at D=64 hide less of a causal step than others do: from 4096 keys on 700 and 1325 us were measured where the
  // model without this said 581 and 1075.
  const double exposed = s.causal != 0 && s.head_dim <= 64 && s.tile_q == 128 ? 1.18 : 1;
  return {products, exponentials,
          exposed * (larger_of(products, exponentials) +
                     share_of_other * (products < exponentials ? products : exponentials) + clocks_of_step)};
}
// Where keys are in pages the copies' boxes may be what bounds a step: measured with 16 rows in a box, where a step took 2.1 to 2.5 times a dense one's.
constexpr double clocks_of_step(const Choices &s, const ProblemKey &key, const StepCost &step) {
  constexpr double clocks_of_box = 190;
  if (s.rows != rows_paged) return step.total;
  const int32_t boxes = s.tile_kv / rows_of_box(key.page_size, s.tile_kv) * (panels(s.head_dim) + panels(s.head_dim_v));
  return larger_of(step.total, boxes * clocks_of_box);
}
inline constexpr double start_us = 3.1;
// Where memory bounds it, it reaches this share of the rate that the decode kernels do.
constexpr Cost with_memory_here(Cost cost, const ProblemKey &key, const DeviceLimits &device) {
  constexpr double memory_share = 0.92;
  cost.total_us = larger_of(cost.total_us, cost.launch_us + memory_us(key, device) / memory_share);
  return cost;
}

constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const Rates rates = rates_of(device.arch);
  const KeySteps steps = visibility_of(key).steps_of(s.tile_q, s.tile_kv);
  const StepCost step = step_cost(s, rates);
  const double step_clocks = clocks_of_step(s, key, step);
  const double clocks_of_tile = tiles_overlap(s) ? 3750 : 6800;
  const int64_t tiles = larger(1, query_tiles(s, key)), blocks = smaller(tiles, device.multiprocessors);
  // Of tiles that are dealt out by their lengths the last ones are short. Pairs are all of a length.
  const double share = static_cast<double>(tiles) / static_cast<double>(blocks);
  const double rounds = static_cast<double>(ceil_div(tiles, blocks)),
               pairs = static_cast<double>(ceil_div(ceil_div(tiles, 2), blocks));
  const double tiles_of_block = steps.longest == steps.mean               ? rounds
                                : s.rows != rows_dense                    ? (rounds + share) / 2
                                : group_of_tiles(s, key, device).in_pairs ? smaller(2 * pairs, rounds)
                                                                          : (rounds + share) / 2;
  Cost cost{};
  cost.launch_us = start_us;
  cost.blocks_per_multiprocessor = 1;
  cost.waves = static_cast<double>(blocks) / device.multiprocessors;
  cost.tensor_us = tiles_of_block * steps.mean * step.products / rates.clock_mhz;
  cost.mufu_us = tiles_of_block * steps.mean * step.exponentials / rates.clock_mhz;
  cost.throughput_us = tiles_of_block * (steps.mean * step_clocks + clocks_of_tile) / rates.clock_mhz;
  cost.latency_us = (steps.longest * step_clocks + clocks_of_tile) / rates.clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  return with_memory_here(cost, key, device);
}

// Clusters of so many blocks, of which each takes a multiprocessor, that run at once. A cluster lies in one part of the GPU, of 16 or 18
// multiprocessors, some with fewer left; which parts a GPU has differs from one to the next, so these are what all have at least.
constexpr int64_t clusters_at_once(int32_t cluster, const DeviceLimits &device) {
  constexpr int32_t of_132[] = {132, 132, 66, 42, 28, 22, 18, 14, 14};
  return int64_t{of_132[cluster]} * device.multiprocessors / 132;
}
constexpr Cost split_cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device, int32_t cluster) {
  const double clocks_of_tile = 3600 + 35 * s.head_dim_v + 400 * (cluster - 2);  // the merge is in it
  const Rates rates = rates_of(device.arch);
  const KeySteps steps = visibility_of(key).steps_of(s.tile_q, s.tile_kv);
  const StepCost step = step_cost(s, rates);
  const int64_t clusters = query_tiles(s, key), at_once = clusters_at_once(cluster, device);
  const double waves = static_cast<double>(ceil_div(clusters, at_once > 0 ? at_once : 1));
  // Shares are whole tiles; the last wave may be that of the longest, since a grid begins with the first queries.
  const auto longest = static_cast<double>(ceil_div(static_cast<int64_t>(steps.longest + 0.5), cluster));
  const double mean = steps.mean / cluster + 0.5;
  const double shares = (waves - 1) * (mean < longest ? mean : longest) + longest;
  Cost cost{};
  cost.launch_us = start_us;
  cost.blocks_per_multiprocessor = 1;
  cost.waves = static_cast<double>(clusters * cluster) / device.multiprocessors;
  cost.tensor_us = shares * step.products / rates.clock_mhz;
  cost.mufu_us = shares * step.exponentials / rates.clock_mhz;
  cost.throughput_us = (shares * step.total + waves * clocks_of_tile) / rates.clock_mhz;
  cost.latency_us = (longest * step.total + clocks_of_tile) / rates.clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  return with_memory_here(cost, key, device);
}

struct PackedCost {
  GridSplit split;
  Cost cost;
};
// Blocks that stay take parts of packed tiles in turns.
constexpr PackedCost packed_cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device,
                                 const GridSplit &split) {
  // Of whole tiles, which do not overlap and, causal, may be of one length for one block, as much as those of a block that stays.
  const double clocks_of_part = split.parts == 1 ? 7000 : 5000;
  const Rates rates = rates_of(device.arch);
  const KeySteps steps = visibility_of(key).steps_of(queries_of_tile(s, key), s.tile_kv);
  const StepCost step = step_cost(s, rates);
  // All blocks read, and not each other's keys alone.
  const double step_clocks = larger_of(step.total, s.tile_kv * 2.0 * (key.head_dim + key.head_dim_v) / rates.l2_bytes);
  const int64_t parts = query_tiles(s, key) * split.parts, blocks = smaller(parts, device.multiprocessors);
  const double longest = split.parts == 1 ? steps.longest : static_cast<double>(split.keys_per_part / s.tile_kv);
  // Parts are whole tiles of keys, and the last turn may be that of the longest. Causal tiles of one length follow each other in a block.
  const double mean = split.parts > 1 ? steps.mean / split.parts + 0.5
                      : s.causal != 0 ? (steps.mean + steps.longest) / 2
                                      : steps.mean;
  const double turns = static_cast<double>(ceil_div(parts, device.multiprocessors));
  const double all_steps = larger_of(turns - 1, 0) * (mean < longest ? mean : longest) + longest;
  Cost cost{};
  cost.launch_us = start_us;
  cost.blocks_per_multiprocessor = 1;
  cost.waves = static_cast<double>(blocks) / device.multiprocessors;
  cost.tensor_us = all_steps * step.products / rates.clock_mhz;
  cost.mufu_us = all_steps * step.exponentials / rates.clock_mhz;
  cost.throughput_us = (all_steps * step_clocks + turns * clocks_of_part) / rates.clock_mhz;
  cost.latency_us = (longest * step_clocks + clocks_of_part) / rates.clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  cost = with_memory_here(cost, key, device);
  cost.merge_us = grid_split::merge_us(key, split.parts, s.head_dim_v, device);
  cost.total_us += cost.merge_us;
  return {split, cost};
}
// Into as many parts as cost least, of those that give every multiprocessor one, or so many.
constexpr PackedCost cheapest_split(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const auto of_parts = [&](int64_t parts) {
    return packed_cost(s, key, device, grid_split::shares(key, parts, s.tile_kv));
  };
  // Of batch-invariant calls: few enough parts for the memory that they take, of as many rows.
  constexpr int64_t invariant_keys = 2048;
  if (grid_split::is_given(key))
    return packed_cost(s, key, device,
                       grid_split::given(key, s.tile_kv, ceil_div(invariant_keys, s.tile_kv) * s.tile_kv));
  if (key.multiprocessor_limit != 0 && grid_split::rows(key) > key.multiprocessor_limit) return of_parts(1);
  if (device.key_parts > 0) return of_parts(device.key_parts);
  const int64_t tiles = larger(1, query_tiles(s, key));
  PackedCost best = of_parts(1);
  for (int32_t turns = 1; turns <= 4; ++turns)
    if (const PackedCost other = of_parts(int64_t{turns} * device.multiprocessors / tiles);
        other.cost.total_us < best.cost.total_us)
      best = other;
  return best;
}

// Where keys are split, by the number of blocks that costs least.
constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  if (s.packed != 0) {
    const auto [split, cost] = cheapest_split(s, key, device);
    const int64_t blocks = smaller(query_tiles(s, key) * split.parts, device.multiprocessors);
    return grid_split::with_merge(single_launch(blocks, threads(s), dynamic_shared_bytes(s), cost), split, key,
                                  s.head_dim_v, device);
  }
  if (s.split == 0)
    return single_launch(smaller(query_tiles(s, key), device.multiprocessors), threads(s), dynamic_shared_bytes(s),
                         cost(s, key, device));
  int32_t cluster = least_cluster;
  Cost least = split_cost(s, key, device, cluster);
  for (int32_t blocks = least_cluster + 1; blocks <= most_cluster; ++blocks)
    if (const Cost other = split_cost(s, key, device, blocks); other.total_us < least.total_us)
      least = other, cluster = blocks;
  Plan plan = single_launch(query_tiles(s, key) * cluster, threads(s), dynamic_shared_bytes(s), least);
  plan.stages[0].cluster = cluster;
  return plan;
}

#ifndef __CUDACC_RTC__
inline void pack(const Specialization &specialization, const ProblemKey &key, const AttentionCall &call,
                 const DeviceLimits &device, void *parameters) {
  const auto s = choices_of<Choices>(specialization);
  unsigned char *const bytes = static_cast<unsigned char *>(parameters);
  AttentionFwdParams &attention =
      *reinterpret_cast<AttentionFwdParams *>(bytes + __builtin_offsetof(Params, attention));
  attention = attention_fwd::params_of(key, call, device);
  if (s.rows == rows_dense)
    *reinterpret_cast<TileOrder *>(bytes + __builtin_offsetof(Params, order)) = tile_order(s, key, device);
  GridSplit &split = *reinterpret_cast<GridSplit *>(bytes + __builtin_offsetof(Params, split));
  split = s.packed != 0 ? cheapest_split(s, key, device).split : GridSplit{};
  split.workspace = call.workspace;
  *reinterpret_cast<int32_t *>(bytes + __builtin_offsetof(Params, units)) =
      s.rows == rows_dense ? 0 : static_cast<int32_t>(query_tiles(s, key));
  *reinterpret_cast<int32_t *>(bytes + __builtin_offsetof(Params, box_rows)) = rows_of_box(key.page_size, s.tile_kv);
}
inline constexpr auto patches = attention_fwd::with_workspace(
    attention_fwd::patches_at<__builtin_offsetof(Params, attention)>, __builtin_offsetof(Params, split.workspace));
constexpr int32_t tensor_maps(const Choices &s, TensorMapRule *rules) {
  rules[0] = {operand_query, __builtin_offsetof(Params, query), s.tile_q, s.packed != 0};
  const bool in_pages = s.rows == rows_paged;
  rules[1] = {operand_key, __builtin_offsetof(Params, key), s.tile_kv, false, in_pages};
  rules[2] = {operand_value, __builtin_offsetof(Params, value), s.tile_kv, false, in_pages};
  return 3;
}
#endif

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm90_fwd_wgmma",
    .summary = "Hopper: wgmma and tensor copies, warpgroups that copy and warpgroups that multiply",
    .minimum_arch = 90,
    .maximum_arch = 90,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = on_choices<allows>,
    .refuse = refuse,
    .serves = on_choices<serves>,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = sizeof(Params),
    .pack = pack,
    .patches = patches.list,
    .tensor_maps = on_choices<tensor_maps>,
    .further_entry_points = {"sm90_fwd_wgmma_merge"},
    .takes_variants = true,
};
#endif

}  // namespace flashcore::kernels::sm90_fwd_wgmma
