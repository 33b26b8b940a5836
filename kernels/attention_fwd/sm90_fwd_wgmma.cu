// SPDX-License-Identifier: Apache-2.0
//
// sm90_fwd_wgmma: Hopper's own instructions. One warpgroup has tiles of Q, K and V copied by the copy engine, two or
// three others multiply with wgmma, whose products run in the background while the exponentials of another tile are
// computed (FlashAttention-3, arXiv 2407.08608, is the algorithm). Blocks stay for the whole call, so that one tile's
// end and the next one's copies overlap. docs/HOPPER.md tells what was tried.
#include "attention_fwd/wgmma.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm90_fwd_wgmma {

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm90_fwd_wgmma",
    .summary = "Hopper: wgmma and tensor copies, warpgroups that copy and warpgroups that multiply",
    .minimum_arch = 90,
    .maximum_arch = 90,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = on_choices<allows>,
    .refuse = refuse,
    .serves = on_choices<serves>,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = sizeof(Params),
    .pack = pack,
    .patches = patches.list,
    .tensor_maps = on_choices<tensor_maps>,
    .further_entry_points = {"sm90_fwd_wgmma_merge"},
};
#endif
}  // namespace flashcore::kernels::sm90_fwd_wgmma

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/cluster_merge.cuh"
#include "parts/head_tile.cuh"
#include "parts/packed_tile.cuh"
#include "parts/ptx_sm90.cuh"
#include "parts/rounds.cuh"
#include "parts/sequence.cuh"
#include "parts/wgmma_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm90_fwd_wgmma {

constexpr int32_t dtype = chosen.dtype, head_dim = chosen.head_dim, head_dim_v = chosen.head_dim_v;
constexpr int32_t tile_q = chosen.tile_q, tile_kv = chosen.tile_kv, multipliers = warpgroups(chosen);
// Of each thread; together what the block was launched with, or less: a warpgroup waits for registers that nobody gives back.
constexpr bool shares_keys = chosen.split != 0 || chosen.packed != 0;
constexpr int32_t registers_of_copier = multipliers == 3 ? 32 : shares_keys ? 40 : 24;
constexpr int32_t registers_of_multiplier = multipliers == 3 ? 160 : shares_keys ? 232 : 240;
// Warpgroups take turns at the tensor cores, so that one's exponentials fall into the other's products. At D=256 the
// products are so much longer that they do so by themselves.
constexpr bool takes_turns = multipliers > 1 && head_dim_v <= 128;
constexpr Mask mask = mask_of(chosen.causal != 0, chosen.window);

// How rows of V behind a mask are reached once more (parts/rows.cuh); the copy engine knows dense tensors.
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
// Tiles of rows of all heads that share a key head, of which each block multiplies parts of the keys.
constexpr bool packs = chosen.packed != 0;
using Attention =
    WgmmaAttention<WgmmaShape{dtype, head_dim, head_dim_v, tile_q, tile_kv, mask, packs}, Variant, KeyRows>;
// The blocks of a cluster share the keys of one tile of queries, and merge what they have. A cluster has one tile: its shared memory is read
// by others at the end, when the next tile's keys would be copied to it.
constexpr bool splits = chosen.split != 0;
using Merge = ClusterMerge<dtype, head_dim_v, multipliers * 4, Variant>;
static_assert(!splits || Merge::bytes <= dynamic_shared_bytes(chosen));
using Whole = HeadTile<Attention, mask, KeyRows, Variant>;
using Packed = PackedTile<Attention, tile_q, mask, KeyRows, Variant>;
// Of a ragged batch a block has one tile, which its own parameters name.
constexpr bool ragged = chosen.rows != rows_dense;
struct OnlyRound {
  using Work = BlockWork;
  const BlockWork &only;
  int32_t count = 1;
  __device__ __forceinline__ BlockWork work(const AttentionFwdParams &, int32_t) const { return only; }
};
__device__ __forceinline__ AttentionFwdParams &attention_of(Params &params) { return params.attention; }
__device__ __forceinline__ const AttentionFwdParams &attention_of(const Params &params) { return params.attention; }
using WorkRounds =
    OneOf<ragged, OnlyRound, OneOf<packs, PackedRounds<tile_q>, Rounds<tile_q, splits ? no_mask : mask>>>;
using Work = WorkRounds::Work;
template <typename OfKernel>
__device__ __forceinline__ OfKernel rounds_of(const Params &params, uint32_t block, uint32_t blocks) {
  if constexpr (ragged) {
    return OfKernel{params.work};
  } else if constexpr (packs) {
    return OfKernel::of(params.attention, params.split.parts, block, blocks);
  } else {
    const uint32_t sharing = splits ? static_cast<uint32_t>(cluster_size()) : 1;
    return OfKernel::of(params.attention, block / sharing, blocks / sharing);
  }
}
// Worked out where they are asked for: what is the same for all tiles would be held in registers from the beginning of the kernel on, and
// spilled by wide heads.
__device__ __forceinline__ WorkRounds rounds_anew(const Params &params) {
  return rounds_of<WorkRounds>(params, static_cast<uint32_t>(computed_here(static_cast<int32_t>(blockIdx.x))),
                               static_cast<uint32_t>(computed_here(static_cast<int32_t>(gridDim.x))));
}
constexpr bool may_see_nothing = mask.end_moves || ragged;  // a tile of queries
constexpr uint32_t query_stages_here = query_stages(chosen);
constexpr bool overlaps = tiles_overlap(chosen);

constexpr int32_t query_bytes = tile_bytes(tile_q, head_dim), key_bytes = tile_bytes(tile_kv, head_dim),
                  value_bytes = tile_bytes(tile_kv, head_dim_v);

// Shared memory. A full barrier ends a phase when a tile has arrived, an empty one when all multipliers are done with
// it.
struct Shared {
  SharedAddress base;

  // Queries are counted through the call as steps are.
  __device__ __forceinline__ SharedAddress query(uint32_t count) const {
    return base + count % query_stages_here * query_bytes;
  }
  __device__ __forceinline__ SharedAddress key(uint32_t step) const {
    return base + query_stages_here * query_bytes + step % stages * key_bytes;
  }
  __device__ __forceinline__ SharedAddress value(uint32_t step) const {
    return base + query_stages_here * query_bytes + stages * key_bytes + step % stages * value_bytes;
  }
  __device__ __forceinline__ SharedBarrier barrier(uint32_t index) const {
    return {base + query_stages_here * query_bytes + stages * (key_bytes + value_bytes) + index * 8};
  }
  __device__ __forceinline__ SharedBarrier key_full(uint32_t step) const { return barrier(step % stages); }
  __device__ __forceinline__ SharedBarrier key_empty(uint32_t step) const { return barrier(stages + step % stages); }
  __device__ __forceinline__ SharedBarrier value_full(uint32_t step) const {
    return barrier(2 * stages + step % stages);
  }
  __device__ __forceinline__ SharedBarrier value_empty(uint32_t step) const {
    return barrier(3 * stages + step % stages);
  }
  __device__ __forceinline__ SharedBarrier query_full(uint32_t count) const {
    return barrier(4 * stages + count % query_stages_here);
  }
  __device__ __forceinline__ SharedBarrier query_empty(uint32_t count) const {
    return barrier(4 * stages + query_stages_here + count % query_stages_here);
  }
  __device__ __forceinline__ void init_barriers() const {
    for (uint32_t stage = 0; stage < query_stages_here; ++stage)
      query_full(stage).init(1), query_empty(stage).init(multipliers);
    for (uint32_t stage = 0; stage < stages; ++stage) {
      key_full(stage).init(1), key_empty(stage).init(multipliers);
      value_full(stage).init(1), value_empty(stage).init(multipliers);
    }
    fence_barrier_init();
  }
};
// Steps are counted through the whole call; a stage's phases are those of the steps that use it.
__device__ __forceinline__ uint32_t parity(uint32_t step) { return step / stages & 1; }
__device__ __forceinline__ uint32_t query_parity(uint32_t count) { return count / query_stages_here & 1; }

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
// Of the tiles of keys that a tile of queries sees, those that this block multiplies; no query sees a key where there are none.
struct KeyTiles {
  int32_t begin, count;
};
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

// A box of the heads that share a key head; the rows behind it, if there are, stay as they are.
__device__ __forceinline__ void copy_packed_query(const Params &params, const Shared &shared, uint32_t queries,
                                                  const BlockWork &work) {
  const SharedBarrier full = shared.query_full(queries);
  full.arrive_expecting(static_cast<uint32_t>(tile_bytes(Packed::rows_used(params.attention), head_dim)));
#pragma unroll
  for (int32_t panel = 0; panel < panels(head_dim); ++panel)
    copy_box(shared.query(queries) + panel * tile_q * panel_columns * 2, params.query, full, panel * panel_columns,
             work.head_q, work.first_query, work.batch);
}

// One thread has everything copied, as far ahead as there is room. The copy engine reads `maps` where the launch put them.
__device__ __forceinline__ void copy_tiles(const Params &params, const Params &maps, const Shared &shared) {
  const auto rounds = rounds_of<WorkRounds>(params, blockIdx.x, gridDim.x);
  uint32_t step = 0, queries = 0;
  prefetch_tensor_map(maps.query), prefetch_tensor_map(maps.key), prefetch_tensor_map(maps.value);
#pragma unroll 1
  for (int32_t round = 0; round < rounds.count; ++round) {
    const Work work = rounds.work(params.attention, round);
    if (work.first_query < 0) continue;
    const KeyTiles tiles = key_tiles(params, work);
    if (tiles.count == 0) continue;
    // Where the sequence is in the tensors of the batch.
    const int32_t query_batch = ragged ? params.sequence.query_batch : work.batch,
                  first_query = work.first_query + (ragged ? params.sequence.first_query_row : 0),
                  key_batch = ragged ? params.sequence.key_batch : work.batch,
                  first_key = ragged ? params.sequence.first_key_row : 0;
    const auto copy = [&](SharedAddress destination, const TensorMap &map, SharedBarrier full, int32_t rows,
                          int32_t columns, int32_t row, int32_t head, int32_t batch) {
      full.arrive_expecting(static_cast<uint32_t>(tile_bytes(rows, columns)));
#pragma unroll
      for (int32_t panel = 0; panel < panels(columns); ++panel)
        copy_box(destination + panel * rows * panel_columns * 2, map, full, panel * panel_columns, row, head, batch);
    };
    const auto copy_key = [&](int32_t tile, uint32_t of_step) {
      shared.key_empty(of_step).wait(parity(of_step) ^ 1);
      copy(shared.key(of_step), maps.key, shared.key_full(of_step), tile_kv, head_dim,
           first_key + (tiles.begin + tile) * tile_kv, work.head_kv, key_batch);
    };
    const auto copy_value = [&](int32_t tile, uint32_t of_step) {
      shared.value_empty(of_step).wait(parity(of_step) ^ 1);
      copy(shared.value(of_step), maps.value, shared.value_full(of_step), tile_kv, head_dim_v,
           first_key + (tiles.begin + tile) * tile_kv, work.head_kv, key_batch);
    };
    copy_key(tiles.count - 1, step);
    shared.query_empty(queries).wait(query_parity(queries) ^ 1);
    if constexpr (packs)
      copy_packed_query(params, shared, queries, work);
    else
      copy(shared.query(queries), maps.query, shared.query_full(queries), tile_q, head_dim, first_query, work.head_q,
           query_batch);
    ++queries;
#pragma unroll 1
    for (int32_t tile = tiles.count - 1; tile > 0; --tile, ++step) {
      copy_key(tile - 1, step + 1);
      copy_value(tile, step);
    }
    copy_value(0, step);
    ++step;
  }
}

// Turns of the multipliers: each issues its products when the one before has issued its own. Barriers 1 .. multipliers.
struct Turn {
  int32_t warpgroup;
  __device__ __forceinline__ void begin() const {
    if (takes_turns && warpgroup == 0) barrier_arrive(1, 256);
  }
  __device__ __forceinline__ void wait() const {
    if (takes_turns) barrier_wait(1 + warpgroup, 256);
  }
  __device__ __forceinline__ void pass() const {
    if (takes_turns) barrier_arrive(warpgroup + 1 == multipliers ? 1 : warpgroup + 2, 256);
  }
  __device__ __forceinline__ void end() const {
    if (takes_turns && warpgroup == 0) barrier_wait(1, 256);
  }
};

// A negative softmax scale turns the largest score into the smallest; the warpgroup's queries change sign instead.
__device__ __forceinline__ void negate_query(SharedAddress query) {
#pragma unroll 1
  for (int32_t chunk = thread_anew() % 128; chunk < panels(head_dim) * 64 * 8; chunk += 128) {
    const SharedAddress at = query + chunk / 512 * tile_q * 128 + chunk % 512 * 16;
    uint4 value = load_shared_16(at);
    value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;
    store_shared_16(at, value);
  }
  fence_shared_for_async();
}

// Behind a sequence's rows lie those of another one, or whatever a cache holds there. Rows from `end` on of a tile of `rows` become zeros, by
// `threads` threads, so that no infinity and no NaN among them meets a probability of 0, or spoils a warp's other rows.
template <int32_t threads, int32_t rows, int32_t columns>
__device__ __forceinline__ void clear_rows(SharedAddress tile, int32_t first, int32_t end, int32_t thread) {
  const int32_t chunks = (end - first) * 8;
#pragma unroll 1
  for (int32_t i = thread; i < panels(columns) * chunks; i += threads)
    store_shared_16(tile + i / chunks * rows * 128 + first * 128 + i % chunks * 16, make_uint4(0, 0, 0, 0));
  fence_shared_for_async();
}

// In the tile.
__device__ __forceinline__ int32_t first_row_of_warp(int32_t warpgroup) {
  return warpgroup * 64 + thread_anew() % 128 / 32 * 16;
}

// One step; products run where the line is, and the other warpgroups' where it is not:
//
//   S = Q.K(n-1)^T ----         (turn: issued with P.V(n), then the next warpgroup's are)
//   O += P.V(n)        -------
//               softmax(S)      (as soon as S is there)
//                          P = S rounded ; O to the new reference
__device__ __forceinline__ void multiply_tiles(const Params &params, const Shared &shared, int32_t warpgroup) {
  const AttentionFwdParams &attention = params.attention;
  const auto rounds = rounds_anew(params);
  const bool first_thread = threadIdx.x % 128 == 0;
  const auto leader = [&] { return head_dim_v > 192 ? thread_anew() % 128 == 0 : first_thread; };
  const Turn turn{warpgroup};
  const SharedAddress own_query = shared.query(0) + warpgroup * 64 * 128;
  uint32_t step = 0, queries = 0;
  Attention::Scores next_scores;  // of a tile to come
  // The next round after this one that has keys; without a mask all have.
  const auto next_round = [&](int32_t round) {
    if constexpr (!may_see_nothing) return round + 1;
#pragma unroll 1
    for (++round; round < rounds.count; ++round) {
      const Work work = rounds.work(attention, round);
      if (work.first_query >= 0 && (packs ? key_tiles(params, work).count > 0 : tiles_seen(attention, work).any()))
        break;
    }
    return round;
  };
  // Before all others, because it would take registers between them.
  if constexpr (may_see_nothing)
#pragma unroll 1
    for (int32_t round = 0; round < rounds.count; ++round) {
      const Work work = rounds.work(attention, round);
      if constexpr (packs) {  // where keys are split the merge writes them
        if (!tiles_seen(attention, work).any() && params.split.parts == 1)
          Packed::write_zeros(attention, work, first_row_of_warp(warpgroup));
      } else if (work.first_query >= 0 && !tiles_seen(attention, work).any() && (!splits || cluster_rank() == 0)) {
        Whole::write_zeros(attention, work, work.first_query + warpgroup * 64);
      }
    }
  const auto multiply_query_key = [&](Attention::Scores &scores, uint32_t of_step) {
    Attention::multiply_query_key(scores, own_query + queries % query_stages_here * query_bytes, shared.key(of_step));
  };
  // `there`: is there a tile? If not, it is a product of what was left in shared memory, which nobody reads: behind a branch the compiler would
  // have every product waited for.
  const auto begin_tile = [&](Attention::Scores &scores, uint32_t of_step, bool there) {
    if (there) {
      shared.query_full(queries).wait(query_parity(queries));
      if (attention.negate_query != 0) {
        negate_query(own_query + queries % query_stages_here * query_bytes);
        barrier_wait(1 + multipliers + warpgroup, 128);
      }
      if constexpr (ragged) {
        const int32_t left = attention.seqlen_q - params.work.first_query - warpgroup * 64;
        if (left < 64) {
          clear_rows<128, tile_q, head_dim>(own_query + queries % query_stages_here * query_bytes, left < 0 ? 0 : left,
                                            64, thread_anew() % 128);
          barrier_wait(1 + multipliers + warpgroup, 128);
        }
      }
      shared.key_full(of_step).wait(parity(of_step));
    }
    wgmma_fence();
    multiply_query_key(scores, of_step);
    wgmma_commit();
  };
  turn.begin();
  int32_t round = next_round(-1);
  if constexpr (overlaps) {
    turn.wait();
    begin_tile(next_scores, 0, round < rounds.count);
    turn.pass();
  }
#pragma unroll 1
  while (round < rounds.count) {
    const Work work = rounds_anew(params).work(attention, round);
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
    const int32_t whole_end = static_cast<int32_t>(visibility_anew(attention).keys_of(first_row).end) / tile_kv - begin;
    const int32_t whole_begin =
        mask.begin_moves ? visibility_anew(attention).whole_begin_of(first_row, 64, tile_kv) - begin : 0;
    const auto exponentiate = [&](auto with_mask) {
      if constexpr (Variant::changes_scores && packs)
        Packed::change_scores(scores, attention, work, (begin + tile) * tile_kv, first_row_of_warp(warpgroup));
      else if constexpr (Variant::changes_scores)
        Attention::change_scores(scores, attention, work, (begin + tile) * tile_kv,
                                 first_row + thread_anew() % 128 / 32 * 16);
      if constexpr (decltype(with_mask)::value && packs)
        Packed::mask_scores(scores, attention, work, (begin + tile) * tile_kv, first_row_of_warp(warpgroup));
      else if (decltype(with_mask)::value)
        Attention::mask_scores(scores, attention, (begin + tile) * tile_kv, first_row + thread_anew() % 128 / 32 * 16);
      effect = Attention::exponentiate(scores, state, Attention::scale_log2(attention));
    };
    const auto add_values = [&](uint32_t of_step) {
      shared.value_full(of_step).wait(parity(of_step));
      wgmma_fence();
      Attention::multiply_probability_value(output, probabilities, shared.value(of_step));
      wgmma_commit();
    };
    if constexpr (!overlaps) {
      turn.wait();
      begin_tile(scores, step, true);
      turn.pass();
    }
    wgmma_wait<0>();
    if (leader()) shared.key_empty(step).arrive();
    exponentiate(Constant<true>{});
    if constexpr (ragged) {
      const int32_t left = attention.seqlen_kv - (begin + tile) * tile_kv;
      if (left < tile_kv) {
        shared.value_full(step).wait(parity(step));
        clear_rows<multipliers * 128, tile_kv, head_dim_v>(shared.value(step), left, tile_kv, thread_anew() - 128);
        barrier_wait(1 + 2 * multipliers, multipliers * 128);
      }
    }
    Attention::clear(output);
    Attention::round_probabilities(probabilities, scores);
    Attention::take_excess_back(scores, probabilities, state, effect, Attention::scale_log2(attention));
    // Down to tile `last`.
    const auto steps_to = [&](int32_t last, auto with_mask) {
#pragma unroll 1
      for (; tile >= last; --tile, ++step) {
        shared.key_full(step + 1).wait(parity(step + 1));
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
      if (tile >= 0)
        output_sum.end_stretch(output, state.reference, last + 1, count - 1, Attention::scale_log2(attention));
    }
    if (leader()) shared.query_empty(queries).arrive();
    ++queries;
    int32_t next = 0;
    if constexpr (overlaps) {
      next = next_round(round);
      turn.wait();
      add_values(step);
      begin_tile(next_scores, step + 1, next < rounds.count);
      turn.pass();
      wgmma_wait<1>();
    } else {
      add_values(step);
      wgmma_wait<0>();
    }
    if (leader()) shared.value_empty(step).arrive();
    output_sum.end_stretch(output, state.reference, 0, count - 1, Attention::scale_log2(attention));
    ++step;
    if constexpr (splits) {
      barrier_wait(1 + 2 * multipliers, multipliers * 128);  // no warpgroup has use for a tile any more
      const float sum[2] = {quad_sum(state.row_sum[0][0]), quad_sum(state.row_sum[0][1])};
      Merge{shared.base}.store(thread_anew() / 32 - 4, output, state.reference[0], sum,
                               __any_sync(0xffffffffu, Attention::is_lost(output, state)));
      break;
    }
    // What the loop has no use for is worked out anew, and not held in registers, of which it has none to spare.
    const Work done = rounds_anew(params).work(attention, computed_here(round));
    if constexpr (packs)
      Packed::write(attention, params.split, done, first_row_of_warp(thread_anew() / 128 - 1), output, state);
    else
      Whole::write(attention, done, done.first_query + thread_anew() / 128 * 64 - 64, output, state);
    if constexpr (!overlaps) next = next_round(round);
    round = next;
  }
  wgmma_wait<0>();
  turn.end();
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
  BlockWork work{};
  if constexpr (ragged) work = work_of_block<tile_q, mask, chosen.rows>(given.attention, blockIdx.x);
  const Sequence sequence = sequence_of<chosen.rows>(given.attention, work.batch);
  if (ragged && !has_tile<tile_q, mask>(sequence, work)) return;
  unsigned char *const sequence_memory = memory + bytes_before_sequence(chosen);
  const Params &params = params_of_sequence<chosen.rows, threads(chosen)>(given, sequence_memory, sequence, work.batch);
  if (threadIdx.x == 0) {
    if constexpr (ragged)
      reinterpret_cast<Params *>(sequence_memory)->sequence = sequence,
                              reinterpret_cast<Params *>(sequence_memory)->work = work;
    shared.init_barriers();
  }
  if constexpr (packs) Packed::clear_unused_rows<threads(chosen), panels(head_dim)>(params.attention, shared.query(0));
  __syncthreads();
  const int32_t warpgroup = __shfl_sync(0xffffffffu, static_cast<int32_t>(threadIdx.x) / 128, 0);
  // Both branches come to the barriers by themselves: behind them the compiler would have the registers of the copier alone.
  if (warpgroup == 0) {
    give_registers_back<registers_of_copier>();
    if (threadIdx.x == 0) copy_tiles(params, given, shared);
    if constexpr (splits) {
      __syncwarp();
      cluster_barrier();
      cluster_barrier();
    }
  } else {
    take_registers<registers_of_multiplier>();
    multiply_tiles(params, shared, warpgroup - 1);
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
    GridMerge<dtype, head_dim_v, mask, Variant>::run(
        params.attention, params.split, shared, Attention::scale_log2(params.attention),
        [&](const PackedRow &row) { Packed::compute_row_again(params.attention, row); });
}
#endif
