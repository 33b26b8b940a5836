// SPDX-License-Identifier: Apache-2.0
//
// The operands of flashcore_attention_fwd. What holds for every operand is said where the table is walked (operands.hpp); what
// holds for one alone, as that the query's type is the problem's, is in validate_attention.cpp.
#pragma once

#include <cstring>

#include "contract/attention_call.h"
#include "problem/operands.hpp"

namespace flashcore::fwd {

// The kernels' numbers.
enum Operand : size_t {
  query = kernels::operand_query,
  key = kernels::operand_key,
  value = kernels::operand_value,
  output = kernels::operand_output,
  lse = kernels::operand_lse,
  alibi_slopes = kernels::operand_alibi_slopes,
  sinks = kernels::operand_sinks,
  cu_seqlens_q = kernels::operand_cu_seqlens_q,
  cu_seqlens_kv = kernels::operand_cu_seqlens_kv,
  seqused_q = kernels::operand_seqused_q,
  seqused_kv = kernels::operand_seqused_kv,
  leftpad_kv = kernels::operand_leftpad_kv,
  kv_batch_index = kernels::operand_kv_batch_index,
  page_table = kernels::operand_page_table,
  page_table_value = kernels::operand_page_table_value,
  bias = kernels::operand_bias,
  mask = kernels::operand_mask,
  variant_params = kernels::operand_variant_params,
  new_key = kernels::operand_new_key,
  new_value = kernels::operand_new_value,
  rotary_cos = kernels::operand_rotary_cos,
  rotary_sin = kernels::operand_rotary_sin,
  rotary_positions = kernels::operand_rotary_positions,
  operand_count = kernels::operand_count
};

// Sequences that follow one another are as one of all their rows; pages are entries of the batch.
constexpr TensorShape rows_of_queries(const kernels::ProblemKey &sizes, int32_t columns) {
  if (sizes.total_q != kernels::no_total) return {1, sizes.total_q, sizes.heads_q, columns};
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, columns};
}
constexpr TensorShape rows_of_keys(const kernels::ProblemKey &sizes, int32_t columns) {
  if (sizes.total_kv != kernels::no_total) return {1, sizes.total_kv, sizes.heads_kv, columns};
  return {sizes.kv_batches, sizes.page_size != 0 ? sizes.page_size : sizes.seqlen_kv, sizes.heads_kv, columns};
}
constexpr TensorShape query_shape(const kernels::ProblemKey &sizes) { return rows_of_queries(sizes, sizes.head_dim); }
constexpr TensorShape key_shape(const kernels::ProblemKey &sizes) { return rows_of_keys(sizes, sizes.head_dim); }
constexpr TensorShape value_shape(const kernels::ProblemKey &sizes) { return rows_of_keys(sizes, sizes.head_dim_v); }
constexpr TensorShape output_shape(const kernels::ProblemKey &sizes) {
  return rows_of_queries(sizes, sizes.head_dim_v);
}
constexpr TensorShape lse_shape(const kernels::ProblemKey &sizes) { return rows_of_queries(sizes, 1); }
constexpr TensorShape alibi_shape(const kernels::ProblemKey &sizes) { return {sizes.batch, 1, sizes.heads_q, 1}; }
constexpr TensorShape sinks_shape(const kernels::ProblemKey &sizes) { return {1, 1, sizes.heads_q, 1}; }
constexpr TensorShape scores_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.seqlen_kv};
}
constexpr TensorShape new_key_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_new, sizes.heads_kv, sizes.head_dim};
}
constexpr TensorShape new_value_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_new, sizes.heads_kv, sizes.head_dim_v};
}
constexpr TensorShape rotary_shape(const kernels::ProblemKey &sizes) {
  return {1, sizes.rotary_table_rows, 1, sizes.rotary_dim / 2};
}
// In units of its alignment.
constexpr TensorShape variant_params_shape(const kernels::ProblemKey &sizes) {
  return {1, 1, 1, sizes.variant_params_bytes / kernels::element_bytes(kernels::dtype_int64)};
}
inline flashcore_tensor given_variant_params(const void *args) {
  flashcore_attention_args all;
  std::memcpy(&all, args, sizeof(all));
  return {all.variant_params, FLASHCORE_DTYPE_DEFAULT, 0, {}};
}
// Heads are neighbours; without a stride all batch entries have the same slopes.
inline flashcore_tensor given_alibi_slopes(const void *args) {
  flashcore_attention_args all;
  std::memcpy(&all, args, sizeof(all));
  return {all.alibi_slopes, FLASHCORE_DTYPE_DEFAULT, 0, {all.alibi_batch_stride, 0, 1, 0}};
}

// Numbers of a batch are columns of one row, pages those of a row for each sequence.
constexpr TensorShape bounds_shape(const kernels::ProblemKey &sizes) { return {1, 1, 1, sizes.batch + 1}; }
constexpr TensorShape lengths_shape(const kernels::ProblemKey &sizes) { return {1, 1, 1, sizes.batch}; }
constexpr int64_t pages_per_sequence(const kernels::ProblemKey &sizes) {
  return sizes.page_size == 0 ? 0 : (sizes.seqlen_kv + sizes.page_size - 1) / sizes.page_size;
}
constexpr TensorShape pages_shape(const kernels::ProblemKey &sizes) {
  return {1, sizes.batch, 1, pages_per_sequence(sizes)};
}
template <uint64_t flashcore_attention_args::*field>
flashcore_tensor given_numbers(const void *args) {
  flashcore_attention_args all;
  std::memcpy(&all, args, sizeof(all));
  return {all.*field, FLASHCORE_DTYPE_DEFAULT, 0, {0, 0, 0, 0}};
}
template <uint64_t flashcore_attention_args::*field>
flashcore_tensor given_pages(const void *args) {
  flashcore_attention_args all;
  std::memcpy(&all, args, sizeof(all));
  const int64_t stride = all.page_table_stride;
  return {all.*field, FLASHCORE_DTYPE_DEFAULT, 0, {0, stride, 0, stride == 0 ? 0 : 1}};
}

// In the order of `Operand`, which is also the order in which operands are checked: of two faults the first one is told.
#define FLASHCORE_TENSOR(field) #field, #field ".data", offsetof(flashcore_attention_args, field.data)
#define FLASHCORE_ADDRESS(field) #field, #field, offsetof(flashcore_attention_args, field)
#define FLASHCORE_NUMBERS(field, shape)                                                                \
  FLASHCORE_ADDRESS(field), OperandRole::optional_input, OperandOrder::rows, like_index, false, shape, \
      given_numbers<&flashcore_attention_args::field>
#define FLASHCORE_ANGLES(field)                                                                               \
  FLASHCORE_ADDRESS(field), OperandRole::optional_input, OperandOrder::rows, like_query, false, rotary_shape, \
      given_numbers<&flashcore_attention_args::field>
#define FLASHCORE_PAGES(field)                                                                                         \
  FLASHCORE_ADDRESS(field), OperandRole::optional_input, OperandOrder::rows, kernels::dtype_int32, false, pages_shape, \
      given_pages<&flashcore_attention_args::field>, "page_table_stride"
inline constexpr OperandTable<operand_count> operands = {{
    // clang-format off
    {FLASHCORE_TENSOR(query),  OperandRole::input,           OperandOrder::rows,       like_query,             true,  query_shape},
    {FLASHCORE_TENSOR(key),    OperandRole::cache,           OperandOrder::rows,       like_query,             true,  key_shape},
    {FLASHCORE_TENSOR(value),  OperandRole::cache,           OperandOrder::rows,       like_query,             true,  value_shape},
    {FLASHCORE_TENSOR(output), OperandRole::output,          OperandOrder::rows,       like_output,            true,  output_shape},
    {FLASHCORE_TENSOR(lse),    OperandRole::optional_output, OperandOrder::row_values, kernels::dtype_float32, false, lse_shape},
    {FLASHCORE_ADDRESS(alibi_slopes), OperandRole::optional_input, OperandOrder::row_values, kernels::dtype_float32, false, alibi_shape,
     given_alibi_slopes, "alibi_batch_stride"},
    {FLASHCORE_TENSOR(sinks),  OperandRole::optional_input,  OperandOrder::row_values, kernels::dtype_float32, false, sinks_shape},
    {FLASHCORE_NUMBERS(cu_seqlens_q, bounds_shape)},
    {FLASHCORE_NUMBERS(cu_seqlens_kv, bounds_shape)},
    {FLASHCORE_NUMBERS(seqused_q, lengths_shape)},
    {FLASHCORE_NUMBERS(seqused_kv, lengths_shape)},
    {FLASHCORE_NUMBERS(leftpad_kv, lengths_shape)},
    {FLASHCORE_NUMBERS(kv_batch_index, lengths_shape)},
    {FLASHCORE_PAGES(page_table)},
    {FLASHCORE_PAGES(page_table_value)},
    {FLASHCORE_TENSOR(bias),   OperandRole::optional_input,  OperandOrder::scores,     any_float,              false, scores_shape},
    {FLASHCORE_TENSOR(mask),   OperandRole::optional_input,  OperandOrder::scores,     boolean,                false, scores_shape},
    {FLASHCORE_ADDRESS(variant_params), OperandRole::optional_input, OperandOrder::row_values, kernels::dtype_int64, false,
     variant_params_shape, given_variant_params},
    {FLASHCORE_TENSOR(new_key), OperandRole::optional_input, OperandOrder::rows,       like_query,             true,  new_key_shape},
    {FLASHCORE_TENSOR(new_value), OperandRole::optional_input, OperandOrder::rows,     like_query,             true,  new_value_shape},
    {FLASHCORE_ANGLES(rotary_cos)},
    {FLASHCORE_ANGLES(rotary_sin)},
    {FLASHCORE_NUMBERS(rotary_positions, lengths_shape)},
    // clang-format on
}};
#undef FLASHCORE_TENSOR
#undef FLASHCORE_ADDRESS
#undef FLASHCORE_NUMBERS
#undef FLASHCORE_PAGES
#undef FLASHCORE_ANGLES

}  // namespace flashcore::fwd
