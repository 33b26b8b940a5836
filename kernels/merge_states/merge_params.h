// SPDX-License-Identifier: Apache-2.0
//
// What the kernel that merges states receives, by value, as its only parameter, how a call becomes that, and its launch. The operation has
// one kernel, so nothing is selected: the types say the module, and how the rows are aligned says the entry point.
#pragma once

#include "contract/element.h"
#include "contract/passport.h"
#include "contract/tensor_view.h"

namespace flashcore::kernels {

struct MergeStatesParams {
  TensorView output_states, lse_states;  // of state 0; lse is float32
  int64_t output_state_stride, lse_state_stride;
  TensorView output, lse;  // of lse data 0: not wanted
  int32_t state_count;
  uint32_t rows;  // of all heads and batch entries, below 2^31
  uint32_t heads;
  uint32_t seqlen_q;
  uint32_t chunks;  // of a row: what a thread reads at once
  uint32_t threads_per_row;
  uint32_t rows_per_block;
  float log2_factor;  // log2(e) for natural logarithms, 1 for base 2
  float lse_factor;   // ln(2), or 1
};

namespace merge_states {

inline constexpr int32_t threads = 256;  // of a thread block
inline constexpr int32_t entry_wide = 0, entry_elementwise = 1;

// Columns that a thread has at once: 16 bytes of a state, or one element.
constexpr int32_t columns_per_thread(int32_t dtype, bool wide) { return wide ? 16 / element_bytes(dtype) : 1; }

#ifndef __CUDACC_RTC__
// A call, as the library knows it.
struct Call {
  int64_t batch, seqlen_q, heads, head_dim_v;
  int32_t state_count, dtype;
  bool wide;  // all rows begin and end at multiples of 16 bytes
  bool lse_base2;
  TensorView output_states, lse_states;
  int64_t output_state_stride, lse_state_stride;
  TensorView output, lse;
};

inline constexpr int64_t most_rows = 0x7fffffff;

constexpr MergeStatesParams params_of(const Call &call) {
  MergeStatesParams params{};
  params.output_states = call.output_states, params.lse_states = call.lse_states;
  params.output_state_stride = call.output_state_stride, params.lse_state_stride = call.lse_state_stride;
  params.output = call.output, params.lse = call.lse;
  params.state_count = call.state_count;
  params.rows = static_cast<uint32_t>(call.batch * call.seqlen_q * call.heads);
  params.heads = static_cast<uint32_t>(call.heads);
  params.seqlen_q = static_cast<uint32_t>(call.seqlen_q);
  params.chunks = static_cast<uint32_t>(call.head_dim_v / columns_per_thread(call.dtype, call.wide));
  params.threads_per_row = params.chunks < threads ? params.chunks : uint32_t{threads};
  params.rows_per_block = threads / params.threads_per_row;
  params.log2_factor = call.lse_base2 ? 1.0f : 1.44269504088896340736f;
  params.lse_factor = call.lse_base2 ? 1.0f : 0.69314718055994530942f;
  return params;
}

constexpr Launch launch_of(const MergeStatesParams &params, bool wide) {
  const int64_t blocks = ceil_div(params.rows, params.rows_per_block);
  return {{blocks, 1, 1}, threads, 1, 0, 0, wide ? entry_wide : entry_elementwise};
}
#endif

}  // namespace merge_states
}  // namespace flashcore::kernels
