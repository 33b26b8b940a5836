// SPDX-License-Identifier: Apache-2.0
//
// Ragged batches: how many rows each sequence has and where they are, as arrays on the device say it. Kernels and the CPU device ask here; the
// references of tests have definitions of their own. Whatever the arrays say, no row outside of the tensors comes out.
#pragma once

#include "contract/attention_call.h"
#include "contract/visibility.h"

namespace flashcore::kernels {

// What is read by modules for ragged or paged rows alone. Arrays are those of flashcore_attention_args; 0: absent.
struct RaggedRows {
  uint64_t cu_seqlens_q, cu_seqlens_kv, seqused_q, seqused_kv, leftpad_kv, kv_batch_index;
  uint64_t page_table, page_table_value;  // int32; without the second the first is for both
  int64_t page_table_stride;              // elements between sequences
  MaskRule mask;
  int32_t most_queries, most_keys;  // that a sequence may have
  int32_t total_q, total_kv;        // rows of tensors in which sequences follow one another
  int32_t kv_batches;               // entries of key and value, or pages
  int32_t index_bytes;              // of the arrays' numbers: 4 or 8
  int32_t page_size;
  int32_t page_shift;
  uint32_t page_reciprocal;  // with page_shift: quotients of rows by page_size (page_of)
  int32_t first_key_row;     // of the sequence, among the rows that its pages hold
};

// A sequence of the batch.
struct Sequence {
  int32_t queries, keys;
  int32_t query_batch, first_query_row;  // the entry of query, output and lse, and its row where the sequence begins
  int32_t key_batch, first_key_row;      // of key and value; the row is counted through the pages where there are some
};

inline int64_t index_at(uint64_t array, int64_t i, int32_t index_bytes) {
  return index_bytes == 8 ? reinterpret_cast<const int64_t *>(array)[i] : reinterpret_cast<const int32_t *>(array)[i];
}

// Where sequences follow one another, sequence b has the places cu[b] / tile + b .. cu[b+1] / tile + b of the grid for its tiles: as many as it
// has tiles, or one more, which stays empty. So a place is found by search, and nobody has to add up lengths.
constexpr int64_t places_of_tiles(int64_t total_rows, int64_t sequences, int32_t tile) {
  return total_rows / tile + sequences;
}

// row / page_size: exact for rows below 2^31, by a product (Granlund and Montgomery, "Division by invariant integers").
constexpr int32_t shift_of_page(int32_t page_size) {
  int32_t shift = 0;
  while ((int64_t{1} << shift) < page_size) ++shift;
  return shift;
}
constexpr uint32_t reciprocal_of_page(int32_t page_size) {
  if (page_size == 0) return 0;
  const int32_t shift = shift_of_page(page_size);
  return static_cast<uint32_t>(((uint64_t{1} << 31 << shift) + static_cast<uint64_t>(page_size) - 1) /
                               static_cast<uint64_t>(page_size));
}
constexpr RaggedRows ragged_rows_of(const ProblemKey &key, const AttentionCall &call) {
  const auto address = [&](AttentionOperand operand) { return call.operands[operand].data; };
  const TensorView &pages = call.operands[operand_page_table];  // of one row's stride for both tables
  return {
      .cu_seqlens_q = address(operand_cu_seqlens_q),
      .cu_seqlens_kv = address(operand_cu_seqlens_kv),
      .seqused_q = address(operand_seqused_q),
      .seqused_kv = address(operand_seqused_kv),
      .leftpad_kv = address(operand_leftpad_kv),
      .kv_batch_index = address(operand_kv_batch_index),
      .page_table = pages.data,
      .page_table_value = address(operand_page_table_value),
      .page_table_stride = pages.stride_row,
      .mask = mask_rule_of(key),
      .most_queries = static_cast<int32_t>(key.seqlen_q),
      .most_keys = static_cast<int32_t>(key.seqlen_kv),
      .total_q = static_cast<int32_t>(key.total_q),
      .total_kv = static_cast<int32_t>(key.total_kv),
      .kv_batches = static_cast<int32_t>(key.kv_batches),
      .index_bytes = element_bytes(key.index_dtype),
      .page_size = key.page_size,
      .page_shift = shift_of_page(key.page_size),
      .page_reciprocal = reciprocal_of_page(key.page_size),
      .first_key_row = 0,
  };
}

struct RowsOfSequence {
  int32_t first, count;
};
// Rows cu[b] .. cu[b+1]-1 of `total`, no more than `most`.
inline RowsOfSequence rows_between(uint64_t cu_seqlens, int32_t batch, int32_t index_bytes, int32_t total,
                                   int32_t most) {
  const auto held = [](int64_t x, int64_t least, int64_t most) { return x < least ? least : x > most ? most : x; };
  const int64_t first = held(index_at(cu_seqlens, batch, index_bytes), 0, total),
                end = held(index_at(cu_seqlens, int64_t{batch} + 1, index_bytes), first, total);
  return {static_cast<int32_t>(first), static_cast<int32_t>(held(end - first, 0, most))};
}

inline Sequence sequence_of(const RaggedRows &rows, int32_t batch) {
  // What an array says of the sequence, held to 0 .. most; without the array: `otherwise`.
  const auto number = [&](uint64_t array, int32_t most, int32_t otherwise) {
    if (array == 0) return otherwise;
    const int64_t x = index_at(array, batch, rows.index_bytes);
    return static_cast<int32_t>(x < 0 ? 0 : x > most ? most : x);
  };
  RowsOfSequence queries = {0, rows.most_queries}, keys = {0, rows.most_keys};
  if (rows.cu_seqlens_q != 0)
    queries = rows_between(rows.cu_seqlens_q, batch, rows.index_bytes, rows.total_q, rows.most_queries);
  if (rows.cu_seqlens_kv != 0)
    keys = rows_between(rows.cu_seqlens_kv, batch, rows.index_bytes, rows.total_kv, rows.most_keys);
  const int32_t used = number(rows.seqused_kv, keys.count, keys.count), padding = number(rows.leftpad_kv, used, 0);
  return {number(rows.seqused_q, queries.count, queries.count),
          used - padding,
          rows.cu_seqlens_q != 0 ? 0 : batch,
          queries.first,
          rows.cu_seqlens_kv != 0 ? 0 : number(rows.kv_batch_index, rows.kv_batches - 1, batch),
          keys.first + padding};
}

constexpr int32_t page_of(const RaggedRows &rows, int32_t row) {
  return static_cast<int32_t>((static_cast<uint64_t>(static_cast<uint32_t>(row)) * rows.page_reciprocal) >> 31 >>
                              rows.page_shift);
}
// An entry of the table, held to the pages that there are.
constexpr int64_t held_page(int32_t entry, int32_t page_count) {
  const auto page = static_cast<uint32_t>(entry), last = static_cast<uint32_t>(page_count) - 1;
  return page < last ? page : last;
}

}  // namespace flashcore::kernels
