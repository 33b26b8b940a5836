// SPDX-License-Identifier: Apache-2.0
//
// What chooses kernel and tile where a row's bits may not depend on its batch: not this call's cost, but that of calls with as few key heads as
// there are and with very many, all with rows like these. Which specialization is never far from the cheapest one then, whatever batch it
// comes in, is asked of numbers that every batch has in common: a row's lengths, types, masks and head dimensions.
#pragma once

#include <array>

#include "contract/pieces.h"
#include "contract/plan.h"
#include "contract/problem_key.h"

namespace flashcore {

// Key heads of all sequences together, in the calls that costs are asked for: of few queries, and of more, of which as little is rare.
using BatchLoads = std::array<int64_t, 4>;
constexpr BatchLoads batch_loads(const kernels::ProblemKey &key) {
  return key.seqlen_q <= kernels::few_queries ? BatchLoads{8, 64, 512, 4096} : BatchLoads{16, 128, 1024, 4096};
}

// The key as it would be with so many key heads. Of a ragged batch lengths are those of no sequence: up to few_queries of a sequence count as one,
// more as many.
kernels::ProblemKey under_load(const kernels::ProblemKey &key, int64_t key_heads);

// The device as all of its architecture are.
kernels::DeviceLimits like_all_of_arch(const kernels::DeviceLimits &device);

}  // namespace flashcore
