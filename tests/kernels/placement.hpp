// SPDX-License-Identifier: Apache-2.0
//
// Where the elements of a case's tensors lie in their buffers, between guards and gaps.
#pragma once

#include <cstdint>

#include "kernels/attention_case.hpp"

namespace flashcore::tests {

// Where a tensor's elements are in its buffer, in elements.
struct Placement {
  int64_t size[4];  // batch, rows, heads, columns
  int64_t stride[4];
  bool given_as_zeros;  // the strides are left to the library
  int64_t base;         // of element [0,0,0,0]
  int64_t total;        // of the buffer

  int64_t index(int64_t b, int64_t row, int64_t head, int64_t column) const {
    return base + b * stride[0] + row * stride[1] + head * stride[2] + column * stride[3];
  }
  template <typename Function>
  void for_each(Function function) const {  // in contiguous order
    for (int64_t b = 0; b < size[0]; b++)
      for (int64_t row = 0; row < size[1]; row++)
        for (int64_t head = 0; head < size[2]; head++)
          for (int64_t column = 0; column < size[3]; column++) function(index(b, row, head, column));
  }
};

// `spare_rows` lie behind the tensor's rows in every sequence, where a kernel that rounds up would step.
Placement place(Layout layout, int64_t batch, int64_t rows, int64_t heads, int64_t columns, bool is_input,
                int64_t spare_rows);
Placement place_lse(const AttentionCase &one);

}  // namespace flashcore::tests
