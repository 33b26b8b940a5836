// SPDX-License-Identifier: Apache-2.0
//
// A tile of query rows of which several warps or blocks saw some of the keys each: what each of them leaves in shared memory
// (O, the reference and the sum of every row), and how these become one.
#pragma once

#include "parts/numeric.cuh"

namespace flashcore::kernels {

template <int32_t tile_q, int32_t head_dim_v>
struct PartialRows {
  static constexpr int32_t pitch = head_dim_v + 4, floats = tile_q * (pitch + 2);
  static __device__ __forceinline__ int32_t reference_at(int32_t row) { return tile_q * pitch + row; }
  static __device__ __forceinline__ int32_t sum_at(int32_t row) { return tile_q * (pitch + 1) + row; }

  struct Merged {
    float4 output;
    float reference, sum;
  };

  // Four columns of a row over `count` partial results; float_of(i, at) and columns_of(i, at) read from the i-th.
  template <int32_t count, typename Floats, typename Columns>
  static __device__ __forceinline__ Merged merge(int32_t row, int32_t column, float scale_log2, Floats float_of,
                                                 Columns columns_of) {
    float references[count];
    Merged merged{make_float4(0, 0, 0, 0), -infinity, 0.0f};
#pragma unroll
    for (int32_t i = 0; i < count; ++i) {
      references[i] = float_of(i, reference_at(row));
      merged.reference = fmaxf(merged.reference, references[i]);
    }
#pragma unroll
    for (int32_t i = 0; i < count; ++i) {
      const float weight = exp2_approx((references[i] - subtrahend(merged.reference)) * scale_log2);
      const float4 part = columns_of(i, row * pitch + column);
      merged.sum = fmaf(float_of(i, sum_at(row)), weight, merged.sum);
      merged.output = make_float4(fmaf(part.x, weight, merged.output.x), fmaf(part.y, weight, merged.output.y),
                                  fmaf(part.z, weight, merged.output.z), fmaf(part.w, weight, merged.output.w));
    }
    return merged;
  }
};

}  // namespace flashcore::kernels
