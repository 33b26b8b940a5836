// SPDX-License-Identifier: Apache-2.0
//
// How the rows of O of one batch entry and head are reached and written: rounded to the type of the inputs, or in float32, as results over parts
// of the keys are wanted that will be merged.
#pragma once

#include "attention_fwd/params.h"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"

namespace flashcore::kernels {

template <int32_t dtype, bool in_float32>
struct RowsOfOutput {
  using Element = OneOf<in_float32, float, uint16_t>;
  Element *first;
  int64_t stride;  // elements between rows

  static __device__ __forceinline__ RowsOfOutput of(const AttentionFwdParams &params, int32_t batch, int32_t head) {
    const TensorView &tensor = params.output;
    return {reinterpret_cast<Element *>(tensor.data) + batch * tensor.stride_batch + head * tensor.stride_head,
            tensor.stride_row};
  }
  __device__ __forceinline__ Element *row(int32_t row) const { return first + row * stride; }

  static __device__ __forceinline__ Element rounded(float value) {
    if constexpr (in_float32)
      return value;
    else
      return static_cast<uint16_t>(pack2<dtype>(value, 0.0f));
  }
  // Two neighbouring columns, at an even one.
  template <int32_t alignment_bytes>
  static __device__ __forceinline__ void store_2(Element *place, float left, float right) {
    if constexpr (in_float32) {
      if constexpr (alignment_bytes == 16)
        *reinterpret_cast<float2 *>(place) = make_float2(left, right);
      else
        place[0] = left, place[1] = right;
    } else {
      const uint32_t pair = pack2<dtype>(left, right);
      if constexpr (alignment_bytes == 16)
        *reinterpret_cast<uint32_t *>(place) = pair;
      else
        place[0] = static_cast<uint16_t>(pair), place[1] = static_cast<uint16_t>(pair >> 16);
    }
  }
  // Four or eight neighbouring columns of a row, whose first one is at a multiple of 16 bytes of 16-bit elements.
  template <int32_t alignment_bytes = 16>
  __device__ __forceinline__ void store_4(int32_t query, int32_t column, float a, float b, float c, float d) const {
    if constexpr (alignment_bytes < 16)
      store_2<alignment_bytes>(row(query) + column, a, b), store_2<alignment_bytes>(row(query) + column + 2, c, d);
    else if constexpr (in_float32)
      *reinterpret_cast<float4 *>(row(query) + column) = make_float4(a, b, c, d);
    else
      *reinterpret_cast<uint2 *>(row(query) + column) = make_uint2(pack2<dtype>(a, b), pack2<dtype>(c, d));
  }
  // value(i): of the i-th
  template <typename Value>
  __device__ __forceinline__ void store_8(int32_t query, int32_t column, Value value) const {
    if constexpr (in_float32) {
      store_4(query, column, value(0), value(1), value(2), value(3));
      store_4(query, column + 4, value(4), value(5), value(6), value(7));
    } else {
      *reinterpret_cast<uint4 *>(row(query) + column) =
          make_uint4(pack2<dtype>(value(0), value(1)), pack2<dtype>(value(2), value(3)),
                     pack2<dtype>(value(4), value(5)), pack2<dtype>(value(6), value(7)));
    }
  }

  // A row of `count` C fragments of mma.sync, from first_column on: value(n, c) of lane t is column 8n + 2t + c. By all lanes of a quad; rows
  // that are not `valid` are not stored, nor are columns from column_end on.
  template <int32_t alignment_bytes, int32_t count, typename Value>
  __device__ __forceinline__ void store_fragments(int32_t query, int32_t first_column, Value value,
                                                  int32_t lane_in_quad, bool valid, int32_t column_end) const {
    Element *const place = row(query) + first_column;
    if constexpr (in_float32) {
#pragma unroll
      for (int32_t n = 0; n < count; ++n) {
        if (!valid || first_column + n * 8 >= column_end) continue;
        float *const pair = place + n * 8 + lane_in_quad * 2;
        if constexpr (alignment_bytes == 16)
          *reinterpret_cast<float2 *>(pair) = make_float2(value(n, 0), value(n, 1));
        else
          pair[0] = value(n, 0), pair[1] = value(n, 1);
      }
    } else {
      uint32_t words[count];
#pragma unroll
      for (int32_t n = 0; n < count; ++n) words[n] = pack2<dtype>(value(n, 0), value(n, 1));
      store_row<alignment_bytes>(place, words, lane_in_quad, valid, column_end - first_column);
    }
  }
};

}  // namespace flashcore::kernels
