// SPDX-License-Identifier: Apache-2.0
//
// What happens to a call's tensors ahead of attention: new rows are appended to the sequences of a cache, and queries and new keys are
// rotated. Where a new row goes and which positions there are, for the kernel and for the CPU device; the references of tests have
// definitions of their own. Whatever the arrays say, no place outside of the tensors comes out.
#pragma once

#include "contract/sequence.h"

namespace flashcore::kernels {

// The rows that a sequence has in the cache.
struct CacheRows {
  int32_t entry;  // of key and value; -1: it is not there, and nothing is written. Of pages the sequence's own number
  int32_t first_row;  // where its rows begin there
  int32_t room;       // rows that it may have
  int32_t used;       // that it has before the call, left padding among them
};

inline CacheRows cache_rows_of(const RaggedRows &rows, int32_t seqlen_new, int32_t batch) {
  RowsOfSequence room = {0, rows.most_keys};
  if (rows.cu_seqlens_kv != 0)
    room = rows_between(rows.cu_seqlens_kv, batch, rows.index_bytes, rows.total_kv, rows.most_keys);
  int64_t used = int64_t{room.count} - seqlen_new;  // without lengths the last rows are the new ones
  if (rows.seqused_kv != 0) used = index_at(rows.seqused_kv, batch, rows.index_bytes);
  int64_t entry = rows.cu_seqlens_kv != 0 ? 0 : batch;
  if (rows.kv_batch_index != 0) {
    entry = index_at(rows.kv_batch_index, batch, rows.index_bytes);
    if (entry < 0 || entry >= rows.kv_batches) entry = -1;
  }
  return {static_cast<int32_t>(entry), room.first, room.count,
          static_cast<int32_t>(used < 0            ? 0
                               : used > room.count ? room.count
                                                   : used)};
}

// Rows that the sequence has after the call: what there is no room for is left out.
constexpr int32_t kept_rows(const CacheRows &cache, int32_t seqlen_new) {
  return seqlen_new < cache.room - cache.used ? cache.used + seqlen_new : cache.room;
}

inline constexpr int64_t nowhere = -1;
// Where a new row of the sequence goes, in elements behind a tensor's first one; `table`: that of the tensor's pages.
inline int64_t place_of_new_row(const RaggedRows &rows, const CacheRows &cache, int32_t batch, int32_t new_row,
                                const TensorView &tensor, uint64_t table) {
  if (new_row >= cache.room - cache.used || cache.entry < 0) return nowhere;
  const int32_t row = cache.first_row + cache.used + new_row;
  if (rows.page_size == 0) return cache.entry * tensor.stride_batch + row * tensor.stride_row;
  const int32_t column = page_of(rows, row);
  const int32_t page = reinterpret_cast<const int32_t *>(table)[batch * rows.page_table_stride + column];
  if (page < 0 || page >= rows.kv_batches) return nowhere;
  return page * tensor.stride_batch + (row - column * rows.page_size) * tensor.stride_row;
}

// The first position of the sequence's new keys and of its queries. positions: of the sequence's own; 0: they follow the rows in use.
inline int64_t first_position(const CacheRows &cache, uint64_t positions, int32_t batch, int32_t index_bytes) {
  return positions == 0 ? cache.used : index_at(positions, batch, index_bytes);
}
// The row of the tables for the position so many behind the first; held to those that there are.
constexpr int32_t table_row_of(int64_t first, int32_t behind, int32_t table_rows) {
  if (first < -int64_t{behind}) return 0;
  return first < int64_t{table_rows} - behind ? static_cast<int32_t>(first + behind) : table_rows - 1;
}

// Of a row of rotary_dim columns: which one each is rotated with, and by the angle of which column of the tables.
struct RotatedPair {
  int32_t other, angle;
  bool is_first;  // of the two: x * cos - y * sin, else y * cos + x * sin
};
constexpr RotatedPair rotated_pair(int32_t column, int32_t rotary_dim, bool interleaved) {
  const int32_t half = rotary_dim / 2;
  if (interleaved) return {column ^ 1, column / 2, column % 2 == 0};
  return column < half ? RotatedPair{column + half, column, true} : RotatedPair{column - half, column - half, false};
}

}  // namespace flashcore::kernels
