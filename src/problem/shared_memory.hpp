// SPDX-License-Identifier: Apache-2.0
//
// Do two strided sets of bytes meet? An output may lie between the elements of an input (Q, K, V and O interleaved in
// one buffer), so address ranges that intersect prove nothing yet.
#pragma once

#include <cstdint>

#include "problem/operands.hpp"

namespace flashcore {

// Of batch, rows, heads and states, and of columns that lie apart.
inline constexpr int strided_axes = 5;

// The bytes range.begin + sum(x[i] * step[i]) + r with 0 <= x[i] <= last[i] and 0 <= r < run_bytes.
struct StridedBytes {
  AddressRange range;  // begin, and one past the last byte; begin == end: no bytes
  uint64_t run_bytes = 0;
  uint64_t step[strided_axes] = {};
  uint64_t last[strided_axes] = {};
};

StridedBytes strided_bytes(const ProblemOperand &operand);
StridedBytes plain_bytes(const AddressRange &range);

inline bool ranges_meet(const AddressRange &a, const AddressRange &b) { return a.begin < b.end && b.begin < a.end; }

// Exact for every layout that the search finishes within its budget, which includes everything that is cut from one
// buffer by regular strides; beyond it the answer is yes, so that a real collision is never missed.
bool share_memory(const StridedBytes &a, const StridedBytes &b);

}  // namespace flashcore
