// SPDX-License-Identifier: Apache-2.0
//
// The fields of flashcore_attention_args that say how the rows of sequences are found: lengths and places on the device, and pages.
#pragma once

#include "base/error.hpp"
#include "contract/problem_key.h"
#include "flashcore/flashcore.h"

namespace flashcore {

// After the sizes: sets what the key says of rows, for every call. Dense calls pass at little cost.
Status check_rows(const flashcore_attention_args &args, kernels::ProblemKey &key);

}  // namespace flashcore
