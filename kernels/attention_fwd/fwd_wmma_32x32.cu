// SPDX-License-Identifier: Apache-2.0
//
// fwd_wmma_32x32: the first rung on tensor cores. WMMA 16x16x16, 32 queries by 32 keys a step, four warps as two by two,
// K and V loaded and used in turn: nothing overlaps, which is what the later rungs change.
#include "attention_fwd/ladder.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::fwd_wmma_32x32 {

using ladder::Choices;
inline constexpr WmmaTile tiles[] = {{32, 32, ladder::head_dim, 1}};

constexpr bool specialization(int32_t index, Choices *out) { return ladder::specialization(tiles, index, out); }
constexpr Refusal allows(const Choices &s) { return ladder::allows(tiles, s); }
constexpr Refusal refuse(const ProblemKey &key) { return ladder::refuse(key, 32); }
constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return ladder::plan(s, key, ladder::cost(s, key, device, 0.06, 1.6));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "fwd_wmma_32x32",
    .summary = "WMMA 16x16x16 through shared memory, 32x32 tiles, one stage (ladder)",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = true,
    .choices = choice_table<Choices>(ladder::choices),
    .specialization = on_choices<specialization>,
    .allows = on_choices<allows>,
    .refuse = refuse,
    .serves = on_choices<ladder::serves>,
    .dynamic_shared_bytes = on_choices<ladder::dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = attention_fwd::parameter_bytes,
    .pack = attention_fwd::pack,
    .patches = attention_fwd::patches,
};
#endif
}  // namespace flashcore::kernels::fwd_wmma_32x32

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/wmma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::fwd_wmma_32x32 {
constexpr WmmaTile tile = ladder::tile_of(chosen);
constexpr int32_t dtype = chosen.dtype, threads = tile.threads();
constexpr Mask mask = mask_if(chosen.causal != 0);
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = PlainScores;
using Attention = WmmaAttention<tile, dtype, Variant>;
}  // namespace flashcore::kernels::fwd_wmma_32x32

// One step, everything in turn:
//
//   K,V(n) to shared memory   barrier   S = Q.K(n)^T   barrier   softmax by rows   barrier   O += P.V(n)   barrier
//
// Five blocks a multiprocessor leave ptxas 102 registers; unasked it tries for nine on sm_120, and spills.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::fwd_wmma_32x32::threads, 5)
    fwd_wmma_32x32(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::fwd_wmma_32x32;
  extern __shared__ __align__(128) unsigned char shared[];
  constexpr WmmaLayout at = Attention::at;
  const Attention attention(shared);
  const BlockWork work = block_work<tile.tile_q, mask>(params, blockIdx.x);
  const auto tiles = visibility<mask>(params).tiles_of(work.first_query, tile.tile_q, tile.tile_kv);
  const auto key_rows = KeyRows::keys(params, work.batch, work.head_kv);
  const auto value_rows = KeyRows::values(params, work.batch, work.head_kv);

  StagedTile<tile.tile_q, tile.head_dim, threads, dtype> query;
  query.fetch(StridedRows::of(params.query, work.batch, work.head_q), work.first_query, params.seqlen_q);
  if (params.negate_query != 0) query.negate();
  query.store(shared + at.query, tile.half_pitch());
  attention.reset();
  for (int32_t n = tiles.begin(); n < tiles.end; ++n) {
    StagedTile<tile.tile_kv, tile.head_dim, threads, dtype> key, value;
    key.fetch(key_rows, n * tile.tile_kv, params.seqlen_kv);
    value.fetch(value_rows, n * tile.tile_kv, params.seqlen_kv);
    const bool cleared = tiles.needs_mask(n) && value.clear_nonfinite();
    key.store(shared + at.key[0], tile.half_pitch());
    value.store(shared + at.value[0], tile.half_pitch());
    const bool nonfinite = __syncthreads_or(cleared) != 0;
    attention.multiply_query_key(at.key[0]);
    __syncthreads();
    const auto visible = attention.visible_keys<mask>(params, work.first_query, n * tile.tile_kv);
    attention.softmax_row(params, work, n * tile.tile_kv, visible);
    __syncthreads();
    attention.multiply_probability_value(at.value[0]);
    __syncthreads();
    if (nonfinite) {
      attention.add_nonfinite_row(value_rows, n * tile.tile_kv, visible);
      __syncthreads();
    }
  }
  __syncthreads();  // also for a block without keys: O and the sums are other threads' zeros
  attention.write_row(params, work);
}
#endif
