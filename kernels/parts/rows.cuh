// SPDX-License-Identifier: Apache-2.0
//
// How the rows of one batch entry and head of a tensor are reached. Each kernel names how those of K and V are in its line
// `using KeyRows = ...;`; Q and O are reached by strides. What stands there has keys(), values(), row() and address(), and two ways to go
// through rows step by step: Descent and Ascent, as StridedRows has them. Rows past the end of the sequence are never asked for as valid
// ones.
#pragma once

#include "attention_fwd/params.h"
#include "parts/numeric.cuh"

namespace flashcore::kernels {

// Dense tensors: a row follows the one before at a fixed distance.
struct StridedRows {
  uint16_t *first;  // of 16-bit elements
  int64_t stride;   // elements between rows

  static __device__ __forceinline__ StridedRows of(const TensorView &tensor, int32_t batch, int32_t head) {
    return {reinterpret_cast<uint16_t *>(tensor.data) + batch * tensor.stride_batch + head * tensor.stride_head,
            tensor.stride_row};
  }
  static __device__ __forceinline__ StridedRows keys(const AttentionFwdParams &params, int32_t batch, int32_t head) {
    return of(params.key, batch, head);
  }
  static __device__ __forceinline__ StridedRows values(const AttentionFwdParams &params, int32_t batch, int32_t head) {
    return of(params.value, batch, head);
  }
  __device__ __forceinline__ uint16_t *row(int32_t row) const { return first + row * stride; }
  // Of an element, or where `valid` is false of any that is there: never read, but a legal address.
  __device__ __forceinline__ const uint16_t *address(int32_t row, int32_t column, bool valid) const {
    return first + (valid ? row * stride + column : 0);
  }

  // One column of every rows_per_pass-th row, downwards: what a loop needs for it stays in registers.
  template <int32_t rows_per_pass>
  class Descent {
   public:
    __device__ __forceinline__ Descent(const StridedRows &rows)
        : pass_stride_(computed_here(rows.stride * rows_per_pass)) {}
    __device__ __forceinline__ void start(const StridedRows &rows, int64_t row, int32_t column) {
      source_ = rows.first + row * rows.stride + column;
    }
    // Where `valid` is false, the row is not there and the address is not read.
    __device__ __forceinline__ const uint16_t *address(int32_t pass, int32_t column, bool /*valid*/) const {
      return source_ + pass * pass_stride_ + column;
    }
    __device__ __forceinline__ void descend(int32_t passes) { source_ -= passes * pass_stride_; }

   private:
    const uint16_t *source_;
    int64_t pass_stride_;
  };

  // One column of the rows behind a row, upwards: a pointer, and the rest is read from the tensor at each step. A lane's rows are counted from
  // one of its own, lane_row behind the step's first. Each ascend() comes a while after a look_up(), which says by how much.
  template <bool of_values>
  class Ascent {
   public:
    __device__ __forceinline__ void start(const AttentionFwdParams &params, int32_t batch, int32_t head,
                                          int32_t step_row, int32_t lane_row, int32_t column) {
      const StridedRows rows = of(tensor(params), batch, head);
      place_ = rows.first + (step_row + lane_row) * rows.stride + column;
    }
    struct Step {
      const uint16_t *place;
      int64_t stride;
      __device__ __forceinline__ const uint16_t *row(int32_t row) const { return place + row * stride; }
    };
    __device__ __forceinline__ Step step(const AttentionFwdParams &params, int32_t /*lane_row*/,
                                         int32_t /*column*/) const {
      return {place_, tensor(params).stride_row};
    }
    __device__ __forceinline__ void look_up(const AttentionFwdParams &, int32_t) {}
    __device__ __forceinline__ void ascend(const AttentionFwdParams &params, int32_t rows) {
      place_ += rows * tensor(params).stride_row;
    }

   private:
    static __device__ __forceinline__ const TensorView &tensor(const AttentionFwdParams &params) {
      return of_values ? params.value : params.key;
    }

    const uint16_t *place_;
  };
};

}  // namespace flashcore::kernels
