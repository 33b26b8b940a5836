// SPDX-License-Identifier: Apache-2.0
//
// Rows of keys and values in pages, for kernels that were compiled for them: the parameters are those of one sequence (sequence.cuh), whose
// page tables are read row by row.
#pragma once

#include "attention_fwd/params.h"
#include "parts/numeric.cuh"

namespace flashcore::kernels {

struct PagedRows {
  const uint16_t *first;  // of page 0 and the head
  const int32_t *pages;   // of the sequence
  const TensorView *tensor;
  const RaggedRows *ragged;

  static __device__ __forceinline__ PagedRows keys(const AttentionFwdParams &params, int32_t, int32_t head) {
    return of(params, params.key, params.ragged.page_table, head);
  }
  static __device__ __forceinline__ PagedRows values(const AttentionFwdParams &params, int32_t, int32_t head) {
    return of(params, params.value, params.ragged.page_table_value, head);
  }
  __device__ __forceinline__ const uint16_t *row(int32_t row) const {
    return first + offset(*tensor, *ragged, pages, row);
  }
  // Nothing is looked up for a row that is not there.
  __device__ __forceinline__ const uint16_t *address(int32_t row, int32_t column, bool valid) const {
    return valid ? this->row(row) + column : first;
  }

  // Steps through rows, as rows.cuh says.
  template <int32_t rows_per_pass>
  class Descent;
  class Ascent;

 private:
  static __device__ __forceinline__ PagedRows of(const AttentionFwdParams &params, const TensorView &tensor,
                                                 uint64_t pages, int32_t head) {
    return {reinterpret_cast<const uint16_t *>(tensor.data) + head * tensor.stride_head,
            reinterpret_cast<const int32_t *>(pages), &tensor, &params.ragged};
  }
  static __device__ __forceinline__ int64_t offset(const TensorView &tensor, const RaggedRows &ragged,
                                                   const int32_t *pages, int32_t row) {
    const int32_t place = ragged.first_key_row + row, page = page_of(ragged, place);
    return page_at(pages, page, ragged.kv_batches) * tensor.stride_batch +
           (place - page * ragged.page_size) * tensor.stride_row;
  }
};

template <int32_t rows_per_pass>
class PagedRows::Descent {
 public:
  __device__ __forceinline__ Descent(const PagedRows &rows) : rows_(rows) {}
  __device__ __forceinline__ void start(const PagedRows &, int64_t row, int32_t column) {
    row_ = static_cast<int32_t>(row), column_ = column;
  }
  __device__ __forceinline__ const uint16_t *address(int32_t pass, int32_t column, bool valid) const {
    return rows_.address(row_ + pass * rows_per_pass, column_ + column, valid);
  }
  __device__ __forceinline__ void descend(int32_t passes) { row_ -= passes * rows_per_pass; }

 private:
  PagedRows rows_;
  int32_t row_, column_;
};

class PagedRows::Ascent {
 public:
  __device__ __forceinline__ void start(const PagedRows &rows, int32_t row, int32_t column) {
    first_ = rows.first + column, pages_ = rows.pages, row_ = row;
  }
  __device__ __forceinline__ const uint16_t *address(const AttentionFwdParams &params, const TensorView &tensor,
                                                     int32_t row, int32_t column, bool valid) const {
    return valid ? first_ + offset(tensor, params.ragged, pages_, row_ + row) + column : first_;
  }
  __device__ __forceinline__ void ascend(const TensorView &, int32_t rows) { row_ += rows; }

 private:
  const uint16_t *first_;
  const int32_t *pages_;
  int32_t row_;
};

}  // namespace flashcore::kernels
