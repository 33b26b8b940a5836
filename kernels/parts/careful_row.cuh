// SPDX-License-Identifier: Apache-2.0
//
// One row of attention by one warp, key by key from memory, without tensor cores. To those 0 * infinity is NaN, so that a value which is
// not finite spoils the rows that do not see its key as well, where both are in one tile. Here such a key is not read at all. Rare, so
// it may be slow.
#pragma once

#include "parts/block_work.cuh"
#include "parts/numeric.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"
#include "parts/rows.cuh"
#include "parts/variant.cuh"

namespace flashcore::kernels {

template <int32_t dtype, int32_t most_columns, Mask mask, typename KeyRows, typename Variant, typename OutputRows>
struct CarefulRow {
  const AttentionFwdParams &params;
  const BlockWork &work;
  int32_t query, lane;

  // q . k, changed by the variant
  __device__ __forceinline__ float score(int32_t key) const {
    const uint16_t *const q = StridedRows::of(params.query, work.batch, work.head_q).row(query);
    const uint16_t *const k = KeyRows::keys(params, work.batch, work.head_kv).row(key);
    float product = 0.0f;
#pragma unroll 1
    for (int32_t column = 0; column < params.head_dim; ++column)
      product = fmaf(to_float<dtype>(q[column]), to_float<dtype>(k[column]), product);
    if (params.negate_query != 0) product = -product;
    return varied_score<Variant>(product, {work.batch, work.head_q, query, key}, params);
  }

  // All columns, and the logarithm.
  __device__ __forceinline__ void write(float value) const {
    auto *const row = OutputRows::of(params, work.batch, work.head_q).row(query);
    for (int32_t column = lane; column < params.head_dim_v; column += 32) row[column] = OutputRows::rounded(value);
    if (lane == 0) write_lse(params, work.batch, work.head_q, query, value, 1.0f, value);
  }

  // O, and the logarithm of the row's sum.
  __device__ __forceinline__ void compute() const {
    const auto run = visibility<mask>(params).keys_of(query);
    const auto first = static_cast<int32_t>(run.begin), end = static_cast<int32_t>(run.end);
    const float scale_log2 = softmax_scale_log2<Variant>(params);
    float reference = -infinity, sum = 0.0f;
    bool spoilt = false;  // by a score that is NaN or infinite: so is all of the row then
#pragma unroll 1
    for (int32_t key = first + lane; key < end; key += 32) {
      const float one = score(key);
      spoilt |= !(one < infinity);
      reference = fmaxf(reference, one);
    }
#pragma unroll
    for (int32_t distance = 16; distance != 0; distance /= 2)
      reference = fmaxf(reference, __shfl_xor_sync(0xffffffffu, reference, distance));

    if (__any_sync(0xffffffffu, spoilt)) return write(not_a_number);

    float output[(most_columns + 31) / 32] = {};
    const auto values = KeyRows::values(params, work.batch, work.head_kv);
#pragma unroll 1
    for (int32_t key = first; key < end; key += 32) {
      const bool there = key + lane < end;
      const float probability = there ? exp2_approx((score(key + lane) - subtrahend(reference)) * scale_log2) : 0.0f;
      sum += probability;
      const float rounded = to_float<dtype>(static_cast<uint16_t>(pack2<dtype>(probability, 0.0f)));
      const int32_t count = end - key < 32 ? end - key : 32;
#pragma unroll 1
      for (int32_t i = 0; i < count; ++i) {
        const float weight = __shfl_sync(0xffffffffu, rounded, i);
        if constexpr (hides_keys<Variant>)
          if (!key_is_shown<Variant>(params, {work.batch, work.head_q, query, key + i})) continue;
        const uint16_t *const value = values.row(key + i);
#pragma unroll
        for (int32_t c = 0; c < most_columns / 32; ++c)
          if (c * 32 + lane < params.head_dim_v)
            output[c] = fmaf(weight, to_float<dtype>(value[c * 32 + lane]), output[c]);
      }
    }
#pragma unroll
    for (int32_t distance = 16; distance != 0; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);

    const auto of_row = [&] { return RowSum{reference, scale_log2, sum}; };
    const RowEnd<Variant> end_of_row(params, work.head_q, of_row);
    const float inverse = Variant::has_sinks ? end_of_row.inverse(sum) : sum == 0.0f ? 0.0f : 1.0f / sum;
    auto *const row = OutputRows::of(params, work.batch, work.head_q).row(query);
#pragma unroll
    for (int32_t c = 0; c < most_columns / 32; ++c)
      if (c * 32 + lane < params.head_dim_v) row[c * 32 + lane] = OutputRows::rounded(output[c] * inverse);
    if (lane == 0) end_of_row.write_lse(params, work.batch, work.head_q, query, of_row);
  }
};

}  // namespace flashcore::kernels
