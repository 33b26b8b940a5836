// SPDX-License-Identifier: Apache-2.0
//
// AttentionProblem -> what kernels are told of a call.
#pragma once

#include "contract/attention_call.h"
#include "problem/attention_problem.hpp"

namespace flashcore {

inline kernels::TensorView tensor_view(const ProblemTensor &tensor) {
  return {tensor.data, tensor.stride_batch, tensor.stride_row, tensor.stride_head};
}

inline kernels::AttentionCall attention_call(const AttentionProblem &problem) {
  kernels::AttentionCall call{};
  for (size_t i = 0; i < fwd::operand_count; ++i) call.operands[i] = tensor_view(problem.tensors[i]);
  call.bias_stride_key = problem.bias().stride_column;
  call.mask_stride_key = problem.mask().stride_column;
  call.bias_dtype = problem.bias_dtype;
  call.softmax_scale = problem.softmax_scale;
  call.softcap = problem.softcap;
  call.lse_base2 = problem.lse_base2 ? 1 : 0;
  call.rotary_interleaved = problem.rotary_interleaved ? 1 : 0;
  call.rotary_by_row = problem.rotary_by_row ? 1 : 0;
  return call;
}

}  // namespace flashcore
