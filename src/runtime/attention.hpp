// SPDX-License-Identifier: Apache-2.0
//
// One attention from checked problem to launch: the warm path, and the cold one beside it.
#pragma once

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"
#include "runtime/context.hpp"

namespace flashcore {

Status attention_fwd(Context &context, const AttentionProblem &problem, void *stream);
Status attention_prepare(Context &context, const AttentionProblem &problem);
Result<int64_t> attention_workspace_bytes(Context &context, const AttentionProblem &problem);
Status attention_explain(Context &context, const AttentionProblem &problem, flashcore_attention_explanation *explanation);

}  // namespace flashcore
