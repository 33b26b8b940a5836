// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_mma: the workhorse on every GPU since Ampere. mma.sync m16n8k16, ldmatrix, cp.async and swizzled shared memory;
// scores, softmax and probabilities never leave the registers (FlashAttention-2, arXiv 2307.08691, is the algorithm).
//
// Tried on the H200 (16k tokens, times relative to the version before; FlashAttention-2 is the same class of kernel there):
//   kept  lazy rescale, O moves only when a maximum grew by 2^8                                   +3 to +4 %
//   kept  pointers that walk down, bounds only on the last tile (DescendingLoader)                +5 to +9 %
//   kept  one exclusive or for three address bits, constants for the rest (Rows::advance): D=128 without spills   +8 to +10 %
//   kept  Q fragments in registers at D=64 without a mask                                         0 to +3 %
//   kept  D=128: 128x48, causal 128x32; lost 64x64 (-20 %), 128x64 (equal, but spills), eight warps (-15 %)
//   lost  scores one step ahead of the softmax, two stages of K and V: D=64 128x32 -1 to -4 %, D=128 spills
//   lost  D=64: 128x96 (-4 %, spills), 128x32 single stage (-20 %)
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_mma {

struct Tile {
  int32_t head_dim, tile_q, tile_kv, warps, q_in_registers;
  bool plain, causal;  // compiled without, with the causal mask
  bool any_alignment;  // also compiled for rows that are not 16-byte aligned
};
// The large tiles use every register there is; the mask costs a few more, so with it they are one notch smaller.
inline constexpr Tile tiles[] = {
    {64, 64, 64, 4, 1, true, true, true},
    {64, 128, 64, 4, 1, true, false, false},
    {64, 128, 64, 4, 0, false, true, false},
    {128, 64, 64, 4, 0, true, true, true},
    {128, 128, 48, 4, 0, true, false, false},
    {128, 128, 32, 4, 0, false, true, false},
};

// Every tile for both types, with the masks it is for; the small tile of each head dimension also unaligned.
constexpr bool specialization(int32_t index, Specialization *out) {
  for (const Tile &tile : tiles)
    for (int32_t variant = 0; variant < 8; ++variant) {
      const int32_t dtype = (variant & 1) != 0 ? dtype_bfloat16 : dtype_float16;
      const bool causal = (variant & 2) != 0, unaligned = (variant & 4) != 0;
      if (!(causal ? tile.causal : tile.plain) || (unaligned && !tile.any_alignment) || index-- != 0) continue;
      *out = {dtype,        tile.head_dim, tile.head_dim, causal ? 1 : 0,     unaligned ? 2 : 16, tile.tile_q,
              tile.tile_kv, tile.warps,    1,             tile.q_in_registers};
      return true;
    }
  return false;
}

// What the body can be compiled for. Every thread moves the same number of 16-byte chunks of a tile: rows by whole passes.
constexpr Refusal allows(const Specialization &s) {
  if (s.head_dim != 64 && s.head_dim != 128) return {"head_dim", "64 or 128"};
  if (s.head_dim_v != s.head_dim) return {"head_dim_v", "equal to head_dim"};
  if (s.warps < 1 || s.warps > 16) return {"warps", "1 to 16"};
  if (s.tile_q % (16 * s.warps) != 0 || s.tile_q > 64 * s.warps) return {"tile_q", "16, 32, 48 or 64 rows for each warp"};
  const int32_t rows_per_pass = 256 * s.warps / s.head_dim;
  if (s.tile_q % rows_per_pass != 0) return {"tile_q", "a multiple of 256 * warps / head_dim"};
  if (s.tile_kv % 16 != 0 || s.tile_kv > 256) return {"tile_kv", "16 to 256, by 16"};
  if (s.tile_kv % rows_per_pass != 0) return {"tile_kv", "a multiple of 256 * warps / head_dim"};
  if (s.stages != 1) return {"stages", "1"};
  return no_refusal;
}

constexpr Grid grid(const Specialization &s, const ProblemKey &key) {
  return {ceil_div(key.seqlen_q, s.tile_q) * key.heads_q * key.batch, 1, 1};
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim != 64 && key.head_dim != 128) return {"head_dim", "64 or 128"};
  if (key.head_dim_v != key.head_dim) return {"head_dim_v", "equal to head_dim"};
  // The smallest tile has the most thread blocks; a grid holds 2^31 - 1.
  if (ceil_div(key.seqlen_q, 64) > 0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q / 64 below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Specialization &s, const ProblemKey &key) {
  return s.dtype == key.dtype && s.head_dim == key.head_dim && s.causal == (key.causal != causal_none) &&
         s.alignment_bytes <= key.alignment_bytes && (key.alignment_bytes == 2 || s.alignment_bytes == 16);
}

// One Q, one K and one V tile. O leaves through the Q tile's place.
constexpr int64_t dynamic_shared_bytes(const Specialization &s) {
  return static_cast<int64_t>(s.tile_q * s.head_dim + s.tile_kv * (s.head_dim + s.head_dim_v)) * 2;
}

constexpr Cost cost(const Specialization &s, const ProblemKey &key, const DeviceLimits &device) {
  const double steps = static_cast<double>(ceil_div(key.seqlen_kv, s.tile_kv));
  return mma_cost({s.tile_q, s.tile_kv, s.head_dim, s.head_dim_v, s.warps, 1, s.tile_q / (16 * s.warps), s.q_in_registers != 0,
                   dynamic_shared_bytes(s), static_cast<double>(grid(s, key).x), steps,
                   mean_steps(s.causal != 0, steps, s.tile_q, s.tile_kv), 0},
                  device);
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    "sm80_fwd_mma", "mma.sync tensor cores, softmax and probabilities in registers, cp.async", 80, 0, false,
    specialization, allows, refuse, serves, dynamic_shared_bytes, grid, cost};
#endif
}  // namespace flashcore::kernels::sm80_fwd_mma

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/mma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_mma {

constexpr int32_t tile_q = chosen.tile_q, tile_kv = chosen.tile_kv, head_dim = chosen.head_dim;
constexpr int32_t threads = chosen.warps * 32, alignment_bytes = chosen.alignment_bytes;
constexpr bool causal = chosen.causal != 0;
static_assert(tile_q % (16 * chosen.warps) == 0);

using Attention = MmaAttention<MmaShape{chosen.dtype, head_dim, tile_kv, tile_q / (16 * chosen.warps), threads, true, causal,
                                        chosen.q_in_registers != 0}>;
using Rows = Attention::Rows;
using Loader = DescendingLoader<tile_kv, threads, alignment_bytes, Rows>;
constexpr int32_t warp_rows = Attention::warp_rows;

// O / row sum to the Q tile's place (this warp's own rows, which nobody else reads), then to memory by 16 bytes; the
// logarithm of the row sum from one lane of each quad.
__device__ __forceinline__ void write_output(const AttentionFwdParams &params, const BlockWork &work, Attention::Output &output,
                                             const Attention::RowState &state, SharedAddress query_tile) {
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, lane = static_cast<int32_t>(threadIdx.x) % 32;
  const int32_t tile_row = warp * warp_rows;
  __syncwarp();
#pragma unroll
  for (int32_t i = 0; i < Attention::row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[i][half]);
      const float inverse = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;  // no key seen: O = 0
      const int32_t row = tile_row + i * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int32_t n = 0; n < Attention::value_columns; ++n)
        store_shared_4(query_tile + Rows::offset(row, n) + lane % 4 * 4,
                       pack2<chosen.dtype>(output[i][n][half * 2] * inverse, output[i][n][half * 2 + 1] * inverse));
      const int32_t query = work.first_query + row;
      if (lane % 4 == 0 && query < params.seqlen_q)
        write_lse(params, work.batch, work.head_q, query, state.row_max[i][half], sum);
    }
  __syncwarp();
  store_tile<warp_rows, 32, alignment_bytes, Rows>(query_tile, head_rows(params.output, work.batch, work.head_q), lane,
                                                       tile_row, work.first_query + tile_row, params.seqlen_q);
}

}  // namespace flashcore::kernels::sm80_fwd_mma

// One step, K single-buffered and V single-buffered; time runs down, "...." is a copy under way:
//
//   K(n) arrives      barrier
//   V(n) ....         S = Q.K(n)^T
//   V(n) arrives      barrier                     (every warp is done with K(n))
//   K(n-1) ....       softmax(S) ; O += P.V(n)
//
// Keys are walked from the last tile to the first: the tiles that need masks come first, the steady loop has none.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm80_fwd_mma::threads)
    sm80_fwd_mma(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::sm80_fwd_mma;
  extern __shared__ __align__(1024) unsigned char shared[];
  const SharedAddress query_tile = shared_address(shared), key_tile = query_tile + tile_q * head_dim * 2;
  const SharedAddress value_tile = key_tile + tile_kv * head_dim * 2;

  const BlockWork work = block_work<tile_q, causal>(params, blockIdx.x);
  const KeyTiles tiles = key_tiles<tile_q, tile_kv, causal>(params, work.first_query);
  const HeadRows query_rows = head_rows(params.query, work.batch, work.head_q);
  const HeadRows key_rows = head_rows(params.key, work.batch, work.head_kv);
  const HeadRows value_rows = head_rows(params.value, work.batch, work.head_kv);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, lane = static_cast<int32_t>(threadIdx.x) % 32;
  const Attention::TileGroup group(0, static_cast<int32_t>(threadIdx.x));
  const SharedAddress query_lane = Attention::query_lane(query_tile, warp * warp_rows, lane);
  const SharedAddress key_lane = Attention::key_lane(key_tile, lane), value_lane = Attention::value_lane(value_tile, lane);

  Attention::Output output{};
  Attention::RowState state;
  Attention::QueryFragments query{};
  Loader key_loader(key_rows, tiles.count - 1, params.seqlen_kv, group.thread);
  Loader value_loader(value_rows, tiles.count - 1, params.seqlen_kv, group.thread);
  const auto step = [&](int32_t tile, auto masked) {
    copy_async_wait<0>();
    group.barrier();
    if (masked.value && tile == tiles.count - 1) value_loader.load_last(value_tile);
    else value_loader.load_next(value_tile);
    copy_async_commit();
    Attention::Scores scores;
    Attention::multiply_query_key(scores, query, query_lane, key_lane);
    if constexpr (masked.value) Attention::mask_scores(scores, params, tile * tile_kv, work.first_query + warp * warp_rows);
    copy_async_wait<0>();
    bool nonfinite = false;
    if constexpr (masked.value)
      nonfinite = group.barrier_or(clear_nonfinite<tile_kv, threads, chosen.dtype, Rows>(value_tile, group.thread));
    else
      group.barrier();
    if (tile > 0) key_loader.load_next(key_tile);
    copy_async_commit();
    Attention::template raise_maximum<masked.value>(scores, output, state, params.scale_log2);
    Attention::template exponentiate<masked.value>(scores, state, params.scale_log2);
    Attention::Probabilities probabilities;
    Attention::round_probabilities(probabilities, scores);
    Attention::multiply_probability_value(output, probabilities, value_lane);
    if constexpr (masked.value)
      if (nonfinite) Attention::add_nonfinite_values(output, probabilities, group, value_tile, value_lane, value_rows, tile * tile_kv, params.seqlen_kv);
  };

  if (tiles.count > 0) {
    load_tile<tile_q, threads, alignment_bytes, Rows>(query_tile, query_rows, work.first_query, params.seqlen_q, group.thread);
    key_loader.load_last(key_tile);
    copy_async_commit();
    if (params.negate_query != 0 || Attention::q_in_registers) {
      copy_async_wait<0>();
      group.barrier();
      if (params.negate_query != 0) {
        Attention::negate_tile<tile_q, threads>(query_tile);
        group.barrier();
      }
      if constexpr (Attention::q_in_registers)
#pragma unroll
        for (int32_t k = 0; k < Attention::depth_steps; ++k) Attention::load_query_step(query[k], query_lane, k);
    }
    int32_t tile = tiles.count - 1;
    for (; tile >= tiles.unmasked; --tile) step(tile, Constant<true>{});
    for (; tile >= 0; --tile) step(tile, Constant<false>{});
  }
  write_output(params, work, output, state, query_tile);
}
#endif
