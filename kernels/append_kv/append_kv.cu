// SPDX-License-Identifier: Apache-2.0
//
// append_kv: what a call does ahead of attention. New keys and values are written behind the rows in use of a cache, the keys rotated; rotated
// queries, and how many keys each sequence has then, go to the workspace, where attention reads them. A thread block has a row of queries, or a
// new row of keys and values, with all of its heads, so that all of its threads have one position. Memory decides how long it takes. A product of
// two 16-bit numbers is exact in float32, so each rotated number is a sum that is rounded once, and then to its type.
#include "append_kv/append_params.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::append_kv {

struct Choices {
  int32_t dtype;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    {"dtype", Choice::word, "fp16|bf16", dtype_float16, dtype_bfloat16},
};
#endif

constexpr bool specialization(int32_t index, Choices *out) {
  if (index < 0 || index > 1) return false;
  out->dtype = index == 0 ? dtype_float16 : dtype_bfloat16;
  return true;
}

constexpr int64_t dynamic_shared_bytes(const Choices &) { return 0; }

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "append_kv",
    .summary =
        "appends new keys and values to a cache and rotates queries and keys, ahead of attention in the same call",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = allows_all,
    .refuse = nullptr,
    .serves = nullptr,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = nullptr,
    .parameter_bytes = sizeof(AppendParams),
    .pack = nullptr,
    .patches = patches,
    .further_entry_points = {"append_kv_elementwise"},
    .operation = operation_append,
};
#endif
}  // namespace flashcore::kernels::append_kv

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/ptx_sm80.cuh"
#include "specialization.h"

namespace flashcore::kernels::append_kv {

// Columns that a thread has at once, as they lie in memory.
template <bool wide>
struct Columns {
  static constexpr int32_t count = wide ? 8 : 1;
  using Word = OneOf<wide, uint32_t, uint16_t>;
  static constexpr int32_t words = wide ? 4 : 1;
  Word word[words];

  static __device__ __forceinline__ Columns load(const uint16_t *source) {
    Columns columns;
    if constexpr (wide) {
      const uint4 all = *reinterpret_cast<const uint4 *>(source);
      columns.word[0] = all.x, columns.word[1] = all.y, columns.word[2] = all.z, columns.word[3] = all.w;
    } else {
      columns.word[0] = *source;
    }
    return columns;
  }
  __device__ __forceinline__ void store(uint16_t *target) const {
    if constexpr (wide)
      *reinterpret_cast<uint4 *>(target) = make_uint4(word[0], word[1], word[2], word[3]);
    else
      *target = word[0];
  }
  __device__ __forceinline__ float operator[](int32_t i) const {
    return to_float<chosen.dtype>(static_cast<uint16_t>(word[i / 2] >> (i % 2 * 16)));
  }
  static __device__ __forceinline__ Columns of(const float (&values)[count]) {
    Columns columns;
    if constexpr (wide) {
#pragma unroll
      for (int32_t i = 0; i < words; ++i) columns.word[i] = pack2<chosen.dtype>(values[2 * i], values[2 * i + 1]);
    } else {
      columns.word[0] = static_cast<uint16_t>(pack2<chosen.dtype>(values[0], 0.0f));
    }
    return columns;
  }
};

// Cosines and sines of one position; without them a row stays as it is.
struct Angles {
  const uint16_t *cos = nullptr, *sin = nullptr;

  static __device__ __forceinline__ Angles of(const AppendParams &params, int64_t first, int32_t behind) {
    const int64_t row = int64_t{table_row_of(first, behind, params.rotary_table_rows)} * (params.rotary_dim / 2);
    return {reinterpret_cast<const uint16_t *>(params.rotary_cos) + row,
            reinterpret_cast<const uint16_t *>(params.rotary_sin) + row};
  }
};

// What is done to the same columns of all heads: nothing, or the rotation by a position.
template <bool wide>
class Rotation {
 public:
  using Own = Columns<wide>;

  __device__ __forceinline__ Rotation(const AppendParams &params, int32_t column, const Angles &angles)
      : column_(column),
        other_(rotated_pair(column, params.rotary_dim, params.interleaved != 0).other),
        rotates_(angles.cos != nullptr && column < params.rotary_dim),
        // Of eight columns pairs of neighbours are all there.
        pairs_are_inside_(wide && params.interleaved != 0) {
    if (!rotates_) return;
#pragma unroll
    for (int32_t i = 0; i < Own::count; ++i) {
      const RotatedPair pair = rotated_pair(column + i, params.rotary_dim, params.interleaved != 0);
      const float sin = to_float<chosen.dtype>(angles.sin[pair.angle]);
      cos_[i] = to_float<chosen.dtype>(angles.cos[pair.angle]), sin_[i] = pair.is_first ? -sin : sin;
    }
  }
  // Of a head whose first column is at `head`.
  __device__ __forceinline__ Own of(const uint16_t *head) const {
    const Own own = Own::load(head + column_);
    if (!rotates_) return own;
    const Own other = pairs_are_inside_ ? own : Own::load(head + other_);
    float values[Own::count];
#pragma unroll
    for (int32_t i = 0; i < Own::count; ++i)
      values[i] = fmaf(own[i], cos_[i], (wide && pairs_are_inside_ ? other[i ^ 1] : other[i]) * sin_[i]);
    return Own::of(values);
  }

 private:
  int32_t column_, other_;
  bool rotates_, pairs_are_inside_;
  float cos_[Own::count], sin_[Own::count];
};

// All heads of a row, by the threads of a block. target: of its first head; nullptr: it goes nowhere.
template <bool wide>
__device__ __forceinline__ void write_row(const AppendParams &params, const uint16_t *source,
                                          int64_t source_stride_head, uint16_t *target, int64_t target_stride_head,
                                          int32_t heads, int32_t columns, const Angles &angles) {
  if (target == nullptr) return;
  const int32_t chunks = columns / Columns<wide>::count, lanes = chunks < threads ? chunks : threads,
                heads_at_once = threads / lanes;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  if (thread / lanes >= heads_at_once) return;
#pragma unroll 1
  for (int32_t chunk = thread % lanes; chunk < chunks; chunk += lanes) {
    const int32_t column = chunk * Columns<wide>::count;
    const Rotation<wide> rotation(params, column, angles);
#pragma unroll 2
    for (int32_t head = thread / lanes; head < heads; head += heads_at_once)
      rotation.of(source + head * source_stride_head).store(target + head * target_stride_head + column);
  }
}

__device__ __forceinline__ uint16_t *row_of(const TensorView &tensor, int64_t offset) {
  return reinterpret_cast<uint16_t *>(tensor.data) + offset;
}
__device__ __forceinline__ int64_t offset_of(const TensorView &tensor, int32_t entry, int32_t row) {
  return entry * tensor.stride_batch + row * tensor.stride_row;
}

// The sequence that a row of queries belongs to, where sequences follow one another: the last that begins at or before it.
__device__ __forceinline__ int32_t sequence_of_row(const AppendParams &params, int64_t row) {
  int32_t first = 0, count = params.batch;
#pragma unroll 1
  while (count > 1) {
    const int32_t half = count / 2;
    if (index_at(params.ragged.cu_seqlens_q, int64_t{first} + half, params.ragged.index_bytes) <= row)
      first += half, count -= half;
    else
      count = half;
  }
  return first;
}

template <bool wide>
__device__ __forceinline__ void rotate_query(const AppendParams &params, int64_t number) {
  const RaggedRows &rows = params.ragged;
  const bool in_line = rows.cu_seqlens_q != 0;
  const int32_t batch = in_line ? sequence_of_row(params, number) : static_cast<int32_t>(number / rows.most_queries);
  const Sequence sequence = sequence_of(rows, batch);
  const auto query = static_cast<int32_t>(in_line ? number - sequence.first_query_row : number % rows.most_queries);
  if (query < 0 || query >= sequence.queries) return;
  const CacheRows cache = cache_rows_of(rows, params.seqlen_new, batch);
  const Angles angles = Angles::of(params, first_position(cache, params.rotary_positions, batch, rows.index_bytes),
                                   params.by_row != 0 ? query : 0);
  const int32_t row = sequence.first_query_row + query;
  write_row<wide>(params, row_of(params.query, offset_of(params.query, sequence.query_batch, row)),
                  params.query.stride_head,
                  row_of(params.rotated_query, offset_of(params.rotated_query, sequence.query_batch, row)),
                  params.rotated_query.stride_head, params.heads_q, params.head_dim, angles);
}

template <bool wide>
__device__ __forceinline__ void append_row(const AppendParams &params, int64_t number) {
  const RaggedRows &rows = params.ragged;
  const auto batch = static_cast<int32_t>(number / params.seqlen_new),
             new_row = static_cast<int32_t>(number % params.seqlen_new);
  const CacheRows cache = cache_rows_of(rows, params.seqlen_new, batch);
  if (new_row == 0 && params.kept_keys != 0 && threadIdx.x == 0) {
    const int32_t kept = kept_rows(cache, params.seqlen_new);
    if (rows.index_bytes == 8)
      reinterpret_cast<int64_t *>(params.kept_keys)[batch] = kept;
    else
      reinterpret_cast<int32_t *>(params.kept_keys)[batch] = kept;
  }
  const uint64_t value_table = rows.page_table_value != 0 ? rows.page_table_value : rows.page_table;
  const int64_t key_place = place_of_new_row(rows, cache, batch, new_row, params.key, rows.page_table),
                value_place = place_of_new_row(rows, cache, batch, new_row, params.value, value_table);
  Angles angles;
  if (params.rotary_dim != 0)
    angles = Angles::of(params, first_position(cache, params.rotary_positions, batch, rows.index_bytes), new_row);
  write_row<wide>(params, row_of(params.new_key, offset_of(params.new_key, batch, new_row)), params.new_key.stride_head,
                  key_place == nowhere ? nullptr : row_of(params.key, key_place), params.key.stride_head,
                  params.heads_kv, params.head_dim, angles);
  write_row<wide>(params, row_of(params.new_value, offset_of(params.new_value, batch, new_row)),
                  params.new_value.stride_head, value_place == nowhere ? nullptr : row_of(params.value, value_place),
                  params.value.stride_head, params.heads_kv, params.head_dim_v, Angles());
}

template <bool wide>
__device__ __forceinline__ void append_rows(const AppendParams &params) {
#pragma unroll 1
  for (int64_t row = blockIdx.x; row < params.query_rows + params.new_rows; row += gridDim.x) {
    // New rows go first: attention waits for all of them, and their tables are looked up.
    if (row < params.new_rows)
      append_row<wide>(params, row);
    else
      rotate_query<wide>(params, row - params.new_rows);
  }
}

}  // namespace flashcore::kernels::append_kv

extern "C" __global__ void __launch_bounds__(flashcore::kernels::append_kv::threads)
    append_kv(const __grid_constant__ flashcore::kernels::AppendParams params) {
  flashcore::kernels::append_kv::append_rows<true>(params);
}

extern "C" __global__ void __launch_bounds__(flashcore::kernels::append_kv::threads)
    append_kv_elementwise(const __grid_constant__ flashcore::kernels::AppendParams params) {
  flashcore::kernels::append_kv::append_rows<false>(params);
}
#endif
