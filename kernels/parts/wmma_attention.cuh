// SPDX-License-Identifier: Apache-2.0
//
// The steps that all WMMA rungs share, over the buffers of WmmaLayout: S = Q.K^T, softmax by rows, O += P.V, and the way
// out. How K and V get to shared memory is what the rungs differ in.
#pragma once

#include "attention_fwd/params.h"
#include "attention_fwd/wmma_layout.h"
#include "parts/block_work.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"
#include "parts/variant.cuh"
#include "parts/wmma.cuh"

namespace flashcore::kernels {

template <WmmaTile tile, int32_t dtype, typename Variant>
struct WmmaAttention {
  static constexpr WmmaLayout at = wmma_layout(tile);
  static constexpr int32_t threads = tile.threads();
  // Row-wise work: four threads a row; thread `part` has the chunks of eight columns part, part + 4, ... Neighbouring lanes
  // then touch neighbouring 32-byte pieces, and a row's successor lies four banks further: no conflicts.
  static constexpr int32_t threads_per_row = threads / tile.tile_q;
  static constexpr int32_t score_chunks = tile.tile_kv / 32, output_chunks = tile.head_dim / 32;  // per thread
  static_assert(threads_per_row == 4 && tile.tile_kv % 32 == 0 && tile.head_dim % 32 == 0);

  unsigned char *shared;
  SharedAddress base;
  int32_t warp_row, warp_column;  // of this warp in units of one: row of the tile, 0 or 1
  int32_t row, part;              // of this thread

  __device__ __forceinline__ explicit WmmaAttention(unsigned char *memory)
      : shared(memory), base(shared_address(memory)) {
    const int32_t thread = static_cast<int32_t>(threadIdx.x), warp = thread / 32;
    warp_row = warp / 2 * 16;
    warp_column = warp % 2;
    row = thread / threads_per_row;
    part = thread % threads_per_row;
  }

  __device__ __forceinline__ float *floats(int32_t buffer) const { return reinterpret_cast<float *>(shared + buffer); }

  // O = 0, and no key seen yet.
  __device__ __forceinline__ void reset() const {
    for (int32_t i = static_cast<int32_t>(threadIdx.x); i < tile.tile_q * tile.output_pitch(); i += threads)
      floats(at.output)[i] = 0.0f;
    if (part == 0) {
      floats(at.row_max)[row] = -infinity;
      floats(at.row_sum)[row] = 0.0f;
    }
  }

  // scores = Q . K^T: each warp 16 queries by half the keys.
  __device__ __forceinline__ void multiply_query_key(int32_t key_buffer) const {
    constexpr int32_t fragments = tile.tile_kv / 32;
    WmmaAccumulator scores[fragments] = {};
    const int32_t column = warp_column * (tile.tile_kv / 2);
#pragma unroll
    for (int32_t step = 0; step < tile.head_dim / 16; ++step) {
      WmmaOperand<dtype> query;
      wmma_load_a(query, base + at.query + (warp_row * tile.half_pitch() + step * 16) * 2, tile.half_pitch());
#pragma unroll
      for (int32_t j = 0; j < fragments; ++j) {
        WmmaOperand<dtype> key;
        wmma_load_b_transposed(key, base + key_buffer + ((column + j * 16) * tile.half_pitch() + step * 16) * 2,
                               tile.half_pitch());
        wmma_multiply<true>(scores[j], query, key);
      }
    }
#pragma unroll
    for (int32_t j = 0; j < fragments; ++j)
      wmma_store_c(base + at.scores + (warp_row * tile.score_pitch() + column + j * 16) * 4, scores[j],
                   tile.score_pitch());
  }

  // output += P . V: each warp 16 queries by half the columns, accumulated where O lies.
  __device__ __forceinline__ void multiply_probability_value(int32_t value_buffer) const {
    constexpr int32_t fragments = tile.head_dim / 32;
    WmmaAccumulator output[fragments];
    const int32_t column = warp_column * (tile.head_dim / 2);
#pragma unroll
    for (int32_t j = 0; j < fragments; ++j)
      wmma_load_c(output[j], base + at.output + (warp_row * tile.output_pitch() + column + j * 16) * 4,
                  tile.output_pitch());
#pragma unroll
    for (int32_t step = 0; step < tile.tile_kv / 16; ++step) {
      WmmaOperand<dtype> probability;
      wmma_load_a(probability, base + at.probability16 + (warp_row * tile.probability_pitch() + step * 16) * 2,
                  tile.probability_pitch());
#pragma unroll
      for (int32_t j = 0; j < fragments; ++j) {
        WmmaOperand<dtype> value;
        wmma_load_b(value, base + value_buffer + (step * 16 * tile.half_pitch() + column + j * 16) * 2,
                    tile.half_pitch());
        wmma_multiply<false>(output[j], probability, value);
      }
    }
#pragma unroll
    for (int32_t j = 0; j < fragments; ++j)
      wmma_store_c(base + at.output + (warp_row * tile.output_pitch() + column + j * 16) * 4, output[j],
                   tile.output_pitch());
  }

  // The keys of the tile that this thread's row sees, counted from first_key.
  template <Mask mask>
  __device__ __forceinline__ KeyRun<mask, int32_t> visible_keys(const AttentionFwdParams &params, int32_t first_query,
                                                                int32_t first_key) const {
    return visibility<mask>(params).run_within(int64_t{first_query} + row, first_key, tile.tile_kv);
  }

  // Online softmax of one row by four threads: variant, mask, row maximum, probabilities (float32 over the scores, 16 bits for the
  // tensor cores), and O moved to the new maximum. Masked by selection: a masked NaN is gone.
  template <Mask mask>
  __device__ __forceinline__ void softmax_row(const AttentionFwdParams &params, const BlockWork &work,
                                              int32_t first_key, const KeyRun<mask, int32_t> &visible) const {
    const float scale_log2 = softmax_scale_log2<Variant>(params);
    const int32_t query = work.first_query + row;
    float score[score_chunks * 8];
    float tile_max = -infinity;
#pragma unroll
    for (int32_t i = 0; i < score_chunks; ++i)
#pragma unroll
      for (int32_t c = 0; c < 8; c += 4) {
        const int32_t column = (part + i * 4) * 8 + c;
        const float4 four = *reinterpret_cast<const float4 *>(floats(at.scores) + row * tile.score_pitch() + column);
        const float values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int32_t k = 0; k < 4; ++k) {
          const ScorePlace place = {work.batch, work.head_q, query, first_key + column + k};
          const float varied = varied_score<Variant>(values[k], place, params);
          score[i * 8 + c + k] = visible.sees(column + k) ? varied : -infinity;
          tile_max = fmaxf(tile_max, score[i * 8 + c + k]);
        }
      }
    const float old_max = floats(at.row_max)[row], old_sum = floats(at.row_sum)[row];
    const float new_max = fmaxf(old_max, quad_max(tile_max));
    // A row that has seen no key yet keeps -infinity; subtracting it would give NaN. Scaled after the subtraction, so that
    // scores of any size may be equal.
    const float subtrahend = new_max == -infinity ? 0.0f : new_max;
    const float rescale = exp2_approx((old_max - subtrahend) * scale_log2);
    float sum = 0.0f;
#pragma unroll
    for (float &value : score) {
      value = exp2_approx((value - subtrahend) * scale_log2);
      sum += value;
    }
    sum = quad_sum(sum);
    __syncwarp();  // all four threads have read the old maximum and sum
    if (part == 0) {
      floats(at.row_max)[row] = new_max;
      floats(at.row_sum)[row] = old_sum * rescale + sum;
    }
#pragma unroll
    for (int32_t i = 0; i < score_chunks; ++i) {
      const int32_t column = (part + i * 4) * 8;
      const float *p = score + i * 8;
      float4 *const probability = reinterpret_cast<float4 *>(floats(at.scores) + row * tile.score_pitch() + column);
      probability[0] = make_float4(p[0], p[1], p[2], p[3]);
      probability[1] = make_float4(p[4], p[5], p[6], p[7]);
      *reinterpret_cast<uint4 *>(shared + at.probability16 + (row * tile.probability_pitch() + column) * 2) =
          make_uint4(pack2<dtype>(p[0], p[1]), pack2<dtype>(p[2], p[3]), pack2<dtype>(p[4], p[5]),
                     pack2<dtype>(p[6], p[7]));
    }
#pragma unroll
    for (int32_t i = 0; i < output_chunks * 2; ++i) {
      float4 *const output = output_quarter(i);
      const float4 o = *output;
      *output = make_float4(o.x * rescale, o.y * rescale, o.z * rescale, o.w * rescale);
    }
  }

  // The infinities and NaN that were kept from the tensor cores (0 * NaN would reach queries that do not see the key), for
  // the queries that do: from memory, one by one. Rare. A probability above 0 says that the key is seen.
  template <Mask mask, typename KeyRows>
  __device__ __forceinline__ void add_nonfinite_row(const KeyRows &values, int32_t first_key,
                                                    const KeyRun<mask, int32_t> &visible) const {
#pragma unroll 1
    for (int32_t key = visible.begin; key < visible.end; ++key) {
      const float probability = floats(at.scores)[row * tile.score_pitch() + key];
      if (!(probability > 0.0f)) continue;
#pragma unroll 1
      for (int32_t i = 0; i < output_chunks * 8; ++i) {
        const int32_t column = (part + i / 8 * 4) * 8 + i % 8;
        const uint16_t bits = values.row(first_key + key)[column];
        if (nonfinite_halves<dtype>(bits) == 0) continue;
        floats(at.output)[row * tile.output_pitch() + column] += probability * to_float<dtype>(bits);
      }
    }
  }

  __device__ __forceinline__ void write_row(const AttentionFwdParams &params, const BlockWork &work) const {
    const int32_t query = work.first_query + row;
    if (query >= params.seqlen_q) return;
    const float sum = floats(at.row_sum)[row];
    const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum;  // no key seen: O = 0
    const auto rows = StridedRows::of(params.output, work.batch, work.head_q);
#pragma unroll
    for (int32_t i = 0; i < output_chunks; ++i) {
      const float4 low = *output_quarter(2 * i), high = *output_quarter(2 * i + 1);
      *reinterpret_cast<uint4 *>(rows.row(query) + (part + i * 4) * 8) = make_uint4(
          pack2<dtype>(low.x * inverse, low.y * inverse), pack2<dtype>(low.z * inverse, low.w * inverse),
          pack2<dtype>(high.x * inverse, high.y * inverse), pack2<dtype>(high.z * inverse, high.w * inverse));
    }
    if (part == 0)
      write_lse(params, work.batch, work.head_q, query, floats(at.row_max)[row], softmax_scale_log2<Variant>(params),
                sum);
  }

 private:
  // This thread's i-th four columns of O: two per chunk.
  __device__ __forceinline__ float4 *output_quarter(int32_t i) const {
    return reinterpret_cast<float4 *>(floats(at.output) + row * tile.output_pitch() + (part + i / 2 * 4) * 8 +
                                      i % 2 * 4);
  }
};

// A tile on its way from global to shared memory through registers: two chunks of eight elements per thread and 64 rows.
template <int32_t rows_per_tile, int32_t columns, int32_t threads, int32_t dtype>
struct StagedTile {
  static constexpr int32_t chunks = columns / 8, rows_per_pass = threads / chunks,
                           passes = rows_per_tile / rows_per_pass;
  static_assert(rows_per_tile % rows_per_pass == 0);
  uint4 chunk[passes];

  template <typename HeadRows>
  __device__ __forceinline__ void fetch(const HeadRows &rows, int32_t first_row, int32_t row_end) {
#pragma unroll
    for (int32_t i = 0; i < passes; ++i) {
      const int32_t row = first_row + static_cast<int32_t>(threadIdx.x) / chunks + i * rows_per_pass;
      chunk[i] = make_uint4(0, 0, 0, 0);
      if (row < row_end)
        chunk[i] = *reinterpret_cast<const uint4 *>(rows.row(row) + static_cast<int32_t>(threadIdx.x) % chunks * 8);
    }
  }
  __device__ __forceinline__ void store(unsigned char *buffer, int32_t pitch) const {
#pragma unroll
    for (int32_t i = 0; i < passes; ++i) {
      const int32_t row = static_cast<int32_t>(threadIdx.x) / chunks + i * rows_per_pass;
      *reinterpret_cast<uint4 *>(buffer + (row * pitch + static_cast<int32_t>(threadIdx.x) % chunks * 8) * 2) =
          chunk[i];
    }
  }
  // A negative softmax scale turns the largest score into the smallest; the queries change sign instead.
  __device__ __forceinline__ void negate() {
#pragma unroll
    for (uint4 &c : chunk) c = make_uint4(c.x ^ 0x80008000u, c.y ^ 0x80008000u, c.z ^ 0x80008000u, c.w ^ 0x80008000u);
  }
  // Zero infinities and NaN; say whether there were any.
  __device__ __forceinline__ bool clear_nonfinite() {
    bool any = false;
#pragma unroll
    for (uint4 &c : chunk) any |= clear_nonfinite_chunk<dtype>(c);
    return any;
  }
};

}  // namespace flashcore::kernels
