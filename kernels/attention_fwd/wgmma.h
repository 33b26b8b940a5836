// SPDX-License-Identifier: Apache-2.0
//
// What sm90_fwd_wgmma can do and what that costs: its tiles, its shared memory, its plan and its parameters.
#pragma once

#include "attention_fwd/choices.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"
#include "contract/tensor_map.h"

namespace flashcore::kernels::sm90_fwd_wgmma {

struct Tile {
  int32_t head_dim, head_dim_v, tile_q, tile_kv;
};
// A head dimension is served by the next tile that holds it.
inline constexpr Tile tiles[] = {
    {64, 64, 192, 128},   {64, 64, 128, 128},  {96, 96, 128, 128},  {128, 128, 128, 128},
    {192, 128, 128, 112}, {192, 192, 128, 96}, {256, 256, 128, 80},
};
inline constexpr int32_t largest_head_dim = 256, stages = 2, panel_columns = tensor_map_columns;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, tile_q, tile_kv;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim({64, largest_head_dim}),
    attention_fwd::head_dim_v({64, largest_head_dim}),
    attention_fwd::causal,
    attention_fwd::tile_q({128, 192}, Tries(128, 192)),
    attention_fwd::tile_kv({64, 192}, Tries(64, 80, 96, 112, 128, 160, 176, 192)),
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
              tile.tile_q,
              tile.tile_kv};
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
constexpr int32_t query_stages(const Choices &s) { return bytes_with_query_stages(s, 2) <= 227 << 10 ? 2 : 1; }
// With the last P.V of a tile the first Q.K of the next one is issued, which runs while O is written: at S=512 +8 %. With one stage of Q, or
// with 160 registers, it costs 5 to 9 %.
constexpr bool tiles_overlap(const Choices &s) { return query_stages(s) == 2 && warpgroups(s) == 2; }
constexpr int64_t dynamic_shared_bytes(const Choices &s) { return bytes_with_query_stages(s, query_stages(s)); }

constexpr bool is_shape_of_wgmma(int32_t columns) {
  constexpr int32_t shapes[] = {64, 80, 96, 112, 128, 160, 176, 192, 256};
  for (const int32_t shape : shapes)
    if (columns == shape) return true;
  return false;
}
constexpr Refusal allows(const Choices &s) {
  if (s.head_dim % 32 != 0) return {"head_dim", "64 to 256, by 32"};
  if (s.head_dim_v % 32 != 0 || !is_shape_of_wgmma(s.head_dim_v)) return {"head_dim_v", "64, 96, 128, 160, 192 or 256"};
  if (s.tile_q % 64 != 0) return {"tile_q", "128 or 192"};
  if (!is_shape_of_wgmma(s.tile_kv)) return {"tile_kv", "64, 80, 96, 112, 128, 160, 176 or 192"};
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
  if (key.alignment_bytes < 16) return {"strides", "addresses and strides of rows that are multiples of 16 bytes"};
  if (ceil_div(key.seqlen_q, 64) > 0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q / 64 below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && key.head_dim <= s.head_dim && key.head_dim_v <= s.head_dim_v &&
         s.causal == (key.causal != causal_none);
}

// Tiles of queries, or pairs of them: what blocks take in turns (Rounds).
constexpr int64_t units(const Choices &s, const ProblemKey &key) {
  return ceil_div(ceil_div(key.seqlen_q, s.tile_q), s.causal != 0 ? 2 : 1) * key.heads_q * key.batch;
}

// Fitted on the H200: of the 78 rows that this kernel has in benchmarks/results/hopper-h200-*.json measured times are 0.86 to 1.23 of it,
// with a standard deviation of 8 %. A step takes the longer of products and exponentials, a share of the other, and what neither hides.
constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  constexpr double wgmma_flop = 4096, share_of_other = 0.19, clocks_of_step = 790, start_us = 3.5;
  const Rates rates = rates_of(device.arch);
  const KeySteps steps = visibility_of(key).steps_of(s.tile_q, s.tile_kv);
  const double products = 2.0 * s.tile_q * s.tile_kv * (s.head_dim + s.head_dim_v) / wgmma_flop;
  const double exponentials = s.tile_q * s.tile_kv / rates.exponentials;
  const double step_clocks = larger_of(products, exponentials) +
                             share_of_other * (products < exponentials ? products : exponentials) + clocks_of_step;
  const double clocks_of_tile = tiles_overlap(s) ? 2920 : 4270;
  const int64_t blocks = smaller(units(s, key), device.multiprocessors);
  const double tiles_of_unit = s.causal != 0 && key.seqlen_q > s.tile_q ? 2 : 1;
  const double tiles_of_block = static_cast<double>(ceil_div(units(s, key), device.multiprocessors)) * tiles_of_unit;
  Cost cost{};
  cost.launch_us = start_us;
  cost.blocks_per_multiprocessor = 1;
  cost.waves = static_cast<double>(blocks) / device.multiprocessors;
  cost.tensor_us = tiles_of_block * steps.mean * products / rates.clock_mhz;
  cost.mufu_us = tiles_of_block * steps.mean * exponentials / rates.clock_mhz;
  cost.throughput_us = tiles_of_block * (steps.mean * step_clocks + clocks_of_tile) / rates.clock_mhz;
  cost.latency_us = (steps.longest * step_clocks + clocks_of_tile) / rates.clock_mhz;
  cost.total_us = cost.launch_us + larger_of(cost.throughput_us, cost.latency_us);
  return with_memory(cost, key, device);
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return single_launch(smaller(units(s, key), device.multiprocessors), threads(s), dynamic_shared_bytes(s),
                       cost(s, key, device));
}

struct Params {
  TensorMap query, key, value;
  AttentionFwdParams attention;
};

#ifndef __CUDACC_RTC__
inline void pack(const Specialization &, const ProblemKey &key, const AttentionCall &call, const DeviceLimits &device,
                 void *parameters) {
  unsigned char *const at = static_cast<unsigned char *>(parameters) + __builtin_offsetof(Params, attention);
  *reinterpret_cast<AttentionFwdParams *>(at) = attention_fwd::params_of(key, call, device);
}
constexpr int32_t tensor_maps(const Choices &s, TensorMapRule *rules) {
  rules[0] = {operand_query, __builtin_offsetof(Params, query), s.tile_q};
  rules[1] = {operand_key, __builtin_offsetof(Params, key), s.tile_kv};
  rules[2] = {operand_value, __builtin_offsetof(Params, value), s.tile_kv};
  return 3;
}
#endif

}  // namespace flashcore::kernels::sm90_fwd_wgmma
