// SPDX-License-Identifier: Apache-2.0
//
// The launch ahead of attention in a call that appends to its cache or rotates: what the kernel receives, by value, as its only parameter,
// what it leaves in the call's workspace, and the launch. Nothing is selected: the type says the module, how the rows are aligned the
// entry point.
#pragma once

#include "contract/append.h"
#include "contract/passport.h"

namespace flashcore::kernels {

struct AppendParams {
  TensorView query, rotated_query;            // not read without query_rows
  TensorView new_key, new_value, key, value;  // likewise without new_rows
  uint64_t rotary_cos, rotary_sin;
  uint64_t rotary_positions;  // 0: positions follow the rows in use
  uint64_t kept_keys;         // the lengths after the call, as the other arrays' numbers; 0: not wanted
  RaggedRows ragged;
  int32_t batch;
  int32_t heads_q, heads_kv;
  int32_t head_dim, head_dim_v;
  int32_t seqlen_new;
  int32_t rotary_dim, rotary_table_rows;
  int32_t interleaved;  // RotatedPair's
  int32_t by_row;       // queries have positions of their own
  int64_t query_rows;   // of all batch entries; a thread block has one, with all its heads
  int64_t new_rows;     // likewise
};

namespace append_kv {

inline constexpr int32_t threads = 256;  // of a thread block
inline constexpr int32_t entry_wide = 0, entry_elementwise = 1;

constexpr bool is_needed(const ProblemKey &key) { return key.seqlen_new != 0 || key.rotary_dim != 0; }

#ifndef __CUDACC_RTC__
// By 16 bytes: where all rows begin and end at a multiple of that, and so do halves of what is rotated.
constexpr bool is_wide(const ProblemKey &key) { return key.alignment_bytes == 16 && key.rotary_dim % 16 == 0; }

// What it leaves for attention, in bytes behind the workspace's first.
struct Places {
  int64_t kept_keys;  // a number for each sequence
  int64_t query;      // rotated, contiguous; rows are where the caller's are
  int64_t end;        // and so many bytes there are; as many as attention asked for, if it leaves nothing
};
constexpr int64_t query_rows(const ProblemKey &key) {
  return key.total_q != no_total ? key.total_q : key.batch * key.seqlen_q;
}
constexpr Places places_of(const ProblemKey &key, int64_t attention_bytes) {
  constexpr int64_t alignment = 256;
  const auto aligned = [](int64_t bytes) { return ceil_div(bytes, alignment) * alignment; };
  const bool keeps_keys = key.seqlen_new != 0 && key.ragged_by != by_nothing;
  Places places = {attention_bytes, attention_bytes, attention_bytes};
  if (keeps_keys) {
    places.kept_keys = aligned(attention_bytes);
    places.end = places.kept_keys + key.batch * element_bytes(key.index_dtype);
  }
  if (key.rotary_dim != 0) {
    places.query = aligned(places.end);
    places.end = places.query + query_rows(key) * key.heads_q * key.head_dim * element_bytes(key.dtype);
  }
  return places;
}

constexpr TensorView rotated_query_of(const ProblemKey &key, uint64_t address) {
  const int64_t row = int64_t{key.heads_q} * key.head_dim;
  return {address, key.total_q != no_total ? 0 : key.seqlen_q * row, row, key.head_dim};
}

// workspace: the call's, or 0 where nothing is left there.
constexpr AppendParams params_of(const ProblemKey &key, const AttentionCall &call, const Places &places,
                                 uint64_t workspace) {
  AppendParams params{};
  params.ragged = ragged_rows_of(key, call);
  params.batch = static_cast<int32_t>(key.batch);
  params.heads_q = key.heads_q, params.heads_kv = key.heads_kv;
  params.head_dim = key.head_dim, params.head_dim_v = key.head_dim_v;
  params.seqlen_new = static_cast<int32_t>(key.seqlen_new);
  if (key.seqlen_new != 0) {
    params.new_key = call.operands[operand_new_key], params.new_value = call.operands[operand_new_value];
    params.key = call.operands[operand_key], params.value = call.operands[operand_value];
    params.new_rows = key.batch * key.seqlen_new;
    if (params.ragged.seqused_kv != 0) params.kept_keys = workspace + static_cast<uint64_t>(places.kept_keys);
  }
  if (key.rotary_dim != 0) {
    params.query = call.operands[operand_query];
    params.rotated_query = rotated_query_of(key, workspace + static_cast<uint64_t>(places.query));
    params.query_rows = query_rows(key);
    params.rotary_cos = call.operands[operand_rotary_cos].data;
    params.rotary_sin = call.operands[operand_rotary_sin].data;
    params.rotary_positions = call.operands[operand_rotary_positions].data;
    params.rotary_dim = key.rotary_dim, params.rotary_table_rows = key.rotary_table_rows;
    params.interleaved = call.rotary_interleaved, params.by_row = call.rotary_by_row;
  }
  return params;
}

constexpr Launch launch_of(const ProblemKey &key) {
  constexpr int64_t most_blocks = 0x7fffffff;  // blocks of larger calls have several rows
  const int64_t rows = (key.rotary_dim != 0 ? query_rows(key) : 0) + key.batch * key.seqlen_new;
  return {{smaller(rows, most_blocks), 1, 1}, threads, 1, 0, 0, is_wide(key) ? entry_wide : entry_elementwise};
}

inline constexpr AddressPatch patches[] = {
    {operand_query, __builtin_offsetof(AppendParams, query.data)},
    {address_rotated_query, __builtin_offsetof(AppendParams, rotated_query.data)},
    {operand_new_key, __builtin_offsetof(AppendParams, new_key.data)},
    {operand_new_value, __builtin_offsetof(AppendParams, new_value.data)},
    {operand_key, __builtin_offsetof(AppendParams, key.data)},
    {operand_value, __builtin_offsetof(AppendParams, value.data)},
    {operand_rotary_cos, __builtin_offsetof(AppendParams, rotary_cos)},
    {operand_rotary_sin, __builtin_offsetof(AppendParams, rotary_sin)},
    {operand_rotary_positions, __builtin_offsetof(AppendParams, rotary_positions)},
    {address_kept_keys, __builtin_offsetof(AppendParams, kept_keys)},
    {operand_cu_seqlens_q, __builtin_offsetof(AppendParams, ragged.cu_seqlens_q)},
    {operand_cu_seqlens_kv, __builtin_offsetof(AppendParams, ragged.cu_seqlens_kv)},
    {operand_seqused_q, __builtin_offsetof(AppendParams, ragged.seqused_q)},
    {operand_seqused_kv, __builtin_offsetof(AppendParams, ragged.seqused_kv)},
    {operand_leftpad_kv, __builtin_offsetof(AppendParams, ragged.leftpad_kv)},
    {operand_kv_batch_index, __builtin_offsetof(AppendParams, ragged.kv_batch_index)},
    {operand_page_table, __builtin_offsetof(AppendParams, ragged.page_table)},
    {operand_page_table_value, __builtin_offsetof(AppendParams, ragged.page_table_value)},
};
#endif

}  // namespace append_kv
}  // namespace flashcore::kernels
