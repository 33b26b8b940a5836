// SPDX-License-Identifier: Apache-2.0
//
// AttentionProblem: the caller's args after every check. This room is the only reader of the public args struct; the
// floors above see a value whose sizes, strides and types can be trusted.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/error.hpp"
#include "contract/problem_key.h"
#include "flashcore/flashcore.h"
#include "problem/attention_fwd_operands.hpp"
#include "problem/variants.hpp"

namespace flashcore {

struct AttentionProblem {
  kernels::ProblemKey key{};  // alignment_bytes is 16 or 2; kernel_index is -1, the selector sets it from `kernel`
  std::array<ProblemTensor, fwd::operand_count> tensors{};  // by fwd::Operand
  float softmax_scale = 0;
  float softcap = 0;  // 0: none
  int32_t bias_dtype = FLASHCORE_DTYPE_DEFAULT;
  bool lse_base2 = false;
  bool rotary_interleaved = false;  // with key.rotary_dim
  bool rotary_by_row = false;       // likewise: each query has a position of its own
  uint64_t workspace = 0;
  int64_t workspace_bytes = 0;
  std::string_view kernel;  // the kernel or module asked for by name, or empty; lies in the caller's args
  std::shared_ptr<const Variant> variant;  // null: none
  uint64_t variants_destroyed = 0;         // of its context, from before it was found

  bool empty() const { return key.batch == 0 || key.seqlen_q == 0; }  // no output rows
  const ProblemTensor &query() const { return tensors[fwd::query]; }
  const ProblemTensor &key_tensor() const { return tensors[fwd::key]; }
  const ProblemTensor &value() const { return tensors[fwd::value]; }
  const ProblemTensor &output() const { return tensors[fwd::output]; }
  const ProblemTensor &lse() const { return tensors[fwd::lse]; }
  const ProblemTensor &alibi_slopes() const { return tensors[fwd::alibi_slopes]; }
  const ProblemTensor &sinks() const { return tensors[fwd::sinks]; }
  const ProblemTensor &bias() const { return tensors[fwd::bias]; }
  const ProblemTensor &mask() const { return tensors[fwd::mask]; }
};

// Every operand of the problem, for what looks at all of them alike.
inline std::array<ProblemOperand, fwd::operand_count> operands_of(const AttentionProblem &problem) {
  return placed_operands<fwd::operands>(problem.key, problem.tensors, problem.bias_dtype);
}

// Check every field of `args`. The error names the field, its value and what is allowed. `variants`: the context's; nullptr: there are none.
Result<AttentionProblem> validate_attention(const flashcore_attention_args *args, AddressRule rule,
                                            const Variants *variants = nullptr);

}  // namespace flashcore
