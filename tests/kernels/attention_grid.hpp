// SPDX-License-Identifier: Apache-2.0
//
// The grid: which cases are computed.
#pragma once

#include <vector>

#include "kernels/attention_case.hpp"

namespace flashcore::tests {

// FLASHCORE_TEST_GRID: "short" (the default), "full" (many more combinations, minutes) or "reduced" (few and small, for
// sanitizers). Anything else ends the program: a misspelt word must not look like a full test.
enum class GridSize { reduced, short_grid, full };
GridSize grid_size_from_environment();
// Of another variable, for who runs a grid of its own and has another default.
GridSize grid_size_from_environment(const char *variable, const char *otherwise);

// The cases, the same on every run and machine. FLASHCORE_TEST_CASE, if set, keeps those whose description contains it.
std::vector<AttentionCase> attention_grid(GridSize size);

}  // namespace flashcore::tests
