// SPDX-License-Identifier: Apache-2.0
//
// cpu_attention with a chosen instruction set, so that tests reach every variant on one machine.
#pragma once

#include "cpu/attend_tile.hpp"
#include "cpu/cpu_attention.hpp"

namespace flashcore {

Status run_attention(const AttentionProblem &problem, int32_t threads, AttendTile attend, ChangeRow variant = nullptr);

}  // namespace flashcore
