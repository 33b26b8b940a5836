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
  operand_count = kernels::operand_count
};

constexpr TensorShape query_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim};
}
constexpr TensorShape key_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim};
}
constexpr TensorShape value_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim_v};
}
constexpr TensorShape output_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v};
}
constexpr TensorShape lse_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, 1};
}
constexpr TensorShape alibi_shape(const kernels::ProblemKey &sizes) { return {sizes.batch, 1, sizes.heads_q, 1}; }
constexpr TensorShape sinks_shape(const kernels::ProblemKey &sizes) { return {1, 1, sizes.heads_q, 1}; }
// Heads are neighbours; without a stride all batch entries have the same slopes.
inline flashcore_tensor given_alibi_slopes(const void *args) {
  flashcore_attention_args all;
  std::memcpy(&all, args, sizeof(all));
  return {all.alibi_slopes, FLASHCORE_DTYPE_DEFAULT, 0, {all.alibi_batch_stride, 0, 1, 0}};
}

// In the order of `Operand`, which is also the order in which operands are checked: of two faults the first one is told.
#define FLASHCORE_TENSOR(field) #field, #field ".data", offsetof(flashcore_attention_args, field.data)
#define FLASHCORE_ADDRESS(field) #field, #field, offsetof(flashcore_attention_args, field)
inline constexpr OperandTable<operand_count> operands = {{
    // clang-format off
    {FLASHCORE_TENSOR(query),  OperandRole::input,           OperandOrder::rows,       like_query,             true,  query_shape},
    {FLASHCORE_TENSOR(key),    OperandRole::input,           OperandOrder::rows,       like_query,             true,  key_shape},
    {FLASHCORE_TENSOR(value),  OperandRole::input,           OperandOrder::rows,       like_query,             true,  value_shape},
    {FLASHCORE_TENSOR(output), OperandRole::output,          OperandOrder::rows,       like_query,             true,  output_shape},
    {FLASHCORE_TENSOR(lse),    OperandRole::optional_output, OperandOrder::row_values, kernels::dtype_float32, false, lse_shape},
    {FLASHCORE_ADDRESS(alibi_slopes), OperandRole::optional_input, OperandOrder::row_values, kernels::dtype_float32, false, alibi_shape,
     given_alibi_slopes, "alibi_batch_stride"},
    {FLASHCORE_TENSOR(sinks),  OperandRole::optional_input,  OperandOrder::row_values, kernels::dtype_float32, false, sinks_shape},
    // clang-format on
}};
#undef FLASHCORE_TENSOR
#undef FLASHCORE_ADDRESS

}  // namespace flashcore::fwd
