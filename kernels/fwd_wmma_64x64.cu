// SPDX-License-Identifier: Apache-2.0
//
// fwd_wmma_64x64: a rung of the ladder. WMMA 16x16x16 tensor-core products through shared memory: 64 queries by 64 keys a
// step, eight warps as 4 by 2, float32 probabilities in the buffer that held the scores.
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::fwd_wmma_64x64 {

inline constexpr int32_t tile_q = 64, tile_kv = 64, head_dim = 64, warps = 8;

// Rows are padded so that the eight rows of a WMMA load start in different banks: 16-bit rows by 16 bytes, float rows by 16.
inline constexpr int32_t half_pitch = head_dim + 8, float_pitch = tile_kv + 4;

// Shared memory, in order. K and V have two stages: the next tiles are fetched while this step computes.
struct SharedLayout {
  int32_t query, key[2], value[2], probability16;  // 16-bit tiles
  int32_t scores;                                  // float32: scores, then the probabilities, in one buffer
  int32_t output;                                  // float32: O, rescaled step by step
  int32_t row_max, row_sum, row_rescale;           // float32 per query row
  int32_t total_bytes;
};
constexpr SharedLayout shared_layout() {
  constexpr int32_t half_tile = 64 * half_pitch * 2, float_tile = 64 * float_pitch * 4, row_vector = tile_q * 4;
  SharedLayout at{};
  int32_t next = 0;
  auto take = [&next](int32_t bytes) { const int32_t start = next; next += bytes; return start; };
  at.query = take(half_tile);
  for (int32_t stage = 0; stage < 2; ++stage) { at.key[stage] = take(half_tile); at.value[stage] = take(half_tile); }
  at.probability16 = take(half_tile);
  at.scores = take(float_tile);
  at.output = take(float_tile);
  at.row_max = take(row_vector);
  at.row_sum = take(row_vector);
  at.row_rescale = take(row_vector);
  at.total_bytes = next;
  return at;
}

constexpr bool specialization(int32_t index, Specialization *out) {
  if (index < 0 || index > 1) return false;
  *out = {dtype_float16, head_dim, head_dim, index, 16, tile_q, tile_kv, warps, 2, 0};
  return true;
}

constexpr Grid grid(const Specialization &s, const ProblemKey &key) {
  return {ceil_div(key.seqlen_q, s.tile_q) * key.heads_q * key.batch, 1, 1};
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.dtype != dtype_float16) return {"query.dtype", "FLOAT16"};
  if (key.head_dim != head_dim) return {"head_dim", "64"};
  if (key.head_dim_v != head_dim) return {"head_dim_v", "64"};
  if (key.alignment_bytes < 16) return {"query", "16-byte aligned addresses and strides of query, key, value and output"};
  if (ceil_div(key.seqlen_q, tile_q) > 0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q / 64 below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Specialization &s, const ProblemKey &key) { return s.causal == (key.causal != causal_none); }

constexpr int64_t dynamic_shared_bytes(const Specialization &) { return shared_layout().total_bytes; }

constexpr double cost_us(const Specialization &s, const ProblemKey &key, const DeviceLimits &device) {
  const double steps = static_cast<double>(ceil_div(key.seqlen_kv, s.tile_kv));
  const double resident = static_cast<double>(device.shared_bytes_per_multiprocessor / (dynamic_shared_bytes(s) + 1024));
  return tile_cost_us({4.0 * s.tile_q * s.tile_kv * s.head_dim, steps, s.causal ? 0.5 * steps + 0.5 : steps,
                       static_cast<double>(grid(s, key).x), resident < 1 ? 1 : resident, 0.15, 2.0},
                      device);
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    "fwd_wmma_64x64", "WMMA 16x16x16 through shared memory, 64x64 tiles, fp32 probabilities (ladder)", 80, 0,
    specialization, refuse, serves, dynamic_shared_bytes, grid, cost_us};
#endif
}  // namespace flashcore::kernels::fwd_wmma_64x64

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/block_work.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"
#include "parts/wmma.cuh"
#include "specialization.h"

namespace flashcore::kernels::fwd_wmma_64x64 {

constexpr bool causal = chosen.causal != 0;
constexpr int32_t threads = warps * 32;
constexpr SharedLayout at = shared_layout();
// Moving 16-bit tiles: each thread has two chunks of eight columns, 32 rows apart.
constexpr int32_t chunks_per_thread = 64 * 8 / threads;
// Row-wise work (softmax, rescale, store): four threads a row, each with the chunks `part` and `part + 4` of eight columns.
// Neighbouring lanes then touch neighbouring 32-byte pieces, and a row's successor lies four banks further: no conflicts.
constexpr int32_t threads_per_row = threads / tile_q;
static_assert(threads_per_row == 4 && chunks_per_thread == 2);

__device__ __forceinline__ float4 *float_chunk(unsigned char *shared, int32_t buffer, int32_t row, int32_t chunk) {
  return reinterpret_cast<float4 *>(shared + buffer + (row * float_pitch + chunk * 8) * 4);
}

struct StagedTile {  // this thread's share of a tile on its way from global to shared memory
  uint4 chunk[chunks_per_thread];
};

__device__ __forceinline__ void fetch_tile(StagedTile &staged, const HeadRows &rows, int32_t first_row, int32_t row_end) {
#pragma unroll
  for (int32_t i = 0; i < chunks_per_thread; ++i) {
    const int32_t row = first_row + static_cast<int32_t>(threadIdx.x) / 8 + i * 32, column = static_cast<int32_t>(threadIdx.x) % 8 * 8;
    staged.chunk[i] = make_uint4(0, 0, 0, 0);
    if (row < row_end) staged.chunk[i] = *reinterpret_cast<const uint4 *>(rows.first + row * rows.stride + column);
  }
}

__device__ __forceinline__ void store_staged(unsigned char *shared, int32_t buffer, const StagedTile &staged) {
#pragma unroll
  for (int32_t i = 0; i < chunks_per_thread; ++i) {
    const int32_t row = static_cast<int32_t>(threadIdx.x) / 8 + i * 32, column = static_cast<int32_t>(threadIdx.x) % 8 * 8;
    *reinterpret_cast<uint4 *>(shared + buffer + (row * half_pitch + column) * 2) = staged.chunk[i];
  }
}

// Zero infinities and NaN; say whether there were any.
__device__ __forceinline__ bool clear_nonfinite_staged(StagedTile &staged) {
  uint32_t any = 0;
#pragma unroll
  for (uint4 &chunk : staged.chunk) {
    const uint4 bad = make_uint4(nonfinite_halves<dtype_float16>(chunk.x), nonfinite_halves<dtype_float16>(chunk.y),
                                 nonfinite_halves<dtype_float16>(chunk.z), nonfinite_halves<dtype_float16>(chunk.w));
    any |= bad.x | bad.y | bad.z | bad.w;
    chunk = make_uint4(chunk.x & ~bad.x, chunk.y & ~bad.y, chunk.z & ~bad.z, chunk.w & ~bad.w);
  }
  return any != 0;
}

// scores = Q . K^T: each warp 16 queries by 32 keys.
__device__ __forceinline__ void multiply_query_key(SharedAddress base, int32_t stage, int32_t warp_row, int32_t warp_column) {
  WmmaAccumulator scores[2] = {};
#pragma unroll
  for (int32_t step = 0; step < head_dim / 16; ++step) {
    WmmaOperand query;
    wmma_load_a(query, base + at.query + (warp_row * half_pitch + step * 16) * 2, half_pitch);
#pragma unroll
    for (int32_t j = 0; j < 2; ++j) {
      WmmaOperand key;
      wmma_load_b_transposed(key, base + at.key[stage] + ((warp_column + j * 16) * half_pitch + step * 16) * 2, half_pitch);
      wmma_multiply<true>(scores[j], query, key);
    }
  }
#pragma unroll
  for (int32_t j = 0; j < 2; ++j)
    wmma_store_c(base + at.scores + (warp_row * float_pitch + warp_column + j * 16) * 4, scores[j], float_pitch);
}

// output += P . V: each warp 16 queries by 32 columns, accumulated where O lies.
__device__ __forceinline__ void multiply_probability_value(SharedAddress base, int32_t stage, int32_t warp_row, int32_t warp_column) {
  WmmaAccumulator output[2];
#pragma unroll
  for (int32_t j = 0; j < 2; ++j)
    wmma_load_c(output[j], base + at.output + (warp_row * float_pitch + warp_column + j * 16) * 4, float_pitch);
#pragma unroll
  for (int32_t step = 0; step < tile_kv / 16; ++step) {
    WmmaOperand probability;
    wmma_load_a(probability, base + at.probability16 + (warp_row * half_pitch + step * 16) * 2, half_pitch);
#pragma unroll
    for (int32_t j = 0; j < 2; ++j) {
      WmmaOperand value;
      wmma_load_b(value, base + at.value[stage] + (step * 16 * half_pitch + warp_column + j * 16) * 2, half_pitch);
      wmma_multiply<false>(output[j], probability, value);
    }
  }
#pragma unroll
  for (int32_t j = 0; j < 2; ++j)
    wmma_store_c(base + at.output + (warp_row * float_pitch + warp_column + j * 16) * 4, output[j], float_pitch);
}

// The row's keys in this tile: key < visible is seen.
__device__ __forceinline__ int32_t visible_keys(const AttentionFwdParams &params, int32_t query, int32_t first_key) {
  int64_t end = params.seqlen_kv;
  if (causal && int64_t{query} + params.causal_offset + 1 < end) end = int64_t{query} + params.causal_offset + 1;
  const int64_t visible = end - first_key;
  return static_cast<int32_t>(visible < 0 ? 0 : visible < tile_kv ? visible : tile_kv);
}

// One row by four threads: mask, row maximum, probabilities (float32 over the scores, float16 for the tensor cores), and O
// moved to the new maximum.
__device__ __forceinline__ void softmax_row(unsigned char *shared, int32_t row, int32_t part, int32_t visible, float scale_log2) {
  float score[16];
  float tile_max = -infinity;
#pragma unroll
  for (int32_t i = 0; i < 4; ++i) {
    const int32_t chunk = part + i / 2 * 4;
    const float4 four = float_chunk(shared, at.scores, row, chunk)[i % 2];
    const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int32_t c = 0; c < 4; ++c) {
      score[i * 4 + c] = chunk * 8 + i % 2 * 4 + c < visible ? values[c] : -infinity;
      tile_max = fmaxf(tile_max, score[i * 4 + c]);
    }
  }
  float *const row_max = reinterpret_cast<float *>(shared + at.row_max) + row;
  float *const row_sum = reinterpret_cast<float *>(shared + at.row_sum) + row;
  const float old_max = *row_max, new_max = fmaxf(old_max, quad_max(tile_max));
  // A row that has seen no key yet keeps -infinity; subtracting it would give NaN.
  const float scaled_max = new_max == -infinity ? 0.0f : new_max * scale_log2;
  const float rescale = exp2_approx(old_max * scale_log2 - scaled_max);
  float sum = 0.0f;
#pragma unroll
  for (float &value : score) {
    value = exp2_approx(fmaf(value, scale_log2, -scaled_max));
    sum += value;
  }
  sum = quad_sum(sum);
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t chunk = part + half * 4;
    const float *p = score + half * 8;
    float4 *const probability = float_chunk(shared, at.scores, row, chunk);
    probability[0] = make_float4(p[0], p[1], p[2], p[3]);
    probability[1] = make_float4(p[4], p[5], p[6], p[7]);
    *reinterpret_cast<uint4 *>(shared + at.probability16 + (row * half_pitch + chunk * 8) * 2) =
        make_uint4(pack2<dtype_float16>(p[0], p[1]), pack2<dtype_float16>(p[2], p[3]), pack2<dtype_float16>(p[4], p[5]),
                   pack2<dtype_float16>(p[6], p[7]));
    float4 *const output = float_chunk(shared, at.output, row, chunk);
#pragma unroll
    for (int32_t i = 0; i < 2; ++i) {
      const float4 o = output[i];
      output[i] = make_float4(o.x * rescale, o.y * rescale, o.z * rescale, o.w * rescale);
    }
  }
  __syncwarp();  // all four threads have read the old maximum and sum
  if (part == 0) {
    *row_max = new_max;
    *row_sum = *row_sum * rescale + sum;
  }
}

// The infinities and NaN that were kept from the tensor cores, for the queries that see their keys: from memory, one by one.
// Rare. A probability above 0 says that the key is seen.
__device__ __forceinline__ void add_nonfinite_row(unsigned char *shared, const HeadRows &values, int32_t row, int32_t part,
                                                  int32_t first_key, int32_t visible) {
#pragma unroll 1
  for (int32_t key = 0; key < visible; ++key) {
    const float probability = reinterpret_cast<const float *>(shared + at.scores)[row * float_pitch + key];
    if (!(probability > 0.0f)) continue;
#pragma unroll 1
    for (int32_t i = 0; i < 16; ++i) {
      const int32_t column = (part + i / 8 * 4) * 8 + i % 8;
      const uint16_t bits = values.first[(first_key + key) * values.stride + column];
      if ((bits & 0x7c00) != 0x7c00) continue;
      reinterpret_cast<float *>(shared + at.output)[row * float_pitch + column] += probability * to_float<dtype_float16>(bits);
    }
  }
}

__device__ __forceinline__ void write_row(unsigned char *shared, const AttentionFwdParams &params, const BlockWork &work,
                                          int32_t row, int32_t part) {
  const int32_t query = work.first_query + row;
  if (query >= params.seqlen_q) return;
  const float sum = reinterpret_cast<const float *>(shared + at.row_sum)[row];
  const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;  // no key seen: O = 0
  const HeadRows rows = head_rows(params.output, work.batch, work.head_q);
#pragma unroll
  for (int32_t half = 0; half < 2; ++half) {
    const int32_t chunk = part + half * 4;
    const float4 *const output = float_chunk(shared, at.output, row, chunk);
    const float4 low = output[0], high = output[1];
    *reinterpret_cast<uint4 *>(rows.first + query * rows.stride + chunk * 8) =
        make_uint4(pack2<dtype_float16>(low.x * inverse, low.y * inverse), pack2<dtype_float16>(low.z * inverse, low.w * inverse),
                   pack2<dtype_float16>(high.x * inverse, high.y * inverse), pack2<dtype_float16>(high.z * inverse, high.w * inverse));
  }
  if (params.lse.data == 0 || part != 0) return;
  const float row_max = reinterpret_cast<const float *>(shared + at.row_max)[row];
  const float log2_sum = sum == 0.0f ? -infinity : row_max * params.scale_log2 + log2_approx(sum);
  const TensorView &lse = params.lse;
  reinterpret_cast<float *>(lse.data)[work.batch * lse.stride_batch + work.head_q * lse.stride_head + query * lse.stride_row] =
      log2_sum * params.lse_factor;
}

}  // namespace flashcore::kernels::fwd_wmma_64x64

// One step, with K and V in two stages; "...." is a fetch under way in registers:
//
//   fetch K,V(n+1) ....   S = Q.K(n)^T to shared memory               barrier
//                  ....   softmax by rows: P32 over S, P16, O rescaled  barrier
//                  ....   O += P16.V(n) ; K,V(n+1) to the other stage   barrier
//
// float32 probabilities cannot enter a 16-bit tensor-core product, so they are rounded once more for it (P16); the row sums
// and everything else keep the float32 ones.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::fwd_wmma_64x64::threads)
    fwd_wmma_64x64(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::fwd_wmma_64x64;
  extern __shared__ __align__(128) unsigned char shared[];
  const SharedAddress base = shared_address(shared);
  const int32_t thread = static_cast<int32_t>(threadIdx.x), warp = thread / 32;
  const int32_t warp_row = warp / 2 * 16, warp_column = warp % 2 * 32;
  const int32_t row = thread / threads_per_row, part = thread % threads_per_row;

  const BlockWork work = block_work<tile_q, causal>(params, blockIdx.x);
  const KeyTiles tiles = key_tiles<tile_q, tile_kv, causal>(params, work.first_query);
  const HeadRows key_rows = head_rows(params.key, work.batch, work.head_kv);
  const HeadRows value_rows = head_rows(params.value, work.batch, work.head_kv);

  StagedTile key, value;
  fetch_tile(key, head_rows(params.query, work.batch, work.head_q), work.first_query, params.seqlen_q);
  if (params.negate_query != 0)
#pragma unroll
    for (uint4 &chunk : key.chunk)
      chunk = make_uint4(chunk.x ^ 0x80008000u, chunk.y ^ 0x80008000u, chunk.z ^ 0x80008000u, chunk.w ^ 0x80008000u);
  store_staged(shared, at.query, key);
  for (int32_t i = thread; i < tile_q * float_pitch; i += threads) reinterpret_cast<float *>(shared + at.output)[i] = 0.0f;
  if (thread < tile_q) {
    reinterpret_cast<float *>(shared + at.row_max)[thread] = -infinity;
    reinterpret_cast<float *>(shared + at.row_sum)[thread] = 0.0f;
  }
  // Fetch a tile to registers; put it into its stage, and tell whether a value was kept out.
  const auto fetch = [&](int32_t tile) {
    fetch_tile(key, key_rows, tile * tile_kv, params.seqlen_kv);
    fetch_tile(value, value_rows, tile * tile_kv, params.seqlen_kv);
  };
  const auto put = [&](int32_t tile) {
    const bool cleared = tile >= tiles.unmasked && clear_nonfinite_staged(value);
    store_staged(shared, at.key[tile % 2], key);
    store_staged(shared, at.value[tile % 2], value);
    return cleared;
  };
  bool cleared = false;
  if (tiles.count > 0) {
    fetch(0);
    cleared = put(0);
  }
  bool nonfinite = __syncthreads_or(cleared) != 0;
  for (int32_t tile = 0; tile < tiles.count; ++tile) {
    const bool more = tile + 1 < tiles.count;
    if (more) fetch(tile + 1);
    multiply_query_key(base, tile % 2, warp_row, warp_column);
    __syncthreads();
    const int32_t visible = visible_keys(params, work.first_query + row, tile * tile_kv);
    softmax_row(shared, row, part, visible, params.scale_log2);
    __syncthreads();
    multiply_probability_value(base, tile % 2, warp_row, warp_column);
    cleared = more && put(tile + 1);
    const bool next_nonfinite = __syncthreads_or(cleared) != 0;
    if (nonfinite) {
      add_nonfinite_row(shared, value_rows, row, part, tile * tile_kv, visible);
      __syncthreads();
    }
    nonfinite = next_nonfinite;
  }
  write_row(shared, params, work, row, part);
}
#endif
