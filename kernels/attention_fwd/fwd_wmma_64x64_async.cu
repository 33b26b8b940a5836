// SPDX-License-Identifier: Apache-2.0
//
// fwd_wmma_64x64_async: fwd_wmma_64x64 with the copies taken off the threads. cp.async moves the next K and V tiles straight
// into the other stage while this step computes; also as 64 queries by 32 keys, the geometry with the smallest stages.
//
// A two-stage pipeline fails in three classic ways, and each has its place below: a tail that is copied past the end (rows
// past seqlen_kv are zero-filled by the copy itself), a stage that is overwritten while a slow warp still reads it (the
// barrier at the end of a step), and a wait that lets the wrong group finish (wait for all but the newest).
#include "attention_fwd/ladder.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::fwd_wmma_64x64_async {

using ladder::Choices;
inline constexpr WmmaTile tiles[] = {{64, 64, ladder::head_dim, 2}, {64, 32, ladder::head_dim, 2}};

constexpr bool specialization(int32_t index, Choices *out) { return ladder::specialization(tiles, index, out); }
constexpr Refusal allows(const Choices &s) { return ladder::allows(tiles, s); }
constexpr Refusal refuse(const ProblemKey &key) { return ladder::refuse(key, 64); }
constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return ladder::plan(s, key, ladder::cost(s, key, device, 0.17, s.tile_kv == 64 ? 1.8 : 1.1));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "fwd_wmma_64x64_async",
    .summary = "WMMA 16x16x16, 64x64 and 64x32 tiles, two-stage cp.async pipeline (ladder)",
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
}  // namespace flashcore::kernels::fwd_wmma_64x64_async

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/wmma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::fwd_wmma_64x64_async {
constexpr WmmaTile tile = ladder::tile_of(chosen);
constexpr int32_t dtype = chosen.dtype, threads = tile.threads();
constexpr Mask mask = mask_if(chosen.causal != 0);
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = PlainScores;
using Attention = WmmaAttention<tile, dtype, Variant>;
}  // namespace flashcore::kernels::fwd_wmma_64x64_async

// One step; "...." is a copy under way:
//
//   copy K,V(n+1) ....   K,V(n) have arrived              barrier
//                 ....   S = Q.K(n)^T                     barrier
//                 ....   softmax by rows                  barrier
//                 ....   O += P16.V(n)                    barrier   (stage n is free)
extern "C" __global__ void __launch_bounds__(flashcore::kernels::fwd_wmma_64x64_async::threads)
    fwd_wmma_64x64_async(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::fwd_wmma_64x64_async;
  extern __shared__ __align__(128) unsigned char shared[];
  constexpr WmmaLayout at = Attention::at;
  const Attention attention(shared);
  const BlockWork work = block_work<tile.tile_q, mask>(params, blockIdx.x);
  const auto tiles = visibility<mask>(params).tiles_of(work.first_query, tile.tile_q, tile.tile_kv);
  const auto key_rows = KeyRows::keys(params, work.batch, work.head_kv);
  const auto value_rows = KeyRows::values(params, work.batch, work.head_kv);
  using Rows = PaddedRows<tile.head_dim>;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);

  const auto copy = [&](int32_t n) {
    load_tile<tile.tile_kv, threads, 16, Rows>(attention.base + at.key_of(n), key_rows, n * tile.tile_kv,
                                               params.seqlen_kv, thread);
    load_tile<tile.tile_kv, threads, 16, Rows>(attention.base + at.value_of(n), value_rows, n * tile.tile_kv,
                                               params.seqlen_kv, thread);
    copy_async_commit();
  };
  if (tiles.begin() < tiles.end) copy(tiles.begin());
  StagedTile<tile.tile_q, tile.head_dim, threads, dtype> query;
  query.fetch(StridedRows::of(params.query, work.batch, work.head_q), work.first_query, params.seqlen_q);
  if (params.negate_query != 0) query.negate();
  query.store(shared + at.query, tile.half_pitch());
  attention.reset();
  for (int32_t n = tiles.begin(); n < tiles.end; ++n) {
    if (n + 1 < tiles.end) {
      copy(n + 1);
      copy_async_wait<1>();  // all groups but the newest: K,V(n) are here
    } else {
      copy_async_wait<0>();
    }
    const bool cleared = tiles.needs_mask(n) &&
                         clear_nonfinite<tile.tile_kv, threads, dtype, Rows>(attention.base + at.value_of(n), thread);
    const bool nonfinite = __syncthreads_or(cleared) != 0;
    attention.multiply_query_key(at.key_of(n));
    __syncthreads();
    // Computed here, or on some architectures it is held, and spilled, from the top of the loop on.
    const auto visible = attention.visible_keys<mask>(params, work.first_query, computed_here(n) * tile.tile_kv);
    attention.softmax_row(params, work, n * tile.tile_kv, visible);
    __syncthreads();
    attention.multiply_probability_value(at.value_of(n));
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
