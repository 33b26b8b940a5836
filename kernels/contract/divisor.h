// SPDX-License-Identifier: Apache-2.0
//
// Division by a number that the host knows: a GPU divides integers in some thirty instructions, one after the other, and multiplies in one
// (T. Granlund and P. L. Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

struct Divisor {
  uint32_t divisor, multiplier, shift;

  // 1 <= divisor < 2^31
  static constexpr Divisor of(int64_t divisor) {
    uint32_t shift = 31;
    while (int64_t{1} << (shift - 31) < divisor) ++shift;
    // Larger than the true factor by less than 1 part in 2^31, which no number below 2^31 feels. Below 2^32.
    const uint64_t multiplier =
        ((uint64_t{1} << shift) + static_cast<uint64_t>(divisor) - 1) / static_cast<uint64_t>(divisor);
    return {static_cast<uint32_t>(divisor), static_cast<uint32_t>(multiplier), shift};
  }
  // Of numbers below 2^31.
  constexpr uint32_t quotient(uint32_t number) const {
    return static_cast<uint32_t>(uint64_t{number} * multiplier >> shift);
  }
};

}  // namespace flashcore::kernels
