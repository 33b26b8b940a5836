// SPDX-License-Identifier: Apache-2.0
//
// Rows that a table names, beside StridedRows (parts/rows.cuh): row j of the sequence is row table[j] of a pool. The table is int32 and lies
// where the tensor's batch stride says, so that the kernels' parameters stay what they are.
#pragma once

#include "parts/rows.cuh"

namespace flashcore::kernels {

struct TableRows {
  uint16_t *pool;
  int64_t stride;
  const int32_t *table;

  static __device__ __forceinline__ TableRows keys(const AttentionFwdParams &params, int32_t, int32_t head) {
    return of(params.key, head);
  }
  static __device__ __forceinline__ TableRows values(const AttentionFwdParams &params, int32_t, int32_t head) {
    return of(params.value, head);
  }
  static __device__ __forceinline__ TableRows of(const TensorView &tensor, int32_t head) {
    return {reinterpret_cast<uint16_t *>(tensor.data) + head * tensor.stride_head, tensor.stride_row,
            reinterpret_cast<const int32_t *>(tensor.stride_batch)};
  }
  __device__ __forceinline__ uint16_t *row(int32_t row) const { return pool + table[row] * stride; }
  // Nothing is looked up for a row that is not there.
  __device__ __forceinline__ const uint16_t *address(int32_t row, int32_t column, bool valid) const {
    return valid ? this->row(row) + column : pool;
  }

  template <int32_t rows_per_pass>
  class Descent;
};

template <int32_t rows_per_pass>
class TableRows::Descent {
 public:
  __device__ __forceinline__ Descent(const TableRows &rows) : rows_(rows) {}
  __device__ __forceinline__ void start(const TableRows &, int64_t row, int32_t column) {
    row_ = static_cast<int32_t>(row), column_ = column;
  }
  __device__ __forceinline__ const uint16_t *address(int32_t pass, int32_t column, bool valid) const {
    return rows_.address(row_ + pass * rows_per_pass, column_ + column, valid);
  }
  __device__ __forceinline__ void descend(int32_t passes) { row_ -= passes * rows_per_pass; }

 private:
  TableRows rows_;
  int32_t row_, column_;
};

}  // namespace flashcore::kernels
