// SPDX-License-Identifier: Apache-2.0
//
// A tensor as kernels receive it. Strides count elements; offsets are 64-bit everywhere.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

struct TensorView {
  uint64_t data;  // address of element [0,0,0]; 0: absent
  int64_t stride_batch;
  int64_t stride_row;  // sequence position
  int64_t stride_head;
};

}  // namespace flashcore::kernels
