// SPDX-License-Identifier: Apache-2.0
//
// Ragged batches. A thread block works on one sequence as on a dense problem of its own: it writes down that problem's parameters in shared
// memory, once, and every other part reads them there as it reads those of a dense call. A kernel that is compiled for dense rows has
// none of it.
#pragma once

#include "attention_fwd/params.h"
#include "parts/block_work.cuh"
#include "parts/paged_rows.cuh"
#include "parts/rows.cuh"

namespace flashcore::kernels {

template <int32_t rows>
using ChosenKeyRows = OneOf<rows == rows_paged, PagedRows, StridedRows>;

// What a sequence changes in the parameters of its batch. Batch entries are in the addresses then, so that no stride leads to another; of pages
// the block's key head is, too.
__device__ __forceinline__ void set_sequence(AttentionFwdParams &own, const AttentionFwdParams &given,
                                             const Sequence &sequence, int32_t batch, int32_t head_kv) {
  const auto place = [](TensorView &view, const TensorView &from, int32_t entry, int32_t row, int32_t element_bytes) {
    const int64_t elements = entry * from.stride_batch + row * from.stride_row;
    view.data = from.data == 0 ? 0 : from.data + static_cast<uint64_t>(elements * element_bytes);
    view.stride_batch = 0;
  };
  const RaggedRows &rows = given.ragged;
  place(own.query, given.query, sequence.query_batch, sequence.first_query_row, 2);
  place(own.output, given.output, sequence.query_batch, sequence.first_query_row, given.output_bytes);
  place(own.lse, given.lse, sequence.query_batch, sequence.first_query_row, 4);
  if (rows.page_table == 0) {
    place(own.key, given.key, sequence.key_batch, sequence.first_key_row, 2);
    place(own.value, given.value, sequence.key_batch, sequence.first_key_row, 2);
  } else {
    const auto pages = static_cast<uint64_t>(batch * rows.page_table_stride * 4);
    own.ragged.page_table = rows.page_table + pages;
    own.ragged.page_table_value = (rows.page_table_value != 0 ? rows.page_table_value : rows.page_table) + pages;
    own.ragged.first_key_row = sequence.first_key_row;
    const auto place_head = [&](TensorView &pool, const TensorView &from) {
      pool.data = from.data + static_cast<uint64_t>(head_kv * from.stride_head * 2);
      pool.stride_head = 0;
    };
    place_head(own.key, given.key), place_head(own.value, given.value);
  }
  set_visibility(own, rows.mask.visibility(sequence.queries, sequence.keys));
}

template <int32_t rows>
__device__ __forceinline__ Sequence sequence_of(const AttentionFwdParams &given, int32_t batch) {
  if constexpr (rows == rows_dense) return {};
  return sequence_of(given.ragged, batch);
}

// By all threads of the block, which meet at two barriers. `memory`: as many bytes as Params has, in shared memory.
template <int32_t rows, int32_t threads, typename Params>
__device__ __forceinline__ const Params &params_of_sequence(const Params &given, void *memory, const Sequence &sequence,
                                                            int32_t batch, int32_t head_kv) {
  if constexpr (rows == rows_dense) {
    return given;
  } else {
    Params &own = *static_cast<Params *>(memory);
    static_assert(sizeof(Params) % 4 == 0);
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < sizeof(Params) / 4; i += threads)
      reinterpret_cast<uint32_t *>(&own)[i] = reinterpret_cast<const uint32_t *>(&given)[i];
    __syncthreads();
    if (threadIdx.x == 0) set_sequence(own, given, sequence, batch, head_kv);
    __syncthreads();
    return own;
  }
}

// Of tiles of queries, or of packed rows: so many for each query.
template <int32_t tile>
__device__ __forceinline__ int32_t first_place(const RaggedRows &rows, int32_t sequence, int32_t rows_of_query = 1) {
  const int64_t first = index_at(rows.cu_seqlens_q, sequence, rows.index_bytes);
  const int64_t held = first < 0 ? 0 : first < rows.total_q ? first : rows.total_q;
  return static_cast<int32_t>(held * rows_of_query / tile) + sequence;
}
// The last sequence whose places begin at or before `place`, by a warp: each lane asks for one of 32.
template <int32_t tile>
__device__ __forceinline__ int32_t sequence_at(const RaggedRows &rows, int32_t sequences, int32_t place,
                                               int32_t rows_of_query = 1) {
  const auto lane = static_cast<int32_t>(threadIdx.x) % 32;
  int32_t first = 0, count = sequences;
#pragma unroll 1
  while (count > 1) {
    const int32_t step = (count + 31) / 32, asked = first + lane * step;
    const bool before = lane * step < count && first_place<tile>(rows, asked, rows_of_query) <= place;
    const int32_t steps = __popc(__ballot_sync(0xffffffffu, before));
    const int32_t taken = steps > 0 ? (steps - 1) * step : 0;
    first += taken, count = steps == 0 ? 1 : count - taken < step ? count - taken : step;
  }
  return first;
}

// The tile of queries that a thread block of a one-dimensional grid has, in a sequence whose length is not known yet: its first query may be
// before or behind all queries. For dense rows it is there (block_work.cuh).
template <int32_t tile_q, Mask mask, int32_t rows>
__device__ __forceinline__ BlockWork work_of_block(const AttentionFwdParams &given, uint32_t block) {
  if constexpr (rows == rows_dense) {
    return block_work<tile_q, mask>(given, block);
  } else {
    const RaggedRows &ragged = given.ragged;
    const bool in_line = ragged.cu_seqlens_q != 0;
    const auto places = static_cast<uint32_t>(in_line ? places_of_tiles(ragged.total_q, given.batch, tile_q)
                                                      : (ragged.most_queries + tile_q - 1) / tile_q);
    // Where later queries see more keys, heads are taken in groups, as in block_work().
    const uint32_t all_heads =
        static_cast<uint32_t>(given.heads_q) * (in_line ? 1 : static_cast<uint32_t>(given.batch));
    auto tile = static_cast<int32_t>(block % places), batch = 0, row_of_heads = static_cast<int32_t>(block / places);
    if constexpr (mask.later_see_more()) {
      const uint32_t group = static_cast<uint32_t>(given.heads_per_group) < all_heads
                                 ? static_cast<uint32_t>(given.heads_per_group)
                                 : all_heads;
      const uint32_t first_head = static_cast<uint32_t>(row_of_heads) / group * group,
                     in_group = block - first_head * places,
                     heads_here = all_heads - first_head < group ? all_heads - first_head : group;
      tile = static_cast<int32_t>(in_group / heads_here);
      row_of_heads = static_cast<int32_t>(first_head + in_group % heads_here);
    }
    const int32_t head_q = row_of_heads % given.heads_q;
    if (in_line) {
      batch = sequence_at<tile_q>(ragged, given.batch, tile);
      tile -= first_place<tile_q>(ragged, batch);
    } else {
      batch = row_of_heads / given.heads_q;
    }
    return {batch, head_q, head_q / given.heads_per_kv, tile * tile_q};
  }
}
// How many such tiles, or places for one, there are.
template <int32_t tile_q, int32_t rows>
__device__ __forceinline__ uint32_t tiles_of_grid(const AttentionFwdParams &given) {
  const bool in_line = rows != rows_dense && given.ragged.cu_seqlens_q != 0;
  const int64_t tiles = in_line ? places_of_tiles(given.ragged.total_q, given.batch, tile_q)
                                : int64_t{(most_queries<rows>(given) + tile_q - 1) / tile_q} * given.batch;
  return static_cast<uint32_t>(tiles * given.heads_q);
}
// Is there such a tile? Where later queries see more keys, the last one goes first.
template <int32_t tile_q, Mask mask>
__device__ __forceinline__ bool has_tile(const Sequence &sequence, BlockWork &work) {
  if (work.first_query < 0 || work.first_query >= sequence.queries) return false;
  if (mask.later_see_more()) work.first_query = (sequence.queries - 1) / tile_q * tile_q - work.first_query;
  return true;
}

}  // namespace flashcore::kernels
