// SPDX-License-Identifier: Apache-2.0
//
// The fields of flashcore_attention_args that say how keys are cut in pieces, and that a row's bits may not depend on its batch.
#pragma once

#include "base/error.hpp"
#include "contract/problem_key.h"
#include "flashcore/flashcore.h"

namespace flashcore {

// Puts them into `key`, whose sizes and rows are there already.
Status check_pieces(const flashcore_attention_args &args, kernels::ProblemKey &key);

}  // namespace flashcore
