// SPDX-License-Identifier: Apache-2.0
//
// What a row's sums become when all of its keys are in them.
#pragma once

#include "parts/numeric.cuh"
#include "parts/variant.cuh"

namespace flashcore::kernels {

// A row's keys, in units of 2^(reference * scale_log2).
struct RowSum {
  float reference, scale_log2, sum;
};

// The row's sink, a logit of its head without a value, joins the denominator and the logarithm, also of a row that saw no key. The larger of
// reference and sink becomes the reference, so that neither may be too large. Without sinks nothing is kept here, and the row is asked for
// where it is used: another order of loads has whole kernels scheduled anew.
template <typename Variant>
class RowEnd {
 public:
  template <typename Row>
  __device__ __forceinline__ RowEnd(const AttentionFwdParams &params, int32_t head_q, const Row &row) {
    if constexpr (Variant::has_sinks) {
      row_ = row();
      add(reinterpret_cast<const float *>(params.sinks.data)[head_q * params.sinks.stride_head]);
    }
  }
  // What O is multiplied by. No key seen: 0.
  __device__ __forceinline__ float inverse(float sum) const {
    if constexpr (Variant::has_sinks) return row_.sum == 0.0f ? 0.0f : reciprocal_approx(row_.sum) * weight_;
    return sum == 0.0f ? 0.0f : reciprocal_approx(sum);
  }
  template <typename Row>
  __device__ __forceinline__ void write_lse(const AttentionFwdParams &params, int32_t batch, int32_t head_q,
                                            int32_t query, const Row &row) const {
    const RowSum end = Variant::has_sinks ? row_ : row();
    kernels::write_lse(params, batch, head_q, query, end.reference, end.scale_log2, end.sum);
  }

 private:
  __device__ __forceinline__ void add(float sink) {
    if (sink == -infinity) return;
    constexpr float log2_of_e = 1.44269504088896340736f;
    const float ahead = fmaf(row_.reference, row_.scale_log2, -(sink * log2_of_e));
    if (ahead >= 0.0f) {
      row_.sum += exp2_approx(-ahead);
    } else {  // no key seen: the reference is -infinity, and so is `ahead`
      weight_ = exp2_approx(ahead);
      row_ = {sink, log2_of_e, fmaf(row_.sum, weight_, 1.0f)};
    }
  }

  RowSum row_;
  float weight_ = 1.0f;
};

}  // namespace flashcore::kernels
