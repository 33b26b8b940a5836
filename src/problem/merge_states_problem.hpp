// SPDX-License-Identifier: Apache-2.0
//
// MergeStatesProblem: the arguments of flashcore_merge_states after every check, and the table of their operands. This room is the only
// reader of the public struct.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "base/error.hpp"
#include "contract/problem_key.h"
#include "flashcore/flashcore.h"
#include "problem/operands.hpp"

namespace flashcore {
namespace merge {

enum Operand : size_t { output_states, lse_states, output, lse, operand_count };

// The output's type is the call's, whatever the table says.
constexpr TensorShape output_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v};
}
constexpr TensorShape lse_shape(const kernels::ProblemKey &sizes) {
  return {sizes.batch, sizes.seqlen_q, sizes.heads_q, 1};
}
template <int64_t flashcore_merge_states_args::*stride>
OperandStates given_states(const void *args) {
  flashcore_merge_states_args all;
  std::memcpy(&all, args, sizeof(all));
  return {all.state_count, all.*stride};
}

// In the order of `Operand`, which is also the order in which operands are checked.
#define FLASHCORE_TENSOR(field) #field, #field ".data", offsetof(flashcore_merge_states_args, field.data)
#define FLASHCORE_STATES(field) nullptr, nullptr, given_states<&flashcore_merge_states_args::field>, #field
inline constexpr OperandTable<operand_count> operands = {{
    // clang-format off
    {FLASHCORE_TENSOR(output_states), OperandRole::input,  OperandOrder::rows,       like_query,             true,  output_shape,
     FLASHCORE_STATES(output_state_stride)},
    {FLASHCORE_TENSOR(lse_states),    OperandRole::input,  OperandOrder::row_values, kernels::dtype_float32, false, lse_shape,
     FLASHCORE_STATES(lse_state_stride)},
    {FLASHCORE_TENSOR(output), OperandRole::output,          OperandOrder::rows,       like_query,             true,  output_shape},
    {FLASHCORE_TENSOR(lse),    OperandRole::optional_output, OperandOrder::row_values, kernels::dtype_float32, false, lse_shape},
    // clang-format on
}};
#undef FLASHCORE_STATES
#undef FLASHCORE_TENSOR

}  // namespace merge

struct MergeStatesProblem {
  // Of which batch, seqlen_q, heads_q and head_dim_v count, dtype as that of the states, and alignment_bytes, 16 or 2.
  kernels::ProblemKey sizes{};
  int32_t output_dtype = 0;
  bool lse_base2 = false;
  std::array<ProblemOperand, merge::operand_count> operands;  // by merge::Operand

  int32_t state_count() const { return static_cast<int32_t>(operands[merge::output_states].states.count); }
  bool empty() const { return sizes.batch == 0 || sizes.seqlen_q == 0; }  // no output rows
  int64_t rows() const { return sizes.batch * sizes.seqlen_q * sizes.heads_q; }
};

// Check every field of `args`. The error names the field, its value and what is allowed.
Result<MergeStatesProblem> validate_merge_states(const flashcore_merge_states_args *args, AddressRule rule);

}  // namespace flashcore
