// SPDX-License-Identifier: Apache-2.0
//
// MergeStatesProblem -> what the kernel is told of a call.
#pragma once

#include "merge_states/merge_params.h"
#include "problem/merge_states_problem.hpp"

namespace flashcore {

inline kernels::TensorView tensor_view(const ProblemOperand &operand) {
  const ProblemTensor &tensor = operand.tensor;
  return {tensor.data, tensor.stride_batch, tensor.stride_row, tensor.stride_head};
}

inline kernels::merge_states::Call merge_states_call(const MergeStatesProblem &problem) {
  const kernels::ProblemKey &sizes = problem.sizes;
  const auto &operands = problem.operands;
  return {sizes.batch,
          sizes.seqlen_q,
          sizes.heads_q,
          sizes.head_dim_v,
          problem.state_count(),
          sizes.dtype,
          sizes.alignment_bytes == 16,
          problem.lse_base2,
          tensor_view(operands[merge::output_states]),
          tensor_view(operands[merge::lse_states]),
          operands[merge::output_states].states.stride,
          operands[merge::lse_states].states.stride,
          tensor_view(operands[merge::output]),
          tensor_view(operands[merge::lse])};
}

}  // namespace flashcore
