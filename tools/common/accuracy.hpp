// SPDX-License-Identifier: Apache-2.0
//
// How far is a result from the truth, and how far may it be? The one place where the project's gates stand.
//
// The gate on the output. Let T be the float64 truth, W the result of plain_16bit_attention (float32 arithmetic,
// probabilities and output rounded once to the type), u the type's unit roundoff (2^-11 float16, 2^-8 bfloat16).
//   max  |O - T| <= 2 * max  |W - T| + u * max  |T|
//   mean |O - T| <= 2 * mean |W - T| + u * mean |T| / 4
// The factor 2 is what the well-known attention libraries allow each other; it scales by itself with peaky inputs (std
// 3), large scales and short sequences, where the output is as large as V. The second term is the floor: a correct
// kernel rounds its output once, and on a tensor of few elements W can be lucky. The mean of a rounding error is about
// u / 3 of the number, hence the quarter. Where the inputs are N(0,1), the scale is 1/sqrt(head_dim) and every row sees
// at least 512 keys, these fixed bounds hold as well, so that no yardstick can be bent:
//   float16   max 1e-3, mean 5e-5          bfloat16   max 5e-3, mean 3e-4
//
// The gate on hard distributions (one key against very many, sinks, diagonals, values far from 0): max |O - T| is at most 1.25
// times that of rounded_once_attention, which takes the exact maximum and rounds each probability once. The factor leaves room
// for the order of float32 sums; a reference that is not the maximum, or a sum of other probabilities than those that are
// multiplied, needs more (1.5 to 2.8), and a tail lost in subnormal numbers a hundred times more.
//
// The gate on LSE: |LSE - T| <= 1e-4 + 2e-6 * |T|, in every row; the relative part is what float32 products of large
// logits cost. An infinity must be met exactly, also where the truth is beyond float32; a NaN where the truth is none fails any gate.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "float16.hpp"

namespace flashcore::tools {

struct ErrorStatistics {
  double max_abs = 0, mean_abs = 0;  // over the compared elements that are finite on both sides
  int64_t compared = 0;
  int64_t wrong_kind = 0;  // NaN or infinity where the truth has a number, or the other way round
  int64_t max_index = -1;  // where max_abs is, or the first of wrong kind
  double actual_at_max = 0, expected_at_max = 0;
  double expected_max_abs = 0, expected_mean_abs = 0;

  std::string describe() const;  // "max 1.8e-04 at [77] (got ..., expected ...), mean ..., n of wrong kind"
};

// `compare` (may be empty: all) says which elements count. Equal infinities are equal.
ErrorStatistics measure_error(std::span<const double> actual, std::span<const double> expected,
                              std::span<const uint8_t> compare = {});

struct OutputGate {
  double max_abs = 0, mean_abs = 0;
  bool passes(const ErrorStatistics &error) const {
    return error.wrong_kind == 0 && error.max_abs <= max_abs && error.mean_abs <= mean_abs;
  }
  std::string describe() const;
};

// `yardstick`: measure_error of plain_16bit_attention. `fixed_bounds_apply`: the inputs are as stated above.
OutputGate output_gate(Float16Type type, const ErrorStatistics &yardstick, bool fixed_bounds_apply);

// `yardstick`: measure_error of rounded_once_attention, on rows of a hard distribution. What the library may choose has 1.25 times it.
OutputGate hard_gate(const ErrorStatistics &yardstick, double factor = 1.25);

// Largest |LSE - T| / (1e-4 + 2e-6 |T|): passes at no more than 1. +infinity where one is of the wrong kind.
double lse_gate_ratio(std::span<const double> actual, std::span<const double> expected,
                      std::span<const uint8_t> compare = {});

}  // namespace flashcore::tools
