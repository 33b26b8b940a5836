// SPDX-License-Identifier: Apache-2.0
//
// AttentionProblem: the caller's args after every check. This room is the only reader of the public args struct; the
// floors above see a value whose sizes, strides and types can be trusted.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.hpp"
#include "contract/problem_key.h"
#include "flashcore/flashcore.h"

namespace flashcore {

// A stride that no index uses (of a dimension of size 1) is 0; a tensor without elements is absent, whatever was given.
struct ProblemTensor {
  uint64_t data = 0;                                          // 0: absent
  int64_t stride_batch = 0, stride_row = 0, stride_head = 0;  // elements
};

struct AttentionProblem {
  kernels::ProblemKey key{};  // alignment_bytes is 16 or 2; kernel_index is -1, the selector sets it from `kernel`
  ProblemTensor query, key_tensor, value, output;
  ProblemTensor lse;  // float32
  float softmax_scale = 0;
  bool lse_base2 = false;
  uint64_t workspace = 0;
  int64_t workspace_bytes = 0;
  std::string_view kernel;  // the kernel or module asked for by name, or empty; lies in the caller's args

  bool empty() const { return key.batch == 0 || key.seqlen_q == 0; }  // no output rows
};

enum class AddressRule {
  required,  // q, k, v and o must be given (as far as they have elements)
  optional   // prepare, explain, workspace: an address of 0 counts as 16-byte aligned
};

// Check every field of `args`. The error names the field, its value and what is allowed.
Result<AttentionProblem> validate_attention(const flashcore_attention_args *args, AddressRule rule);

// First and one-past-last byte of the elements that a tensor of the problem touches; {0, 0} for an empty one.
struct AddressRange {
  uint64_t begin = 0, end = 0;
};
AddressRange tensor_range(const ProblemTensor &tensor, int64_t batch, int64_t rows, int64_t heads, int64_t columns,
                          int64_t element_bytes);

}  // namespace flashcore
