// SPDX-License-Identifier: Apache-2.0
//
// The part of this name, counted: a row that is computed again is right whatever was lost before, so that a kernel which
// loses rows for no reason gives right answers too, slowly.
#pragma once

#define CarefulRow CarefulRowUncounted
#include_next "parts/careful_row.cuh"
#undef CarefulRow

namespace flashcore::kernels {

template <int32_t dtype, int32_t most_columns, Mask mask, typename KeyRows, typename Variant, typename OutputRows>
struct CarefulRow {
  const AttentionFwdParams &params;
  const BlockWork &work;
  int32_t query, lane;

  __device__ __forceinline__ void compute() const {
    if (lane == 0) ::emulator::note_row_computed_again();
    CarefulRowUncounted<dtype, most_columns, mask, KeyRows, Variant, OutputRows>{params, work, query, lane}.compute();
  }
};

}  // namespace flashcore::kernels
