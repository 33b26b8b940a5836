// SPDX-License-Identifier: Apache-2.0
//
// One operand of the public struct against its shape: strides, extents, addresses. What several operands must be to each
// other is the business of operand_checks.hpp.
#pragma once

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "problem/operands.hpp"

namespace flashcore {

enum class TensorFault {
  none,
  too_many_elements,
  negative_stride,
  column_stride,
  state_stride,
  extent,
  shared_elements,
  missing,
  misaligned,
  wraps
};

// `operand` comes with its row, its shape, its states as they were given, and nothing else. Without a fault its tensor is as the floors
// above see it: contiguous strides are written out, those of states too, a stride that no index uses (of a dimension of size 1) is 0, a tensor without elements is absent; and its range
// is what its elements span.
TensorFault find_fault(const flashcore_tensor &given, AddressRule address_rule, ProblemOperand &operand);

// What find_fault found, in words.
Error fault_error(TensorFault fault, const ProblemOperand &operand, const flashcore_tensor &given);

}  // namespace flashcore
