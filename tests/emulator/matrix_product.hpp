// SPDX-License-Identifier: Apache-2.0
//
// What tensor cores do, at the heart of every instruction for them: sums in float64, each rounded once.
#pragma once

#include <cstddef>

namespace emulator {

inline constexpr size_t product_depth = 16;

// sums[rows][pitch] += a[rows][16] . b[16][pitch], of the first `columns`, a multiple of 8.
void add_product(float *sums, const float *a, const float *b, size_t rows, size_t columns, size_t pitch);

}  // namespace emulator
