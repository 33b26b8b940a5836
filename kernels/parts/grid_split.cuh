// SPDX-License-Identifier: Apache-2.0
//
// What blocks of a grid have of the same rows, each from a part of the keys, made one by a second launch (attention_fwd/grid_split.h).
#pragma once

#include "attention_fwd/grid_split.h"
#include "parts/launch_order.cuh"
#include "parts/numeric.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"
#include "parts/rows.cuh"
#include "parts/sequence.cuh"

namespace flashcore::kernels {

// Of the rows of all key heads, each with those of the query heads that share it: query by query, the heads of a query side by side.
struct PackedRow {
  int32_t batch, head_q, head_kv, query;

  template <int32_t rows>
  static __device__ __forceinline__ int64_t index(const AttentionFwdParams &params, int32_t batch, int32_t head_kv,
                                                  int64_t row_of_head) {
    const int64_t heads_kv = params.heads_q / params.heads_per_kv;
    return (batch * heads_kv + head_kv) * most_queries<rows>(params) * params.heads_per_kv + row_of_head;
  }
  template <int32_t rows>
  static __device__ __forceinline__ PackedRow of(const AttentionFwdParams &params, uint32_t index) {
    const auto heads_per_kv = static_cast<uint32_t>(params.heads_per_kv),
               rows_of_head = static_cast<uint32_t>(most_queries<rows>(params)) * heads_per_kv,
               heads_kv = static_cast<uint32_t>(params.heads_q) / heads_per_kv;
    const uint32_t head = index / rows_of_head, row = index % rows_of_head;
    const auto head_kv = static_cast<int32_t>(head % heads_kv);
    return {static_cast<int32_t>(head / heads_kv),
            head_kv * params.heads_per_kv + static_cast<int32_t>(row % heads_per_kv), head_kv,
            static_cast<int32_t>(row / heads_per_kv)};
  }
};

// Where a part of a row lies in the workspace.
struct WorkspaceRow {
  float *output;  // head_dim_v columns
  float2 *state;  // its reference, NaN where the row has to be computed again, and its sum

  template <int32_t rows>
  static __device__ __forceinline__ WorkspaceRow of(const AttentionFwdParams &params, const GridSplit &split,
                                                    int64_t row, int32_t part) {
    const int64_t index = row * split.parts + part;
    const int64_t all = int64_t{params.batch} * params.heads_q * most_queries<rows>(params) * split.parts;
    float *const outputs = reinterpret_cast<float *>(split.workspace);
    return {outputs + index * params.head_dim_v, reinterpret_cast<float2 *>(outputs + all * params.head_dim_v) + index};
  }
};

// One row for each block of merge_threads threads.
template <typename OutputRows, int32_t head_dim_v, Mask mask, typename Variant, int32_t rows = rows_dense,
          int32_t alignment_bytes = 16>
struct GridMerge {
  static constexpr int32_t quads = grid_split::merge_quads(head_dim_v), groups = grid_split::merge_groups(head_dim_v),
                           batch = grid_split::merge_batch;

  // Four columns of a row, of some of its parts.
  struct Partial {
    float4 output;
    float reference, sum;
  };
  static constexpr Partial nothing = {{0.0f, 0.0f, 0.0f, 0.0f}, -infinity, 0.0f};
  // of(i): of the i-th
  template <int32_t count, typename Of>
  static __device__ __forceinline__ void add(Partial &merged, float scale_log2, Of of) {
    Partial parts[count];
    float reference = merged.reference;
#pragma unroll
    for (int32_t i = 0; i < count; ++i) parts[i] = of(i), reference = fmaxf(reference, parts[i].reference);
    const auto weight = [&](float of_part) { return exp2_approx((of_part - subtrahend(reference)) * scale_log2); };
    float w = weight(merged.reference);
    merged.output = make_float4(merged.output.x * w, merged.output.y * w, merged.output.z * w, merged.output.w * w);
    merged.sum *= w, merged.reference = reference;
#pragma unroll
    for (int32_t i = 0; i < count; ++i) {
      w = weight(parts[i].reference);
      const float4 &part = parts[i].output;
      merged.output = make_float4(fmaf(part.x, w, merged.output.x), fmaf(part.y, w, merged.output.y),
                                  fmaf(part.z, w, merged.output.z), fmaf(part.w, w, merged.output.w));
      merged.sum = fmaf(parts[i].sum, w, merged.sum);
    }
  }

  // compute_again(params, row): by one warp, where a part could not. params: those of the row's sequence.
  template <typename ComputeAgain>
  static __device__ __forceinline__ void run(const AttentionFwdParams &given, const GridSplit &split, float *shared,
                                             float scale_log2, const ComputeAgain &compute_again) {
    const auto row = PackedRow::of<rows>(given, blockIdx.x);
    // Of a sequence that is one part all rows were written as output.
    const Sequence sequence = sequence_of<rows>(given, row.batch);
    if (rows != rows_dense && (row.query >= sequence.queries || sequence.keys <= split.keys_per_part)) return;
    const AttentionFwdParams &params = params_of_sequence<rows, grid_split::merge_threads>(
        given, shared + grid_split::merge_shared_bytes(head_dim_v) / 4, sequence, row.batch, row.head_kv);
    const auto seen = visibility<mask>(params).keys_of(row.query);
    // Parts that hold a key which the row sees: of others nothing needs to have been written.
    const auto keys_per_part = static_cast<uint32_t>(split.keys_per_part);
    const auto begin = static_cast<int32_t>(static_cast<uint32_t>(seen.begin) / keys_per_part),
               end = static_cast<int32_t>((static_cast<uint32_t>(seen.end) + keys_per_part - 1) / keys_per_part);
    const auto thread = static_cast<int32_t>(threadIdx.x);
    const int32_t group = thread / quads, column = thread % quads * 4;
    const bool has_column = group < groups && column < params.head_dim_v;
    if (rows != rows_dense && end - begin <= 1) return;  // as of any row that sees one part, or none
    const auto place = WorkspaceRow::of<rows>(params, split, blockIdx.x, 0);
    Partial merged = nothing;
    bool lost = false;
    wait_for_launch_ahead();
    if (has_column)
#pragma unroll 1
      for (int32_t first = begin + group; first < end; first += groups * batch)
        add<batch>(merged, scale_log2, [&](int32_t i) {
          const int32_t part = first + i * groups;
          if (part >= end) return nothing;
          const float2 state = place.state[part];
          lost = lost || state.x != state.x;
          return Partial{*reinterpret_cast<const float4 *>(place.output + part * params.head_dim_v + column), state.x,
                         state.y};
        });
    if (__syncthreads_or(lost)) {
      if (thread < 32) compute_again(params, row);
      return;
    }
    // O of the groups, and behind it their references and sums.
    float4 *const outputs = reinterpret_cast<float4 *>(shared);
    float2 *const states = reinterpret_cast<float2 *>(outputs + groups * quads);
    if (has_column) outputs[thread] = merged.output;
    if (has_column && column == 0) states[group] = make_float2(merged.reference, merged.sum);
    __syncthreads();
    if (group != 0 || !has_column) return;
#pragma unroll 1
    for (int32_t first = 1; first < groups; first += 4)
      add<4>(merged, scale_log2, [&](int32_t i) {
        const int32_t other = first + i;
        return other < groups ? Partial{outputs[other * quads + thread], states[other].x, states[other].y} : nothing;
      });
    const auto of_row = [&] { return RowSum{merged.reference, scale_log2, merged.sum}; };
    const RowEnd<Variant> end_of_row(params, row.head_q, of_row);
    const float inverse = end_of_row.inverse(merged.sum);
    OutputRows::of(params, row.batch, row.head_q)
        .template store_4<alignment_bytes>(row.query, column, merged.output.x * inverse, merged.output.y * inverse,
                                           merged.output.z * inverse, merged.output.w * inverse);
    if (column == 0) end_of_row.write_lse(params, row.batch, row.head_q, row.query, of_row);
  }
};

}  // namespace flashcore::kernels
