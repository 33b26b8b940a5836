// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_small: the latency kernel, for work that fills a fraction of the GPU. A thread block takes 32 queries, and each of
// its eight warps runs sm80_fwd_mma's loop over every eighth tile of their keys, with no barrier but its own; then the eight
// partial outputs are merged in shared memory: an eighth of the steps in a row, one launch, no second kernel.
//
// Tried on the H200 at B=1, H=8, D=64, float16 (S=512; the 64x64 tile of sm80_fwd_mma takes 8.3 us, cuDNN 9.1 us):
//   kept  32 queries, eight warps of 32 rows, one stage, Q in registers                          5.6 us
//   lost  64 queries, four groups of four warps of 16 rows: half the multiprocessors idle, and
//         16-row warps read each key twice as often from shared memory                           8.0 us
//   lost  two or three stages per warp (equal, for twice the shared memory)                      5.6 us
//   lost  tiles of 64 keys, so that S=512 is one step: half the warps of S=256 have nothing to do  5.7 us, S=256 4.6 for 4.4 us
//   kept  exact references, raised for every larger score                                        0 to -3 %
#include "attention_fwd/choices.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_small {

inline constexpr int32_t head_dim = 64, tile_q = 32, tile_kv = 32, warps = 8, groups = warps;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, window, scores, calls, tile_q, tile_kv, warps, q_in_registers;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim(attention_fwd::exactly(head_dim)),
    attention_fwd::head_dim_v(attention_fwd::exactly(head_dim)),
    attention_fwd::causal,
    attention_fwd::window,
    attention_fwd::scores,
    attention_fwd::calls,
    attention_fwd::tile_q(attention_fwd::exactly(tile_q)),
    attention_fwd::tile_kv(attention_fwd::exactly(tile_kv)),
    attention_fwd::warps(attention_fwd::exactly(warps)),
    attention_fwd::q_in_registers(attention_fwd::exactly(1)),
};
#endif

constexpr bool specialization(int32_t index, Choices *out) {
  if (index < 0 || index >= 4) return false;
  *out = {(index & 2) ? dtype_bfloat16 : dtype_float16,
          head_dim,
          head_dim,
          index & 1,
          window_none,
          0,
          0,
          tile_q,
          tile_kv,
          warps,
          1};
  return true;
}

constexpr Refusal allows(const Choices &s) {
  return s.window == window_in_chunks && s.causal == 0 ? attention_fwd::chunk_without_end : no_refusal;
}

constexpr int64_t thread_blocks(const Choices &s, const ProblemKey &key) {
  return ceil_div(key.seqlen_q, s.tile_q) * key.heads_q * key.batch;
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim != head_dim) return {"head_dim", "64"};
  if (key.head_dim_v != head_dim) return {"head_dim_v", "64"};
  if (key.alignment_bytes < 16) return {"query", "16-byte aligned, in address and strides, as key, value and output"};
  if (ceil_div(key.seqlen_q, tile_q) >
      0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q / 32 below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && attention_fwd::serves_features(s, key);
}

constexpr int32_t tile_bytes = tile_kv * head_dim * 2;
// A group's float32 partial output, padded so that neighbouring rows start eight banks apart, then its rows' references and sums.
inline constexpr int32_t partial_pitch = head_dim + 8;
constexpr int32_t partial_bytes = tile_q * partial_pitch * 4 + 2 * tile_q * 4;

// Q, then a K and a V tile of each group; the partial outputs take their place at the end.
constexpr int64_t dynamic_shared_bytes(const Choices &) {
  constexpr int32_t tiles = tile_q * head_dim * 2 + groups * 2 * tile_bytes, partials = groups * partial_bytes;
  return tiles > partials ? tiles : partials;
}

constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return with_memory(
      mma_cost({s.tile_q, s.tile_kv, s.head_dim, s.head_dim_v, s.warps, s.warps, s.tile_q / 16, s.q_in_registers != 0,
                dynamic_shared_bytes(s), static_cast<double>(thread_blocks(s, key)),
                visibility_of(key).steps_of(s.tile_q, s.tile_kv * s.warps), 1050},
               device),
      key, device);
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return single_launch(thread_blocks(s, key), s.warps * 32, dynamic_shared_bytes(s), cost(s, key, device));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm80_fwd_small",
    .summary = "mma.sync with keys split over eight warps and merged in the block, for little work",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = on_choices<allows>,
    .refuse = refuse,
    .serves = on_choices<serves>,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = attention_fwd::parameter_bytes,
    .pack = attention_fwd::pack,
    .patches = attention_fwd::patches,
    .takes_variants = true,
};
#endif
}  // namespace flashcore::kernels::sm80_fwd_small

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/mma_attention.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_small {

constexpr int32_t threads = warps * 32, group_threads = threads / groups, dtype = chosen.dtype;
constexpr Mask mask = mask_of(chosen.causal != 0, chosen.window);
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
using Attention =
    MmaAttention<MmaShape{dtype, head_dim, head_dim, tile_kv, 2, group_threads, false, mask, true}, Variant, KeyRows>;
using Rows = Attention::Rows;
using Loader = DescendingLoader<tile_kv, group_threads, 16, Rows, KeyRows, groups>;
static_assert(group_threads == 32 && tile_q == Attention::warp_rows);

// What a group leaves for the merge.
struct Partial {
  float *output, *reference, *row_sum;

  __device__ __forceinline__ Partial(unsigned char *shared, int32_t group) {
    output = reinterpret_cast<float *>(shared + group * partial_bytes);
    reference = output + tile_q * partial_pitch;
    row_sum = reference + tile_q;
  }
};

__device__ __forceinline__ void leave_partial(const Partial &partial, const Attention::Output &output,
                                              const Attention::RowState &state, int32_t lane) {
#pragma unroll
  for (int32_t i = 0; i < 2 * Attention::row_tiles; ++i) {
    const int32_t row = i * 8 + lane / 4, row_tile = i / 2, half = i % 2;
#pragma unroll
    for (int32_t n = 0; n < Attention::value_columns; ++n)
      *reinterpret_cast<float2 *>(partial.output + row * partial_pitch + n * 8 + lane % 4 * 2) =
          make_float2(output[row_tile][n][half * 2], output[row_tile][n][half * 2 + 1]);
    const float sum = quad_sum(state.row_sum[row_tile][half]);
    if (lane % 4 == 0) {
      partial.reference[row] = state.reference[row_tile][half];
      partial.row_sum[row] = sum;
    }
  }
}

// Eight threads a row, eight columns each: O = sum of O_g * exp(score_g - score), the largest ones, over the sum of sums weighted alike.
__device__ __forceinline__ void merge_row(unsigned char *shared, const AttentionFwdParams &params,
                                          const BlockWork &work) {
  const int32_t row = static_cast<int32_t>(threadIdx.x) / 8, column = static_cast<int32_t>(threadIdx.x) % 8 * 8;
  const int32_t query = work.first_query + row;
  if (query >= params.seqlen_q) return;
  float reference = -infinity;
#pragma unroll
  for (int32_t group = 0; group < groups; ++group) reference = fmaxf(reference, Partial(shared, group).reference[row]);
  const float finite = subtrahend(reference);  // no group has seen a key: every weight is 2^-infinity = 0
  float sum = 0.0f, output[8] = {};
#pragma unroll
  for (int32_t group = 0; group < groups; ++group) {
    const Partial partial(shared, group);
    const float weight = exp2_approx((partial.reference[row] - finite) * Attention::scale_log2(params));
    sum = fmaf(partial.row_sum[row], weight, sum);
    const float4 *const columns = reinterpret_cast<const float4 *>(partial.output + row * partial_pitch + column);
    const float4 low = columns[0], high = columns[1];
    const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
    for (int32_t i = 0; i < 8; ++i) output[i] = fmaf(values[i], weight, output[i]);
  }
  const auto of_row = [&] { return RowSum{reference, Attention::scale_log2(params), sum}; };
  const RowEnd<Variant> end(params, work.head_q, of_row);
  const float inverse = end.inverse(sum);
  RowsOfOutput<dtype, (chosen.calls & calls_float32_output) != 0>::of(params, work.batch, work.head_q)
      .store_8(query, column, [&](int32_t i) { return output[i] * inverse; });
  if (column == 0) end.write_lse(params, work.batch, work.head_q, query, of_row);
}

}  // namespace flashcore::kernels::sm80_fwd_small

// Each warp on its own; warp g takes the tiles last - g, last - g - 8, ...
//
//   K(i), V(i) ....   K(i) arrived   S = Q.K(i)^T   K(i+1) ....   softmax   V(i) arrived   O += P.V(i)   V(i+1) ....
//
// and at the end: barrier of the block, partial outputs over the tiles, barrier, merge.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm80_fwd_small::threads)
    sm80_fwd_small(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::sm80_fwd_small;
  extern __shared__ __align__(1024) unsigned char shared[];
  const int32_t thread = static_cast<int32_t>(threadIdx.x), lane = thread % 32;
  const Attention::TileGroup group(thread / group_threads + 1, thread % group_threads);  // barrier 0 is the block's
  const int32_t group_index = group.id - 1;
  const SharedAddress query_tile = shared_address(shared);
  const SharedAddress key_tile = query_tile + tile_q * head_dim * 2 + group_index * 2 * tile_bytes,
                      value_tile = key_tile + tile_bytes;

  const BlockWork work = block_work<tile_q, mask>(params, blockIdx.x);
  const auto tiles = visibility<mask>(params).tiles_of(work.first_query, tile_q, tile_kv);
  const int32_t first = tiles.begin(), last = tiles.end - 1 - group_index;  // this group's tiles; last < first: none
  Loader key_loader(KeyRows::keys(params, work.batch, work.head_kv), last, params.seqlen_kv, group.thread);
  Loader value_loader(KeyRows::values(params, work.batch, work.head_kv), last, params.seqlen_kv, group.thread);

  Attention::Output output{};
  Attention::RowState state;
  load_tile<tile_q, threads, 16, Rows>(query_tile, StridedRows::of(params.query, work.batch, work.head_q),
                                       work.first_query, params.seqlen_q, thread);
  copy_async_commit();
  // Every step commits the same number of groups of copies, empty or not, so that waits can count.
  if (last >= first) key_loader.load_last(key_tile);
  copy_async_commit();
  if (last >= first) value_loader.load_last(value_tile);
  copy_async_commit();
  copy_async_wait<2>();
  __syncthreads();
  if (params.negate_query != 0) {
    Attention::negate_tile<tile_q, threads>(query_tile);
    __syncthreads();
  }
  Attention::QueryFragments query;
  const SharedAddress query_lane = Attention::query_lane(query_tile, 0, lane);
#pragma unroll
  for (int32_t k = 0; k < Attention::depth_steps; ++k) Attention::load_query_step(query[k], query_lane, k);

  bool nonfinite = false;
  const auto step = [&](int32_t tile, auto with_mask) {
    constexpr bool masked = decltype(with_mask)::value;
    const bool refill = tile - groups >= first;
    [[maybe_unused]] Attention::ShownByMask shown;
    if constexpr (has_mask<Variant>) shown = Attention::shown_by_mask(params, work, tile * tile_kv, work.first_query);
    copy_async_wait<1>();
    group.barrier();
    Attention::Scores scores;
    Attention::multiply_query_key(scores, query, query_lane, Attention::key_lane(key_tile, lane));
    if constexpr (Variant::changes_scores)
      Attention::change_scores(scores, params, work, tile * tile_kv, work.first_query);
    if constexpr (has_mask<Variant>) shown.hide_others(scores);
    if constexpr (masked) Attention::mask_scores(scores, params, tile * tile_kv, work.first_query);
    if (refill) {
      group.barrier();
      key_loader.load_next(key_tile);
    }
    copy_async_commit();
    Attention::raise_references(scores, output, state, Attention::scale_log2(params));
    Attention::exponentiate(scores, state, Attention::scale_log2(params));
    Attention::Probabilities probabilities;
    Attention::round_probabilities(probabilities, scores);
    copy_async_wait<1>();
    if constexpr (masked || hides_keys<Variant>)
      if (clear_nonfinite<tile_kv, group_threads, dtype, Rows>(value_tile, group.thread)) nonfinite = true;
    group.barrier();
    const SharedAddress value_lane = Attention::value_lane(value_tile, lane);
    Attention::multiply_probability_value(output, probabilities, value_lane);
    if (refill) {
      group.barrier();
      value_loader.load_next(value_tile);
    }
    copy_async_commit();
  };
  int32_t tile = last;
  for (; tile >= first && tiles.needs_mask(tile); tile -= groups) step(tile, Constant<true>{});
  const auto later_step = [&] {  // tiles that hold a begin come last
    if constexpr (mask.begin_moves)
      if (tile < tiles.whole_begin()) return step(tile, Constant<true>{});
    step(tile, Constant<false>{});
  };
  Attention::OutputSum output_sum;
  for (const int32_t steps = (tile - first) / groups; tile >= first; tile -= groups) {
    later_step();
    const int32_t steps_left = (tile - first) / groups;
    if (Attention::OutputSum::ends_stretch(steps_left))
      output_sum.end_stretch(output, state.reference, steps_left, steps, Attention::scale_log2(params));
  }
  if (__any_sync(0xffffffffu, nonfinite))
    for (tile = last; tile >= (mask.begin_moves || hides_keys<Variant> ? first : tiles.whole_end); tile -= groups)
      if (!mask.begin_moves || hides_keys<Variant> || tiles.needs_mask(tile))
        Attention::add_nonfinite_values(output, params, work, tile * tile_kv, (tile + 1) * tile_kv, work.first_query);

  __syncthreads();  // every group is done with the tiles
  leave_partial(Partial(shared, group_index), output, state, lane);
  __syncthreads();
  merge_row(shared, params, work);
}
#endif
