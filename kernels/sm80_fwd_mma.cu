// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_mma: the workhorse on every GPU since Ampere. mma.sync m16n8k16, ldmatrix, cp.async and swizzled shared memory;
// scores, softmax and probabilities never leave the registers (FlashAttention-2, arXiv 2307.08691, is the algorithm).
//
// Tried on the H200 (16k tokens, times relative to the version before; FlashAttention-2 is the same class of kernel there):
//   kept  lazy rescale, O moves only when a maximum grew by 2^8                                   +3 to +4 %
//   kept  pointers that walk down, bounds only on the last tile (DescendingLoader)                +5 to +9 %
//   kept  one exclusive or for three address bits, constants for the rest (Rows::advance): D=128 without spills   +8 to +10 %
//   kept  Q fragments in registers at D=64                                                        0 to +3 %
//   kept  D=128: 128x48 over 128x32 (+2 %), 64x64 (-20 %), 128x64 (equal, but spills), eight warps (-15 %)
//   lost  scores one step ahead of the softmax, two stages of K and V: D=64 128x32 -1 to -4 %, D=128 spills
//   lost  D=64: 128x96 (-4 %, spills), 128x32 single stage (-20 %)
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_mma {

struct Tile {
  int32_t head_dim, tile_q, tile_kv, warps, q_in_registers;
  bool any_alignment;  // also compiled for rows that are not 16-byte aligned
  double efficiency;   // share of the mma.sync rate, for the cost model
};
inline constexpr Tile tiles[] = {
    {64, 64, 64, 4, 1, true, 0.45},
    {64, 128, 64, 4, 1, false, 0.54},
    {128, 64, 64, 4, 0, true, 0.46},
    {128, 128, 48, 4, 0, false, 0.58},
};

constexpr const Tile *find_tile(const Specialization &s) {
  for (const Tile &tile : tiles)
    if (tile.head_dim == s.head_dim && tile.tile_q == s.tile_q && tile.tile_kv == s.tile_kv && tile.warps == s.warps)
      return &tile;
  return nullptr;
}

// Every tile for both types, with and without the causal mask; the small tile of each head dimension also unaligned.
constexpr bool specialization(int32_t index, Specialization *out) {
  if (index < 0) return false;
  for (const Tile &tile : tiles) {
    const int32_t variants = tile.any_alignment ? 8 : 4;
    if (index >= variants) {
      index -= variants;
      continue;
    }
    const int32_t dtype = (index & 2) ? dtype_bfloat16 : dtype_float16, alignment_bytes = (index & 4) ? 2 : 16;
    *out = {dtype,        tile.head_dim, tile.head_dim, index & 1,          alignment_bytes, tile.tile_q,
            tile.tile_kv, tile.warps,    1,             tile.q_in_registers};
    return true;
  }
  return false;
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

constexpr double cost_us(const Specialization &s, const ProblemKey &key, const DeviceLimits &device) {
  const Tile *tile = find_tile(s);
  const double steps = static_cast<double>(ceil_div(key.seqlen_kv, s.tile_kv));
  const double by_shared = static_cast<double>(device.shared_bytes_per_multiprocessor / (dynamic_shared_bytes(s) + 1024));
  const double by_registers = 65536.0 / (s.warps * 32 * 232);
  const double resident = by_shared < by_registers ? by_shared : by_registers;
  const double mean_steps = s.causal ? 0.5 * steps + 0.5 : steps;
  const double step_latency_us = 0.25 + 0.35 * s.head_dim / 64.0 * (s.tile_kv / 64.0) * (s.tile_q / (16.0 * s.warps));
  return tile_cost_us({4.0 * s.tile_q * s.tile_kv * s.head_dim, steps, mean_steps, static_cast<double>(grid(s, key).x),
                       resident < 1 ? 1.0 : static_cast<double>(static_cast<int64_t>(resident)), tile->efficiency, step_latency_us},
                      device);
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    "sm80_fwd_mma", "mma.sync tensor cores, softmax and probabilities in registers, cp.async", 80, 0, false,
    specialization, refuse, serves, dynamic_shared_bytes, grid, cost_us};
#endif
}  // namespace flashcore::kernels::sm80_fwd_mma

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/block_work.cuh"
#include "parts/mma_sm80.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_mma {

constexpr int32_t dtype = chosen.dtype, head_dim = chosen.head_dim;
constexpr int32_t tile_q = chosen.tile_q, tile_kv = chosen.tile_kv;
constexpr int32_t warps = chosen.warps, threads = warps * 32;
constexpr int32_t alignment_bytes = chosen.alignment_bytes;
constexpr bool causal = chosen.causal != 0, q_in_registers = chosen.q_in_registers != 0;
constexpr int32_t warp_rows = tile_q / warps;      // query rows of a warp
constexpr int32_t row_tiles = warp_rows / 16;      // mma tiles down
constexpr int32_t key_columns = tile_kv / 8;       // mma tiles across the scores
constexpr int32_t value_columns = head_dim / 8;    // mma tiles across the output
constexpr int32_t depth_steps = head_dim / 16;     // mma steps of Q.K^T
constexpr int32_t key_steps = tile_kv / 16;        // mma steps of P.V
static_assert(tile_q % (16 * warps) == 0 && tile_kv % 16 == 0 && head_dim % 64 == 0);

using Rows = SwizzledRows<head_dim>;
using Loader = DescendingLoader<tile_kv, threads, alignment_bytes, Rows>;
using QueryFragments = uint32_t[q_in_registers ? depth_steps : 1][row_tiles][4];
using Scores = float[row_tiles][key_columns][4];
using Probabilities = uint32_t[key_steps][row_tiles][4];
using Output = float[row_tiles][value_columns][4];

// Per thread: two rows of every row tile. row_max is in units of raw scores, row_sum this thread's share of the columns.
struct RowState {
  float row_max[row_tiles][2];
  float row_sum[row_tiles][2];
};

__device__ __forceinline__ void load_query_step(uint32_t (&fragments)[row_tiles][4], SharedAddress query_lane, int32_t step) {
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
    load_matrix_x4(fragments[i], Rows::advance(query_lane, step * 2) + i * 16 * head_dim * 2);
}

// scores = Q . K^T
__device__ __forceinline__ void multiply_query_key(Scores &scores, const QueryFragments &query, SharedAddress query_lane,
                                                   SharedAddress key_lane) {
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
      for (int32_t c = 0; c < 4; ++c) scores[i][j][c] = 0.0f;
#pragma unroll
  for (int32_t step = 0; step < depth_steps; ++step) {
    uint32_t fresh[row_tiles][4];
    if constexpr (!q_in_registers) load_query_step(fresh, query_lane, step);
#pragma unroll
    for (int32_t j = 0; j < key_columns; j += 2) {
      uint32_t key[4];
      load_matrix_x4(key, Rows::advance(key_lane, step * 2) + j * 8 * head_dim * 2);
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i) {
        const auto multiply = [&](const uint32_t(&a)[4]) {
          mma_m16n8k16<dtype>(scores[i][j], a, key[0], key[1]);
          mma_m16n8k16<dtype>(scores[i][j + 1], a, key[2], key[3]);
        };
        if constexpr (q_in_registers) multiply(query[step][i]);
        else multiply(fresh[i]);
      }
    }
  }
}

// Keys that a query may not see get -infinity. By selection, never by arithmetic: a masked NaN is gone.
__device__ __forceinline__ void mask_scores(Scores &scores, const AttentionFwdParams &params, int32_t first_key,
                                            int32_t first_row) {
  const int32_t lane = static_cast<int32_t>(threadIdx.x) % 32;
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const int64_t row = int64_t{first_row} + i * 16 + half * 8 + lane / 4;
      const int64_t end = causal && row + params.causal_offset + 1 < params.seqlen_kv ? row + params.causal_offset + 1 : params.seqlen_kv;
      // Keys of this tile that the row sees; far below zero or above the tile the value only needs its sign.
      const int32_t visible = static_cast<int32_t>(end - first_key < -1 ? -1 : end - first_key);
#pragma unroll
      for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c)
          if (j * 8 + lane % 4 * 2 + c >= visible) scores[i][j][half * 2 + c] = -infinity;
    }
}

// How far (in powers of two) a row's maximum may grow before O and the sums move to it. Until then probabilities exceed 1,
// up to 2^8, which costs no precision in a floating-point type, and most steps rescale nothing.
constexpr float lazy_limit_log2 = 8.0f;

// Online softmax, first half: the rows' maxima, and O and the sums moved where a maximum grew too far.
template <bool masked>
__device__ __forceinline__ void raise_maximum(const Scores &scores, Output &output, RowState &state, float scale_log2) {
  float new_max[row_tiles][2];
  bool grew = false;
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      float tile_max = fmaxf(scores[i][0][half * 2], scores[i][0][half * 2 + 1]);
#pragma unroll
      for (int32_t j = 1; j < key_columns; ++j)
        tile_max = fmaxf(tile_max, fmaxf(scores[i][j][half * 2], scores[i][j][half * 2 + 1]));
      new_max[i][half] = fmaxf(state.row_max[i][half], quad_max(tile_max));
      grew |= (new_max[i][half] - state.row_max[i][half]) * scale_log2 > lazy_limit_log2;
    }
  if (!__any_sync(0xffffffffu, grew)) return;
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      // A row that has seen no key yet keeps -infinity; subtracting it would give NaN.
      const float finite_max = masked && new_max[i][half] == -infinity ? 0.0f : new_max[i][half];
      const float rescale = exp2_approx((state.row_max[i][half] - finite_max) * scale_log2);
      state.row_max[i][half] = new_max[i][half];
      state.row_sum[i][half] *= rescale;
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n) {
        output[i][n][half * 2] *= rescale;
        output[i][n][half * 2 + 1] *= rescale;
      }
    }
}

// Second half: scores become exp2((score - row max) * scale).
template <bool masked>
__device__ __forceinline__ void exponentiate(Scores &scores, RowState &state, float scale_log2) {
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float row_max = state.row_max[i][half];
      const float scaled_max = masked && row_max == -infinity ? 0.0f : row_max * scale_log2;
#pragma unroll
      for (int32_t j = 0; j < key_columns; ++j)
#pragma unroll
        for (int32_t c = 0; c < 2; ++c) {
          float &score = scores[i][j][half * 2 + c];
          score = exp2_approx(fmaf(score, scale_log2, -scaled_max));
          state.row_sum[i][half] += score;
        }
    }
}

// P rounded, as A fragments: two neighbouring score tiles are one.
__device__ __forceinline__ void round_probabilities(Probabilities &p, const Scores &scores) {
#pragma unroll
  for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i) {
      const float(&left)[4] = scores[i][2 * step], (&right)[4] = scores[i][2 * step + 1];
      p[step][i][0] = pack2<dtype>(left[0], left[1]);
      p[step][i][1] = pack2<dtype>(left[2], left[3]);
      p[step][i][2] = pack2<dtype>(right[0], right[1]);
      p[step][i][3] = pack2<dtype>(right[2], right[3]);
    }
}

// output += P . V
__device__ __forceinline__ void multiply_probability_value(Output &output, const Probabilities &p, SharedAddress value_lane) {
#pragma unroll
  for (int32_t step = 0; step < key_steps; ++step)
#pragma unroll
    for (int32_t n = 0; n < value_columns; n += 2) {
      uint32_t v[4];
      load_matrix_x4_transposed(v, Rows::advance(value_lane, n) + step * 16 * head_dim * 2);
#pragma unroll
      for (int32_t i = 0; i < row_tiles; ++i) {
        mma_m16n8k16<dtype>(output[i][n], p[step][i], v[0], v[1]);
        mma_m16n8k16<dtype>(output[i][n + 1], p[step][i], v[2], v[3]);
      }
    }
}

// Infinite and NaN values in a tile whose keys only some queries see. To a tensor core 0 * NaN is NaN, for those that
// do not see the key as well; so the value tile was cleared of them (clear_nonfinite), and here the queries that do see
// them (probability above 0) get them. Rare, so it may be slow: for +inf, -inf and NaN in turn a tile of ones marks where
// they stand in memory, and P times that tile says who sees one. Every thread of the block comes here or none.
__device__ __forceinline__ void add_nonfinite_values(Output &output, const Probabilities &p, SharedAddress value_tile,
                                                     SharedAddress value_lane, const HeadRows &value_rows, int32_t first_key,
                                                     int32_t seqlen_kv) {
#pragma unroll 1
  for (int32_t kind = 0; kind < 3; ++kind) {
    __syncthreads();
    mark_tile<tile_kv, threads, dtype, Rows>(value_tile, value_rows, first_key, seqlen_kv, kind);
    __syncthreads();
    const float value = kind == 0 ? infinity : kind == 1 ? -infinity : not_a_number;
#pragma unroll
    for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
      for (int32_t n = 0; n < value_columns; n += 2) {
        float seen[2][4] = {};
#pragma unroll
        for (int32_t step = 0; step < key_steps; ++step) {
          uint32_t marks[4];
          load_matrix_x4_transposed(marks, Rows::advance(value_lane, n) + step * 16 * head_dim * 2);
          mma_m16n8k16<dtype>(seen[0], p[step][i], marks[0], marks[1]);
          mma_m16n8k16<dtype>(seen[1], p[step][i], marks[2], marks[3]);
        }
#pragma unroll
        for (int32_t c = 0; c < 8; ++c)
          if (seen[c / 4][c % 4] > 0.0f) output[i][n + c / 4][c % 4] += value;
      }
  }
}

// O / row sum to the Q tile's place (this warp's own rows, which nobody else reads), then to memory by 16 bytes; the
// logarithm of the row sum from one lane of each quad.
__device__ __forceinline__ void write_output(const AttentionFwdParams &params, const BlockWork &work, Output &output,
                                             const RowState &state, SharedAddress query_tile) {
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, lane = static_cast<int32_t>(threadIdx.x) % 32;
  const int32_t tile_row = warp * warp_rows;
  __syncwarp();
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[i][half]);
      const float inverse = sum > 0.0f || sum != sum ? 1.0f / sum : 0.0f;  // no key seen: O = 0
      const int32_t row = tile_row + i * 16 + half * 8 + lane / 4;
#pragma unroll
      for (int32_t n = 0; n < value_columns; ++n)
        store_shared_4(query_tile + Rows::offset(row, n) + lane % 4 * 4,
                       pack2<dtype>(output[i][n][half * 2] * inverse, output[i][n][half * 2 + 1] * inverse));
      const int32_t query = work.first_query + row;
      if (lane % 4 == 0 && query < params.seqlen_q)
        write_lse(params, work.batch, work.head_q, query, state.row_max[i][half], sum);
    }
  __syncwarp();
  store_tile<warp_rows, 32, alignment_bytes, Rows>(query_tile, head_rows(params.output, work.batch, work.head_q), lane,
                                                       tile_row, work.first_query + tile_row, params.seqlen_q);
}

// A negative softmax scale turns the largest score into the smallest; the queries change sign instead.
__device__ __forceinline__ void negate_tile(SharedAddress tile) {
  for (int32_t chunk = static_cast<int32_t>(threadIdx.x); chunk < tile_q * head_dim / 8; chunk += threads) {
    uint4 value = load_shared_16(tile + chunk * 16);
    value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;
    store_shared_16(tile + chunk * 16, value);
  }
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
  // Each lane's row for ldmatrix, at the first chunk; Rows::advance goes on from there.
  const SharedAddress query_lane = query_tile + Rows::offset(warp * warp_rows + lane % 16, lane / 16);
  const SharedAddress key_lane = key_tile + Rows::offset(lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const SharedAddress value_lane = value_tile + Rows::offset(lane % 16, lane / 16);

  Output output{};
  RowState state;
#pragma unroll
  for (int32_t i = 0; i < row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) state.row_max[i][half] = -infinity, state.row_sum[i][half] = 0.0f;

  Loader key_loader(key_rows, tiles.count - 1, params.seqlen_kv), value_loader(value_rows, tiles.count - 1, params.seqlen_kv);
  QueryFragments query{};
  const auto step = [&](int32_t tile, auto masked) {
    copy_async_wait<0>();
    __syncthreads();
    if (masked.value && tile == tiles.count - 1) value_loader.load_last(value_tile);
    else value_loader.load_next(value_tile);
    copy_async_commit();
    Scores scores;
    multiply_query_key(scores, query, query_lane, key_lane);
    if constexpr (masked.value) mask_scores(scores, params, tile * tile_kv, work.first_query + warp * warp_rows);
    copy_async_wait<0>();
    bool nonfinite = false;
    if constexpr (masked.value)
      nonfinite = __syncthreads_or(clear_nonfinite<tile_kv, threads, dtype, Rows>(value_tile)) != 0;
    else
      __syncthreads();
    if (tile > 0) key_loader.load_next(key_tile);
    copy_async_commit();
    raise_maximum<masked.value>(scores, output, state, params.scale_log2);
    exponentiate<masked.value>(scores, state, params.scale_log2);
    Probabilities probabilities;
    round_probabilities(probabilities, scores);
    multiply_probability_value(output, probabilities, value_lane);
    if constexpr (masked.value)
      if (nonfinite) add_nonfinite_values(output, probabilities, value_tile, value_lane, value_rows, tile * tile_kv, params.seqlen_kv);
  };

  if (tiles.count > 0) {
    load_tile<tile_q, threads, alignment_bytes, Rows>(query_tile, query_rows, work.first_query, params.seqlen_q);
    key_loader.load_last(key_tile);
    copy_async_commit();
    if (params.negate_query != 0 || q_in_registers) {
      copy_async_wait<0>();
      __syncthreads();
      if (params.negate_query != 0) {
        negate_tile(query_tile);
        __syncthreads();
      }
      if constexpr (q_in_registers)
#pragma unroll
        for (int32_t k = 0; k < depth_steps; ++k) load_query_step(query[k], query_lane, k);
    }
    int32_t tile = tiles.count - 1;
    for (; tile >= tiles.unmasked; --tile) step(tile, Constant<true>{});
    for (; tile >= 0; --tile) step(tile, Constant<false>{});
  }
  write_output(params, work, output, state, query_tile);
}
#endif
