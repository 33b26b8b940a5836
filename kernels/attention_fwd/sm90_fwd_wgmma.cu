// SPDX-License-Identifier: Apache-2.0
//
// sm90_fwd_wgmma: Hopper's own instructions. One warpgroup has tiles of Q, K and V copied by the copy engine, two or
// three others multiply with wgmma, whose products run in the background while the exponentials of another tile are
// computed (FlashAttention-3, arXiv 2407.08608, is the algorithm). Blocks stay for the whole call, so that one tile's
// end and the next one's copies overlap. docs/HOPPER.md tells what was tried.
#include "attention_fwd/wgmma.h"

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/cluster_merge.cuh"
#include "parts/head_tile.cuh"
#include "parts/packed_tile.cuh"
#include "parts/ptx_sm90.cuh"
#include "parts/ragged_rounds.cuh"
#include "parts/rounds.cuh"
#include "parts/stage_memory.cuh"
#include "parts/tile_boxes.cuh"
#include "parts/tile_scores.cuh"
#include "parts/wgmma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm90_fwd_wgmma {

constexpr int32_t dtype = chosen.dtype, head_dim = chosen.head_dim, head_dim_v = chosen.head_dim_v;
constexpr int32_t tile_q = chosen.tile_q, tile_kv = chosen.tile_kv, multipliers = warpgroups(chosen);
// Of each thread; together what the block was launched with, or less: a warpgroup waits for registers that nobody gives back.
constexpr bool copier_asks_more = chosen.split != 0 || chosen.packed != 0, ragged_batch = chosen.rows != rows_dense;
constexpr int32_t registers_of_copier = multipliers == 3 ? 32 : ragged_batch ? 56 : copier_asks_more ? 40 : 24;
constexpr int32_t registers_of_multiplier = multipliers == 3 ? 160 : ragged_batch ? 224 : copier_asks_more ? 232 : 240;
// Warpgroups take turns at the tensor cores, so that one's exponentials fall into the other's products. At D=256 the
// products are so much longer that they do so by themselves.
constexpr bool takes_turns = multipliers > 1 && head_dim_v <= 128;
constexpr Mask mask = mask_of(chosen.causal != 0, chosen.window);

// How rows of V behind a mask are reached once more (parts/rows.cuh), and how tiles are copied.
using KeyRows = ChosenKeyRows<chosen.rows>;
constexpr bool paged = chosen.rows == rows_paged;
using KeyBoxes = OneOf<paged, PageBoxes<tile_kv>, WholeBoxes<tile_kv>>;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
// Tiles of rows of all heads that share a key head, of which each block multiplies parts of the keys.
constexpr bool packs = chosen.packed != 0;
using Attention =
    WgmmaAttention<WgmmaShape{dtype, head_dim, head_dim_v, tile_q, tile_kv, mask, packs}, Variant, KeyRows>;
// The blocks of a cluster share the keys of one tile of queries, and merge what they have. A cluster has one tile: its shared memory is read
// by others at the end, when the next tile's keys would be copied to it.
constexpr bool splits = chosen.split != 0;
using OutputRows = RowsOfOutput<dtype, (chosen.calls & calls_float32_output) != 0>;
using Merge = ClusterMerge<head_dim_v, multipliers * 4, Variant, OutputRows>;
static_assert(!splits || Merge::bytes <= dynamic_shared_bytes(chosen));
using Whole = HeadTile<Attention, mask, KeyRows, Variant, OutputRows>;
using Packed = PackedTile<Attention, tile_q, mask, KeyRows, Variant, OutputRows>;
using Scored = TileScores<Attention, Packed, Variant, packs>;
// Of a ragged batch the tiles are looked up by a warp that has nothing to copy.
constexpr bool ragged = chosen.rows != rows_dense;
using OfRagged = RaggedRounds<Params, tile_q, mask, chosen.rows, multipliers * 4 + 1>;
static_assert(!ragged || bytes_before_rounds(chosen) + OfRagged::bytes == dynamic_shared_bytes(chosen));
using WorkRounds =
    OneOf<ragged, LookedUpRounds<Params>, OneOf<packs, PackedRounds<tile_q>, Rounds<tile_q, splits ? no_mask : mask>>>;
using Work = WorkRounds::Work;
template <typename OfKernel>
__device__ __forceinline__ OfKernel rounds_of(const Params &params, uint32_t block, uint32_t blocks) {
  if constexpr (ragged) {
    return OfKernel{params};
  } else if constexpr (packs) {
    return OfKernel::of(params.attention, params.split.parts, block, blocks);
  } else {
    const uint32_t sharing = splits ? static_cast<uint32_t>(cluster_size()) : 1;
    return OfKernel::of(params.order, block / sharing, blocks / sharing);
  }
}
// Worked out where they are asked for: they would be held in registers from the beginning of the kernel on, and spilled by wide heads.
__device__ __forceinline__ WorkRounds rounds_anew(const Params &params) {
  return rounds_of<WorkRounds>(params, static_cast<uint32_t>(computed_here(static_cast<int32_t>(blockIdx.x))),
                               static_cast<uint32_t>(computed_here(static_cast<int32_t>(gridDim.x))));
}
constexpr uint32_t query_stages_here = query_stages(chosen);
constexpr bool overlaps = tiles_overlap(chosen);
// Of a block's last tiles of keys, those that no row of a warpgroup sees. Not without turns: a warpgroup a step ahead leaves copies no time.
constexpr bool leaves_out_hidden = takes_turns && mask.later_see_more() && !overlaps && !ragged && !packs && !splits;
constexpr int32_t query_bytes = tile_bytes(tile_q, head_dim), key_bytes = tile_bytes(tile_kv, head_dim),
                  value_bytes = tile_bytes(tile_kv, head_dim_v);

using Shared = StageMemory<query_stages_here, stages, multipliers, query_bytes, key_bytes, value_bytes>;

// Asked anew for each tile, as the rounds are.
__device__ __forceinline__ Visibility<mask> visibility_anew(const AttentionFwdParams &params) {
  Visibility<mask> seen = visibility<mask>(params);
  seen.keys = computed_here(seen.keys);
  return seen;
}
// Rows of a tile that a head has, or that lie before the tile's first one of a query.
__device__ __forceinline__ int32_t queries_in(const AttentionFwdParams &params, int32_t rows) {
  return packs ? rows / params.heads_per_kv : rows;
}
__device__ __forceinline__ Visibility<mask>::Tiles tiles_seen(const AttentionFwdParams &params, const BlockWork &work) {
  return visibility_anew(params).tiles_of(work.first_query, queries_in(params, tile_q), tile_kv);
}
template <typename WorkOfKernel>
__device__ __forceinline__ KeyTiles key_tiles(const Params &params, const WorkOfKernel &work) {
  const auto all = tiles_seen(params.attention, work);
  const int32_t end = all.end, first = all.begin();
  if constexpr (packs) {
    const int32_t share = params.split.keys_per_part / tile_kv, begin = share * work.part;
    return {begin, begin >= end ? 0 : end - begin < share ? end - begin : share};
  }
  if (!splits || end == first) return {first, end - first};
  const int32_t share = ceil_div(end - first, cluster_size()), begin = first + share * cluster_rank();
  // Who has none multiplies one behind the end, of which all is masked.
  return {begin, begin >= end ? 1 : end - begin < share ? end - begin : share};
}

// One thread, or a warp of which one lane asks, has everything copied, as far ahead as there is room. The copy engine reads `maps` where the
// launch put them.
__device__ __forceinline__ void copy_tiles(const Params &first_params, const Params &maps, const Shared &shared,
                                           const OfRagged &looked_up) {
  const auto rounds = rounds_of<WorkRounds>(first_params, blockIdx.x, gridDim.x);
  uint32_t step = 0, queries = 0;
  const bool asks = KeyBoxes::threads == 1 || threadIdx.x == 0;
  prefetch_tensor_map(maps.query), prefetch_tensor_map(maps.key), prefetch_tensor_map(maps.value);
#pragma unroll 1
  for (int32_t round = 0; round < rounds.count; ++round) {
    if constexpr (ragged) looked_up.wait(round);
    const Params &params = of_round<ragged>(first_params, round);
    const Work work = rounds.work(params.attention, round);
    if (ragged && work.first_query == OfRagged::end_of_all) return;
    const KeyTiles tiles = ragged && work.first_query < 0 ? KeyTiles{} : key_tiles(params, work);
    const auto release = [&] {
      if constexpr (paged) __syncwarp();
      if (ragged && asks) looked_up.release(round);
    };
    if (tiles.count == 0) {
      release();
      continue;
    }
    const auto boxes = KeyBoxes::of<ragged>(params, work);
    const auto copy_key = [&](int32_t tile, uint32_t of_step, const PageEntries &entries) {
      shared.key_empty(of_step).wait(Shared::parity(of_step) ^ 1);
      boxes.template copy<head_dim>(shared.key(of_step), maps.key, shared.key_full(of_step), tiles.begin + tile,
                                    work.head_kv, entries.key);
    };
    const auto copy_value = [&](int32_t tile, uint32_t of_step, const PageEntries &entries) {
      shared.value_empty(of_step).wait(Shared::parity(of_step) ^ 1);
      boxes.template copy<head_dim_v>(shared.value(of_step), maps.value, shared.value_full(of_step), tiles.begin + tile,
                                      work.head_kv, entries.value);
    };
    int32_t tile = tiles.count - 1;
    PageEntries entries = boxes.look_up(tiles.begin + tile), next = boxes.look_up(tiles.begin + tile - 1);
    copy_key(tile, step, entries);
    shared.query_empty(queries).wait(Shared::query_parity(queries) ^ 1);
    if constexpr (packs)
      Packed::copy_query<head_dim>(params.attention, maps.query, shared.query(queries), shared.query_full(queries),
                                   work);
    else if (asks)
      copy_tile<tile_q, head_dim>(shared.query(queries), maps.query, shared.query_full(queries),
                                  work.first_query + (ragged ? params.sequence.first_query_row : 0), work.head_q,
                                  ragged ? params.sequence.query_batch : work.batch);
    ++queries;
#pragma unroll 1
    for (; tile > 0; --tile, ++step) {
      const PageEntries ahead = boxes.look_up(tiles.begin + tile - 2);
      copy_key(tile - 1, step + 1, next);
      copy_value(tile, step, entries);
      entries = next, next = ahead;
    }
    copy_value(0, step, entries);
    ++step;
    release();
  }
}

// One step; products run where the line is, and the other warpgroups' where it is not:
//
//   S = Q.K(n-1)^T ----         (turn: issued with P.V(n), then the next warpgroup's are)
//   O += P.V(n)        -------
//               softmax(S)      (as soon as S is there)
//                          P = S rounded ; O to the new reference
__device__ __forceinline__ void multiply_tiles(const Params &first_params, const Shared &shared, int32_t warpgroup,
                                               const OfRagged &looked_up) {
  const auto rounds = rounds_anew(first_params);
  const bool first_thread = threadIdx.x % 128 == 0;
  const auto leader = [&] { return head_dim_v > 192 ? thread_anew() % 128 == 0 : first_thread; };
  const Turns<takes_turns, multipliers> turn{warpgroup};
  const SharedAddress own_query = shared.query(0) + warpgroup * 64 * 128;
  uint32_t step = 0, queries = 0;
  Attention::Scores next_scores;            // of a tile to come
  [[maybe_unused]] int32_t last_round = 0;  // of a ragged batch
  const bool all_have_keys =
      visibility_anew(first_params.attention).all_see_keys() && (!packs || first_params.split.parts == 1);
  const auto next_round = [&](int32_t round) {  // that has keys
    if constexpr (ragged) {
      looked_up.wait(last_round = round + 1);
      return looked_up.of(last_round).work.first_query < 0 ? rounds.count : last_round;
    }
    ++round;
    if constexpr (mask.end_moves)
#pragma unroll 1
      for (; !all_have_keys && round < rounds.count; ++round) {
        const Work work = rounds.work(first_params.attention, round);
        if (packs ? key_tiles(first_params, work).count > 0 : tiles_seen(first_params.attention, work).any()) break;
      }
    return round;
  };
  // Before all others, because it would take registers between them.
  if constexpr (mask.end_moves && !ragged)
#pragma unroll 1
    for (int32_t round = 0; !all_have_keys && round < rounds.count; ++round) {
      const AttentionFwdParams &attention = first_params.attention;
      const Work work = rounds.work(attention, round);
      if constexpr (packs) {  // where keys are split the merge writes them
        if (!tiles_seen(attention, work).any() && first_params.split.parts == 1)
          Packed::write_zeros(attention, work, first_row_of_warp(warpgroup));
      } else if (!tiles_seen(attention, work).any() && (!splits || cluster_rank() == 0)) {
        Whole::write_zeros(attention, work, work.first_query + warpgroup * 64);
      }
    }
  const auto multiply_query_key = [&](Attention::Scores &scores, uint32_t of_step) {
    Attention::multiply_query_key(scores, own_query + queries % query_stages_here * query_bytes, shared.key(of_step));
  };
  // Of the round, if there is one. If not, it is a product of what was left in shared memory, which nobody reads: behind a branch the compiler would
  // have every product waited for.
  const auto begin_tile = [&](Attention::Scores &scores, uint32_t of_step, int32_t round) {
    if (round < rounds.count) {
      const AttentionFwdParams &attention = of_round<ragged>(first_params, round).attention;
      shared.query_full(queries).wait(Shared::query_parity(queries));
      if (attention.negate_query != 0) {
        negate_query<tile_q, head_dim>(own_query + queries % query_stages_here * query_bytes);
        barrier_wait(1 + multipliers + warpgroup, 128);
      }
      if constexpr (ragged) {
        const int32_t left = attention.seqlen_q - rounds.work(attention, round).first_query - warpgroup * 64;
        if (left < 64) {
          clear_rows<128, tile_q, head_dim>(own_query + queries % query_stages_here * query_bytes, left < 0 ? 0 : left,
                                            64, thread_anew() % 128);
          barrier_wait(1 + multipliers + warpgroup, 128);
        }
      }
      shared.key_full(of_step).wait(Shared::parity(of_step));
    }
    wgmma_fence();
    multiply_query_key(scores, of_step);
    wgmma_commit();
  };
  turn.begin();
  int32_t round = next_round(-1);
  if constexpr (overlaps) {
    turn.wait();
    begin_tile(next_scores, 0, round);
    turn.pass();
  }
#pragma unroll 1
  while (round < rounds.count) {
    const Params &params = of_round<ragged>(first_params, round);
    const AttentionFwdParams &attention = params.attention;
    const Work work = rounds_anew(first_params).work(attention, round);
    const int32_t first_row = work.first_query + queries_in(attention, warpgroup * 64);  // its query
    const auto [begin, count] = key_tiles(params, work);
    Attention::Output output;
    Attention::RowState state;
    // Of one tile from its beginning on: what is held from tile to tile takes registers in between.
    Attention::Scores own_scores;
    Attention::Scores &scores = overlaps ? next_scores : own_scores;
    Attention::Probabilities probabilities;
    Attention::OutputSum output_sum;
    Attention::TileEffect effect;
    int32_t tile = count - 1;  // of the block's own
    if constexpr (leaves_out_hidden) {
      const int32_t seen =
          first_row < attention.seqlen_q ? visibility_anew(attention).tiles_of(first_row, 64, tile_kv).end - begin : 1;
#pragma unroll 1
      for (; tile > 0 && tile >= seen; --tile, ++step) {
        shared.key_full(step).wait(Shared::parity(step)), shared.value_full(step).wait(Shared::parity(step));
        turn.wait(), turn.pass();
        if (leader()) shared.key_empty(step).arrive(), shared.value_empty(step).arrive();
      }
    }
    const int32_t first_tile = tile;
    const int32_t whole_end = static_cast<int32_t>(visibility_anew(attention).keys_of(first_row).end) / tile_kv - begin;
    const int32_t whole_begin =
        mask.begin_moves ? visibility_anew(attention).whole_begin_of(first_row, 64, tile_kv) - begin : 0;
    Attention::ShownByMask shown;  // of the tile to come: bits, which are read ahead of its products
    const auto look_at_mask = [&] {
      Scored::look_at_mask(shown, attention, work, (begin + tile) * tile_kv, warpgroup, first_row);
    };
    const auto exponentiate = [&](auto with_mask) {
      Scored::template change<decltype(with_mask)::value>(scores, shown, attention, work, (begin + tile) * tile_kv,
                                                          warpgroup, first_row);
      effect = Attention::exponentiate(scores, state, Attention::scale_log2(attention));
    };
    const auto add_values = [&](uint32_t of_step) {
      shared.value_full(of_step).wait(Shared::parity(of_step));
      wgmma_fence();
      Attention::multiply_probability_value(output, probabilities, shared.value(of_step));
      wgmma_commit();
    };
    bool pending = true;  // are values of the step to be multiplied?
    const auto add_pending = [&](uint32_t of_step) {
      if (!pending) {  // no product meets all warps here, and what one still waits for is not to be released
        shared.value_full(of_step).wait(Shared::parity(of_step));
        return barrier_wait(1 + multipliers + warpgroup, 128);
      }
      add_values(of_step);
      if constexpr (has_mask<Variant>)
        wgmma_wait<0>();  // behind a branch the compiler would have all products waited for
    };
    look_at_mask();
    if constexpr (!overlaps) {
      turn.wait();
      begin_tile(scores, step, round);
      turn.pass();
    }
    wgmma_wait<0>();
    if (leader()) shared.key_empty(step).arrive();
    exponentiate(Constant<true>{});
    if constexpr (ragged) {
      const int32_t left = attention.seqlen_kv - (begin + tile) * tile_kv;
      if (left < tile_kv) {
        shared.value_full(step).wait(Shared::parity(step));
        clear_rows<multipliers * 128, tile_kv, head_dim_v>(shared.value(step), left, tile_kv, thread_anew() - 128);
        barrier_wait(1 + 2 * multipliers, multipliers * 128);
      }
    }
    Attention::clear(output);
    Attention::round_probabilities(probabilities, scores);
    Attention::take_excess_back(scores, probabilities, state, effect, Attention::scale_log2(attention));
    // Down to tile `last`, or to one of which the mask hides all, or that is behind such a one.
    bool some = true, alone = false;
    const auto steps_to = [&](int32_t last, auto with_mask) {
#pragma unroll 1
      for (; tile >= last && !alone; --tile, ++step) {
        look_at_mask();
        if constexpr (has_mask<Variant>) {
          some = barrier_wait_or(1 + multipliers + warpgroup, 128, shown.any());
          if (alone = !some || !pending; alone) break;
        }
        shared.key_full(step + 1).wait(Shared::parity(step + 1));
        turn.wait();
        wgmma_fence();
        multiply_query_key(scores, step + 1);
        wgmma_commit();
        add_values(step);
        turn.pass();
        wgmma_wait<1>();
        if (leader()) shared.key_empty(step + 1).arrive();
        exponentiate(with_mask);
        wgmma_wait<0>();
        if (leader()) shared.value_empty(step).arrive();
        Attention::round_probabilities(probabilities, scores);
        Attention::rescale_output(output, effect.rescale);
        Attention::take_excess_back(scores, probabilities, state, effect, Attention::scale_log2(attention));
      }
    };
    --tile;
#pragma unroll 1
    while (tile >= 0) {
      const int32_t last = Attention::OutputSum::last_before_end(tile + 1) - 1;
      // Two loops, because a branch around the mask bounds what the compiler moves about: it would wait for P.V before the maxima.
      if constexpr (mask.end_moves) steps_to(last < whole_end ? whole_end : last, Constant<true>{});
      if constexpr (mask.begin_moves) {
        steps_to(last < whole_begin ? whole_begin : last, Constant<false>{});
        steps_to(last, Constant<true>{});
      } else {
        steps_to(last, Constant<false>{});
      }
      if (alone) {  // without its own products, and those of the step before by themselves
        turn.wait();
        shared.key_full(step + 1).wait(Shared::parity(step + 1));
        add_pending(step);
        turn.pass();
        if (some) {
          wgmma_fence();
          multiply_query_key(scores, step + 1);
          wgmma_commit();
          wgmma_wait<0>();
          exponentiate(Constant<true>{});
          Attention::round_probabilities(probabilities, scores);
          Attention::rescale_output(output, effect.rescale);
          Attention::take_excess_back(scores, probabilities, state, effect, Attention::scale_log2(attention));
        }
        if (leader()) shared.key_empty(step + 1).arrive(), shared.value_empty(step).arrive();
        pending = some, alone = false, ++step;
        if (--tile >= last) continue;
      }
      if (tile >= 0)
        output_sum.end_stretch(output, state.reference, last + 1, first_tile, Attention::scale_log2(attention));
    }
    if (leader()) shared.query_empty(queries).arrive();
    ++queries;
    int32_t next = 0;
    if constexpr (overlaps) {
      next = next_round(round);
      turn.wait();
      add_pending(step);
      begin_tile(next_scores, step + 1, next);
      turn.pass();
      wgmma_wait<1>();
    } else {
      add_pending(step);
      wgmma_wait<0>();
    }
    if (leader()) shared.value_empty(step).arrive();
    output_sum.end_stretch(output, state.reference, 0, first_tile, Attention::scale_log2(attention));
    ++step;
    if constexpr (splits) {
      barrier_wait(1 + 2 * multipliers, multipliers * 128);  // no warpgroup has use for a tile any more
      const float sum[2] = {quad_sum(state.row_sum[0][0]), quad_sum(state.row_sum[0][1])};
      Merge{shared.base}.store(thread_anew() / 32 - 4, output, state.reference[0], sum,
                               __any_sync(0xffffffffu, Attention::is_lost(output, state)));
      break;
    }
    // What the loop has no use for is worked out anew, and not held in registers, of which it has none to spare.
    const Work done = rounds_anew(first_params).work(attention, computed_here(round));
    if constexpr (packs)
      Packed::write(attention, params.split, done, first_row_of_warp(thread_anew() / 128 - 1), output, state);
    else
      Whole::write(attention, done, done.first_query + thread_anew() / 128 * 64 - 64, output, state);
    if constexpr (ragged) looked_up.release_by_warp(round);
    if constexpr (!overlaps) next = next_round(round);
    round = next;
  }
  wgmma_wait<0>();
  turn.end();
  // Tiles that see no key.
  if constexpr (ragged)
#pragma unroll 1
    while (looked_up.of(last_round).work.first_query != OfRagged::end_of_all) {
      const Params &params = looked_up.of(last_round);
      if (params.work.first_query >= 0)
        Whole::write_zeros(params.attention, params.work, params.work.first_query + warpgroup * 64);
      looked_up.release_by_warp(last_round);
      looked_up.wait(++last_round);
    }
  if constexpr (packs) let_next_launch_begin();
}

// After all blocks of the cluster have stored theirs.
__device__ __forceinline__ void merge_output(const Params &params, const Shared &shared) {
  const AttentionFwdParams &attention = params.attention;
  const Work work = rounds_anew(params).work(attention, 0);
  if (!tiles_seen(attention, work).any()) return;
  Merge{shared.base}.merge(attention, work, thread_anew() / 32 - 4, Attention::scale_log2(attention),
                           [&](int32_t first_query) { Whole::compute_again(attention, work, first_query); });
}

}  // namespace flashcore::kernels::sm90_fwd_wgmma

extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm90_fwd_wgmma::threads(flashcore::kernels::chosen), 1)
    sm90_fwd_wgmma(const __grid_constant__ flashcore::kernels::sm90_fwd_wgmma::Params given) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::sm90_fwd_wgmma;
  extern __shared__ __align__(1024) unsigned char memory[];
  const Shared shared{shared_address(memory)};
  const OfRagged looked_up{reinterpret_cast<Params *>(memory + bytes_before_rounds(chosen))};
  if constexpr (ragged) looked_up.begin<threads(chosen)>(given);
  const Params &params = ragged ? *looked_up.own : given;
  if (threadIdx.x == 0) shared.init_barriers();
  if constexpr (packs) Packed::clear_unused_rows<threads(chosen), panels(head_dim)>(params.attention, shared.query(0));
  __syncthreads();
  const int32_t warpgroup = __shfl_sync(0xffffffffu, static_cast<int32_t>(threadIdx.x) / 128, 0);
  // Both branches come to the barriers by themselves: behind them the compiler would have the registers of the copier alone.
  if (warpgroup == 0) {
    give_registers_back<registers_of_copier>();
    if (threadIdx.x < KeyBoxes::threads) copy_tiles(params, given, shared, looked_up);
    if (ragged && threadIdx.x / 32 == 1) looked_up.look_up(given);
    if constexpr (splits) {
      __syncwarp();
      cluster_barrier();
      cluster_barrier();
    }
  } else {
    take_registers<registers_of_multiplier>();
    multiply_tiles(params, shared, warpgroup - 1, looked_up);
    if constexpr (splits) {
      cluster_barrier();
      merge_output(params, shared);
      cluster_barrier();  // no block leaves while others read its shared memory
    }
  }
}

// Of packed rows alone.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::grid_split::merge_threads)
    sm90_fwd_wgmma_merge(const __grid_constant__ flashcore::kernels::sm90_fwd_wgmma::Params params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::sm90_fwd_wgmma;
  extern __shared__ __align__(16) float shared[];
  if constexpr (packs)
    GridMerge<OutputRows, head_dim_v, mask, Variant>::run(
        params.attention, params.split, shared, Attention::scale_log2(params.attention),
        [](const AttentionFwdParams &of_call, const PackedRow &row) { Packed::compute_row_again(of_call, row); });
}
#endif
