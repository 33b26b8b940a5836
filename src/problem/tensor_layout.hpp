// SPDX-License-Identifier: Apache-2.0
//
// One tensor of the public struct against its shape: strides, extents, addresses. Whether two tensors may lie where
// they lie is the question of shared_memory.hpp.
#pragma once

#include <cstdint>

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"

namespace flashcore {

struct TensorShape {
  int64_t batch, rows, heads, columns;

  bool has_elements() const { return batch > 0 && rows > 0 && heads > 0 && columns > 0; }
};

enum class TensorRole {
  input,   // batch, row and head strides may be zero or overlap: nothing is written
  output,  // no two elements may share memory
  lse      // an output of one column per row, stored [batch, head, row] when contiguous; may be absent
};

struct TensorRule {
  const char *name;  // as flashcore.h spells it
  TensorShape shape;
  TensorRole role;
  int64_t element_bytes;
};

// Check strides and address. On success `checked` (given as a default ProblemTensor) is the tensor as the floors above
// see it: contiguous strides are written out, a stride that no index uses (of a dimension of size 1) is 0, a tensor
// without elements is absent; and `range` is what its elements span, {0, 0} where there is no address.
Status check_tensor(const TensorRule &rule, const flashcore_tensor &given, AddressRule address_rule,
                    ProblemTensor &checked, AddressRange &range);

}  // namespace flashcore
