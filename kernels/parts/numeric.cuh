// SPDX-License-Identifier: Apache-2.0
//
// Numbers on the device: 16-bit types by tag, what is not finite, logarithms of sums, warp reductions. No CUDA header is used, so
// that a kernel compiles from this folder and libcu++ alone.
#pragma once

#include "attention_fwd/params.h"
#include "contract/problem_key.h"
#include "parts/ptx_sm80.cuh"

namespace flashcore::kernels {

inline constexpr float infinity = __builtin_bit_cast(float, 0x7f800000u);
inline constexpr float not_a_number = __builtin_bit_cast(float, 0x7fffffffu);

// What is subtracted from the scores of a row whose largest is `reference`. A row that has seen no key yet, or none above -infinity, keeps
// -infinity; subtracting that would give NaN, and 0 makes every probability and weight 2^-infinity = 0.
__device__ __forceinline__ float subtrahend(float reference) { return reference == -infinity ? 0.0f : reference; }

// Of an array of floats: 0, or NaN where one of them is not finite.
template <typename Floats>
__device__ __forceinline__ float zero_if_finite(const Floats &floats) {
  const float *const first = reinterpret_cast<const float *>(&floats);
  float zero = 0.0f;
#pragma unroll
  for (uint32_t i = 0; i < sizeof(Floats) / sizeof(float); ++i) zero = fmaf(first[i], 0.0f, zero);
  return zero;
}

// Exponent bits of both halves of a register: all set means infinity or NaN.
template <int32_t dtype>
inline constexpr uint32_t exponent_mask2 = dtype == dtype_float16 ? 0x7c007c00u : 0x7f807f80u;
// 0xffff in each half that holds an infinity or a NaN.
template <int32_t dtype>
__device__ __forceinline__ uint32_t nonfinite_halves(uint32_t packed) {
  return __vcmpeq2(packed & exponent_mask2<dtype>, exponent_mask2<dtype>);
}

// Zero the infinities and NaN among eight elements; say whether there were any.
template <int32_t dtype>
__device__ __forceinline__ bool clear_nonfinite_chunk(uint4 &chunk) {
  const uint4 bad = make_uint4(nonfinite_halves<dtype>(chunk.x), nonfinite_halves<dtype>(chunk.y),
                               nonfinite_halves<dtype>(chunk.z), nonfinite_halves<dtype>(chunk.w));
  chunk = make_uint4(chunk.x & ~bad.x, chunk.y & ~bad.y, chunk.z & ~bad.z, chunk.w & ~bad.w);
  return (bad.x | bad.y | bad.z | bad.w) != 0;
}

// The logarithm of a row's sum of exponentials, which is sum * 2^(reference * scale_log2). No key seen: -infinity. The
// factors are joined first: a score may be as large as a float32 is, and its logarithm to base 2 not.
__device__ __forceinline__ void write_lse(const AttentionFwdParams &params, int32_t batch, int32_t head_q,
                                          int32_t query, float reference, float scale_log2, float sum) {
  const TensorView &lse = params.lse;
  if (lse.data == 0) return;
  reinterpret_cast<float *>(lse.data)[batch * lse.stride_batch + head_q * lse.stride_head + query * lse.stride_row] =
      sum == 0.0f ? -infinity : fmaf(reference, scale_log2 * params.lse_factor, log2_approx(sum) * params.lse_factor);
}

// Over the four lanes that share a row of an mma accumulator.
__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

}  // namespace flashcore::kernels
