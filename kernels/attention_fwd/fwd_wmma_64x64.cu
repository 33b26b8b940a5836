// SPDX-License-Identifier: Apache-2.0
//
// fwd_wmma_64x64: larger tiles, and the next tile on its way. WMMA 16x16x16, 64 queries by 64 keys a step, eight warps as four
// by two. K and V have two stages: the next tiles are fetched into registers while this step computes.
//
// float32 probabilities cannot enter a 16-bit tensor-core product, so they are rounded once more for it; the row sums and
// everything else keep the float32 ones, which lie where the scores lay.
#include "attention_fwd/ladder.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::fwd_wmma_64x64 {

using ladder::Choices;
inline constexpr WmmaTile tiles[] = {{64, 64, ladder::head_dim, 2}};

constexpr bool specialization(int32_t index, Choices *out) { return ladder::specialization(tiles, index, out); }
constexpr Refusal allows(const Choices &s) { return ladder::allows(tiles, s); }
constexpr Refusal refuse(const ProblemKey &key) { return ladder::refuse(key, 64); }
constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return ladder::plan(s, key, ladder::cost(s, key, device, 0.15, 2.0));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "fwd_wmma_64x64",
    .summary = "WMMA 16x16x16 through shared memory, 64x64 tiles, fp32 probabilities (ladder)",
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
}  // namespace flashcore::kernels::fwd_wmma_64x64

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/wmma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::fwd_wmma_64x64 {
constexpr WmmaTile tile = ladder::tile_of(chosen);
constexpr int32_t dtype = chosen.dtype, threads = tile.threads();
constexpr Mask mask = mask_if(chosen.causal != 0);
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = PlainScores;
using Attention = WmmaAttention<tile, dtype, Variant>;
}  // namespace flashcore::kernels::fwd_wmma_64x64

// One step; "...." is a fetch under way in registers:
//
//   fetch K,V(n+1) ....   S = Q.K(n)^T                                     barrier
//                  ....   softmax by rows: P32 over S, P16, O rescaled     barrier
//                  ....   O += P16.V(n) ; K,V(n+1) to the other stage      barrier
extern "C" __global__ void __launch_bounds__(flashcore::kernels::fwd_wmma_64x64::threads)
    fwd_wmma_64x64(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::fwd_wmma_64x64;
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

  StagedTile<tile.tile_kv, tile.head_dim, threads, dtype> key, value;
  const auto fetch = [&](int32_t n) {
    key.fetch(key_rows, n * tile.tile_kv, params.seqlen_kv);
    value.fetch(value_rows, n * tile.tile_kv, params.seqlen_kv);
  };
  // Put what was fetched into its stage; say whether a value was kept out.
  const auto put = [&](int32_t n) {
    const bool cleared = tiles.needs_mask(n) && value.clear_nonfinite();
    key.store(shared + at.key_of(n), tile.half_pitch());
    value.store(shared + at.value_of(n), tile.half_pitch());
    return cleared;
  };
  bool cleared = false;
  if (tiles.begin() < tiles.end) {
    fetch(tiles.begin());
    cleared = put(tiles.begin());
  }
  bool nonfinite = __syncthreads_or(cleared) != 0;
  for (int32_t n = tiles.begin(); n < tiles.end; ++n) {
    const bool more = n + 1 < tiles.end;
    if (more) fetch(n + 1);
    attention.multiply_query_key(at.key_of(n));
    __syncthreads();
    const auto visible = attention.visible_keys<mask>(params, work.first_query, n * tile.tile_kv);
    attention.softmax_row(params, work, n * tile.tile_kv, visible);
    __syncthreads();
    attention.multiply_probability_value(at.value_of(n));
    cleared = more && put(n + 1);
    const bool next_nonfinite = __syncthreads_or(cleared) != 0;
    if (nonfinite) {
      attention.add_nonfinite_row(value_rows, n * tile.tile_kv, visible);
      __syncthreads();
    }
    nonfinite = next_nonfinite;
  }
  attention.write_row(params, work);
}
#endif
