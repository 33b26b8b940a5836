// SPDX-License-Identifier: Apache-2.0
//
// Is a result right? Some query rows of a shape are computed in float64 once, and every kernel's output is held against
// them by the gates of tools/common/accuracy.hpp. All other rows are held only to be the same bits in every call.
#pragma once

#include <cstdint>
#include <vector>

#include "inputs.hpp"
#include "measuring.hpp"

namespace flashcore::tools {

struct ReferenceRow {
  int64_t batch, head, position;
};

struct ReferenceRows {
  std::vector<ReferenceRow> rows;
  std::vector<double> truth, truth_lse;  // head_dim numbers per row; one
  ErrorStatistics yardstick;             // error of an honest 16-bit implementation on these rows
};

// First, last and middle heads; in each the first and last rows, tile edges and some between, as many as a fraction of
// a second allows.
std::vector<ReferenceRow> choose_reference_rows(const Shape &shape);
ReferenceRows compute_reference(const Shape &shape, const HostTensors &host);
CheckResult check_output(const Shape &shape, const ReferenceRows &reference, const std::vector<uint16_t> &output,
                         const std::vector<float> &lse);

// One call on the first set, with LSE, into memory that held NaN before.
struct CheckedCall {
  CheckResult check;
  std::vector<uint16_t> output;  // to hold later calls against, bit by bit
  double wall_us = 0;
};
Outcome<CheckedCall> checked_call(const Stream &stream, const Shape &shape, const Workload &workload,
                                  const ReferenceRows &reference, const Args &args);

}  // namespace flashcore::tools
