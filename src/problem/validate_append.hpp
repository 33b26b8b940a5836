// SPDX-License-Identifier: Apache-2.0
//
// The fields of flashcore_attention_args that say what happens ahead of attention: new rows for the cache, and rotary embedding.
#pragma once

#include "problem/attention_problem.hpp"

namespace flashcore {

// After the sizes. Calls without any of it pass at little cost.
Status check_append(const flashcore_attention_args &args, AddressRule rule, AttentionProblem &problem);

}  // namespace flashcore
