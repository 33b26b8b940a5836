// SPDX-License-Identifier: Apache-2.0
//
// One attention from checked problem to launch: the warm path, and the cold one beside it.
#pragma once

#include <optional>

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"
#include "runtime/context.hpp"

namespace flashcore {

// `problem` is what validate_attention made of `args`, which is only kept for attention_fwd_again.
Status attention_fwd(Context &context, const flashcore_attention_args *args, const AttentionProblem &problem,
                     void *stream);
// The same for arguments that are as those of this thread's last launch, but for the addresses and the stream. nullopt: they are not.
std::optional<Status> attention_fwd_again(Context &context, const flashcore_attention_args *args, void *stream);
Status attention_prepare(Context &context, const AttentionProblem &problem);
Result<int64_t> attention_workspace_bytes(Context &context, const AttentionProblem &problem);
Status attention_explain(Context &context, const AttentionProblem &problem,
                         flashcore_attention_explanation *explanation);

}  // namespace flashcore
