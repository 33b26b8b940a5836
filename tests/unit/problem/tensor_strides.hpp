// SPDX-License-Identifier: Apache-2.0
//
// What tests of every validator do to a tensor's strides.
#pragma once

#include "flashcore/flashcore.h"

namespace flashcore {

inline void set_strides(flashcore_tensor &tensor, int64_t batch, int64_t row, int64_t head, int64_t column) {
  const int64_t strides[] = {batch, row, head, column};
  for (int i = 0; i < 4; ++i) tensor.stride[i] = strides[i];
}

}  // namespace flashcore
