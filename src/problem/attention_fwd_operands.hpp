// SPDX-License-Identifier: Apache-2.0
//
// The operands of flashcore_attention_fwd. What holds for every operand is said where the table is walked (operands.hpp); what
// holds for one alone, as that the query's type is the problem's, is in validate_attention.cpp.
#pragma once

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

// In the order of `Operand`, which is also the order in which operands are checked: of two faults the first one is told.
#define FLASHCORE_TENSOR(field) #field, #field ".data", offsetof(flashcore_attention_args, field.data)
inline constexpr OperandTable<operand_count> operands = {{
    // clang-format off
    {FLASHCORE_TENSOR(query),  OperandRole::input,           OperandOrder::rows,       like_query,             true,  query_shape},
    {FLASHCORE_TENSOR(key),    OperandRole::input,           OperandOrder::rows,       like_query,             true,  key_shape},
    {FLASHCORE_TENSOR(value),  OperandRole::input,           OperandOrder::rows,       like_query,             true,  value_shape},
    {FLASHCORE_TENSOR(output), OperandRole::output,          OperandOrder::rows,       like_query,             true,  output_shape},
    {FLASHCORE_TENSOR(lse),    OperandRole::optional_output, OperandOrder::row_values, kernels::dtype_float32, false, lse_shape},
    // clang-format on
}};
#undef FLASHCORE_TENSOR

}  // namespace flashcore::fwd
