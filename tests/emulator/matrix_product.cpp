// SPDX-License-Identifier: Apache-2.0
#include "matrix_product.hpp"

namespace emulator {
namespace {

// As many as one vector register holds where the host has wide ones.
constexpr size_t columns_at_once = 8;

}  // namespace

// A product of two 16-bit numbers is exact in float64, so that a fused multiply-add gives the same bits as two instructions.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
void add_product(float *sums, const float *a, const float *b, size_t rows, size_t columns, size_t pitch) {
  for (size_t first = 0; first < columns; first += columns_at_once) {
    double of_b[product_depth][columns_at_once];
    for (size_t k = 0; k < product_depth; ++k)
      for (size_t j = 0; j < columns_at_once; ++j) of_b[k][j] = static_cast<double>(b[k * pitch + first + j]);
    for (size_t i = 0; i < rows; ++i) {
      float *const to = sums + i * pitch + first;
      double total[columns_at_once];
      for (size_t j = 0; j < columns_at_once; ++j) total[j] = static_cast<double>(to[j]);
      for (size_t k = 0; k < product_depth; ++k) {
        const auto factor = static_cast<double>(a[i * product_depth + k]);
        for (size_t j = 0; j < columns_at_once; ++j) total[j] += factor * of_b[k][j];
      }
      for (size_t j = 0; j < columns_at_once; ++j) to[j] = static_cast<float>(total[j]);
    }
  }
}

}  // namespace emulator
