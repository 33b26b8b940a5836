// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_mma: the workhorse on every GPU since Ampere. mma.sync m16n8k16, ldmatrix, cp.async and swizzled shared memory;
// scores, softmax and probabilities never leave the registers (FlashAttention-2, arXiv 2307.08691, is the algorithm).
//
// Tried on the H200 (16k tokens; the gain is over the version before; FlashAttention-2 is the same class of kernel there):
//   kept  lazy rescale, O moves only when a maximum grew by 2^8                                   +3 to +4 %
//   kept  pointers that walk down, bounds only on the last tile (DescendingLoader)                +5 to +9 %
//   kept  one exclusive or for three address bits, constants for the rest (Rows::advance): D=128 without spills   +8 to +10 %
//   kept  Q fragments in registers at D=64                                                        0 to +3 %
//   kept  two stages of K and V where registers allow: memory is late at short sequences          +14 % at S=512, 0 at 16384
//   kept  causal blocks longest first, in groups of heads whose keys fit into L2                  +4 to +10 %
//   kept  no maximum in the steady loop (optimistic references): no branch between the exponentials and P.V, so that
//         they overlap within a warp                                                              +5 to +8 %
//   kept  references at the maximum instead of up to 2^5 above it, raised only for keys that outweigh their row, whose rounding
//         error is taken back: float16 keeps the tail, a dominating key is exact         D=64 -1 to -3 %, D=128 -3 to +4 %
//         of it looking at a tile with 37 instructions before anything else is read: +5 %; P read back by products with ones
//         instead of as integers, which would have every step copy it: +5 %; a multiple of the sum in the state: +1 %
//   kept  two exact tiles, then keys from 7 % of their row on put right instead of from 18 %: of 192 cases of rising, falling and
//         sink scores 3 are above 1.25 times the error of exact maxima, by up to 1.42 times it (before: 1.8)    -6 to -8 % at S=512, 0 at 16384
//   lost  the same from 5 %: 2 of 192, and another -4 to -7 % at S=512; exact maxima in every step: none, and D=64 -14 to -20 %,
//         D=128 -12 to -15 %, causal at S=512 0
//   kept  O of long rows in stretches (parts/long_sum.cuh): from 32,768 keys on errors are those of exact maxima again     -1.6 %
//   lost  row sums of rounded probabilities by a product with ones (in float64 models): 1.3 to 1.8 times the error of exact maxima
//         where values lie around 0, and the logarithm of the sum wrong by 2^-12 or 2^-9
//   lost  more exact steps, until a row has seen 8, 16 or 32 keys: causal -2 to -3 % at D=64, 0 at D=128
//   lost  a fused product for the exponents of exact steps, unless the tile is computed again: causal -2 %
//   kept  the mask compares constants, thread and block are read anew outside the steady loop, values that are not finite
//         are treated after it: 30 registers fewer, no spills                                     +5 to +8 %
//   kept  eight threads to a row of every width in copies (16 at D=128: one more address each)    +2 %
//   kept  O from registers to memory by shuffles; through shared memory                           -2 to -5 % at S=512
//   lost  scores one step ahead of the softmax: D=64 -1 to -4 %, D=128 spills
//   lost  maximum of the tile before, checked by each step's sum in a branch: half of what optimistic references gain
//   lost  masked products skipped by 16 keys: the branches cost more than the products (-5 % at S=512);
//         by tiles, warp by warp: 0
//   lost  several query tiles a block, the next one's copies under the last step's: 0 to +4 %, spills; two stages do more
//   lost  prefetch of the tiles after the next into L2: +5 % at S=512, -2 % at 16384; two stages do more
//   lost  three blocks a multiprocessor (D=64, 128x32, 168 registers) -10 %; eight warps -3 to -15 %
//   lost  D=64: 128x80 -3 %, 128x96 -5 %; D=128: 64x64 -20 %, 128x64 equal but spills; D=256: 128x64 with eight warps -4 %
#include "attention_fwd/choices.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_mma {

enum RowAlignment : int32_t { aligned = 1, unaligned = 2 };  // rows that are 16-byte aligned; rows that are not

struct Tile {
  int32_t head_dim, head_dim_v, tile_q, tile_kv, warps, stages, q_in_registers;
  int32_t rows;  // RowAlignment
};
// A head dimension is served by the next tile that holds it. The tall tiles are the fast ones, the low ones for little work.
// Where a tall tile comes twice, two blocks of the second fit onto a multiprocessor of Ada (100 KB). Rows that are not aligned are
// rare and slow by themselves: three widths do for them.
// clang-format off
inline constexpr Tile tiles[] = {
    {32, 32, 64, 64, 4, 2, 1, aligned},
    {64, 64, 64, 64, 4, 2, 1, aligned | unaligned},
    {64, 64, 128, 64, 4, 2, 1, aligned},
    {96, 96, 64, 64, 4, 1, 0, aligned},
    {96, 96, 128, 64, 4, 2, 0, aligned},
    {96, 96, 128, 64, 4, 1, 0, aligned},
    {128, 128, 64, 64, 4, 1, 0, aligned},
    {128, 128, 64, 32, 4, 1, 0, unaligned},
    {128, 128, 128, 48, 4, 2, 0, aligned},
    {128, 128, 128, 32, 4, 1, 0, aligned},
    {192, 128, 64, 64, 4, 1, 0, aligned},
    {192, 192, 64, 64, 4, 1, 0, aligned},
    {192, 192, 64, 32, 4, 1, 0, aligned},
    {256, 256, 64, 64, 4, 1, 0, aligned},
    {256, 256, 64, 32, 4, 1, 0, unaligned},
};
// clang-format on
inline constexpr int32_t largest_head_dim = 256, shared_work_bytes = 48;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, window, scores, rows, calls, tile_q, tile_kv, warps, stages,
      q_in_registers, alignment_bytes;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim({32, largest_head_dim}),
    attention_fwd::head_dim_v({32, largest_head_dim}),
    attention_fwd::causal,
    attention_fwd::window,
    attention_fwd::scores,
    attention_fwd::rows,
    attention_fwd::calls_that_stay,
    attention_fwd::tile_q({16, 1024}, Tries(16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 256)),
    attention_fwd::tile_kv({16, 256}, Tries(16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 256)),
    attention_fwd::warps({1, 16}, Tries(1, 2, 3, 4, 6, 8, 12, 16)),
    attention_fwd::stages({1, 2}, Tries(1, 2)),
    attention_fwd::q_in_registers({0, 1}, Tries(0, 1)),
    attention_fwd::alignment_bytes({2, 16}),
};
#endif

// Every tile for both types, with and without the causal mask.
constexpr bool specialization(int32_t index, Choices *out) {
  for (const Tile &tile : tiles)
    for (int32_t variant = 0; variant < 8; ++variant) {
      const bool loose = (variant & 4) != 0;
      if ((tile.rows & (loose ? unaligned : aligned)) == 0 || index-- != 0) continue;
      *out = {(variant & 1) != 0 ? dtype_bfloat16 : dtype_float16,
              tile.head_dim,
              tile.head_dim_v,
              (variant & 2) != 0 ? 1 : 0,
              window_none,
              0,
              rows_dense,
              0,
              tile.tile_q,
              tile.tile_kv,
              tile.warps,
              tile.stages,
              tile.q_in_registers,
              loose ? 2 : 16};
      return true;
    }
  return false;
}

// Rows of a tile of this width that `warps` warps copy at once; every thread moves the same number of 16-byte chunks.
constexpr int32_t rows_per_pass(int32_t columns, int32_t warps) { return columns % 64 == 0 ? 4 * warps : 8 * warps; }

// What the body can be compiled for, within the ranges of the choices.
constexpr Refusal allows(const Choices &s) {
  if (s.window == window_in_chunks && s.causal == 0) return attention_fwd::chunk_without_end;
  if (s.head_dim % 32 != 0) return {"head_dim", "32 to 256, by 32"};
  if (s.head_dim_v % 32 != 0) return {"head_dim_v", "32 to 256, by 32"};
  if (s.tile_q % (16 * s.warps) != 0 || s.tile_q > 64 * s.warps)
    return {"tile_q", "16, 32, 48 or 64 rows for each warp"};
  if (s.tile_q % rows_per_pass(s.head_dim, s.warps) != 0)
    return {"tile_q", "a multiple of the rows that are copied at once"};
  if (s.tile_kv % 16 != 0) return {"tile_kv", "16 to 256, by 16"};
  if (s.tile_kv % rows_per_pass(s.head_dim, s.warps) != 0 || s.tile_kv % rows_per_pass(s.head_dim_v, s.warps) != 0)
    return {"tile_kv", "a multiple of the rows that are copied at once"};
  return no_refusal;
}

constexpr int64_t thread_blocks(const Choices &s, const ProblemKey &key) {
  return attention_fwd::query_tiles(key, s.tile_q) * key.heads_q;
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim % 8 != 0 || key.head_dim > largest_head_dim) return {"head_dim", "a multiple of 8 up to 256"};
  if (key.head_dim_v % 8 != 0 || key.head_dim_v > largest_head_dim) return {"head_dim_v", "a multiple of 8 up to 256"};
  // The smallest tile has the most thread blocks; a grid holds 2^31 - 1.
  if (attention_fwd::query_tiles(key, 32) > 0x7fffffff / key.heads_q)
    return {"batch", "batch * heads_q * seqlen_q / 32 below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && key.head_dim <= s.head_dim && key.head_dim_v <= s.head_dim_v &&
         attention_fwd::serves_features(s, key) && s.rows == key.rows && ((s.calls ^ key.calls()) & calls_stay) == 0 &&
         s.alignment_bytes <= key.alignment_bytes && (key.alignment_bytes < 16 || s.alignment_bytes == 16);
}

// The Q tile, the stages of K and V, what the block computes (SharedWork), and the parameters of a ragged batch's sequence.
constexpr int64_t bytes_before_sequence(const Choices &s) {
  return static_cast<int64_t>(s.tile_q * s.head_dim + s.stages * s.tile_kv * (s.head_dim + s.head_dim_v)) * 2 +
         shared_work_bytes;
}
// Where the rows of two tiles of K, or of V, lie in their pages.
constexpr int64_t bytes_of_pages(const Choices &s) { return s.rows == rows_paged ? s.tile_kv * 2 * 8 : 0; }
constexpr int64_t dynamic_shared_bytes(const Choices &s) {
  return bytes_before_sequence(s) + (s.rows == rows_dense ? 0 : sizeof(AttentionFwdParams) + 2 * bytes_of_pages(s));
}

// Blocks that stay are one for each multiprocessor: more would find others than those that they are to stay on.
constexpr Cost cost(const Choices &s, const ProblemKey &key, DeviceLimits device) {
  if (key.multiprocessor_limit != 0)
    device.shared_bytes_per_multiprocessor = static_cast<int32_t>(dynamic_shared_bytes(s)) + 1024;
  return with_memory(
      mma_cost({s.tile_q, s.tile_kv, s.head_dim, s.head_dim_v, s.warps, 1, s.tile_q / (16 * s.warps),
                s.q_in_registers != 0, dynamic_shared_bytes(s), static_cast<double>(thread_blocks(s, key)),
                visibility_of(key).steps_of(s.tile_q, s.tile_kv), 0},
               device),
      key, device);
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  const int64_t blocks = thread_blocks(s, key);
  return single_launch((s.calls & calls_stay) != 0 ? smaller(blocks, device.multiprocessors) : blocks, s.warps * 32,
                       dynamic_shared_bytes(s), cost(s, key, device));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm80_fwd_mma",
    .summary = "mma.sync tensor cores, softmax and probabilities in registers, cp.async",
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
}  // namespace flashcore::kernels::sm80_fwd_mma

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/key_loaders.cuh"
#include "parts/mma_attention.cuh"
#include "parts/output_rows.cuh"
#include "parts/row_end.cuh"
#include "parts/sequence.cuh"
#include "parts/shared_work.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_mma {

constexpr int32_t tile_q = chosen.tile_q, tile_kv = chosen.tile_kv, head_dim = chosen.head_dim,
                  head_dim_v = chosen.head_dim_v;
constexpr int32_t threads = chosen.warps * 32, alignment_bytes = chosen.alignment_bytes, stages = chosen.stages;
// Where a register more would be spilled, the lane is read anew in every step.
constexpr bool tight = head_dim >= 128 && stages > 1 && __CUDA_ARCH__ >= 1000;
// Where the compiler would rather spill than use more registers than three or four blocks have; 0: as it likes.
constexpr int32_t min_blocks = alignment_bytes < 16 || (head_dim == 192 && tile_kv == 32) ? 2 : 0;
static_assert(tile_q % (16 * chosen.warps) == 0);

// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = ChosenKeyRows<chosen.rows>;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
constexpr Mask mask = with_begin(mask_of(chosen.causal != 0, chosen.window), TextOf<Variant>::has_key_range);
using Tiles = KeyTiles<mask>;
using Attention = MmaAttention<MmaShape{chosen.dtype, head_dim, head_dim_v, tile_kv, tile_q / (16 * chosen.warps),
                                        threads, true, mask, chosen.q_in_registers != 0},
                               Variant, KeyRows>;
using Rows = Attention::Rows;
using ValueRows = Attention::ValueRows;
using Loaders = KeyLoaders<chosen.rows, tile_kv, threads, alignment_bytes>;
using OutputRows = RowsOfOutput<chosen.dtype, (chosen.calls & calls_float32_output) != 0>;
constexpr int32_t warp_rows = Attention::warp_rows;
constexpr bool hides = hides_keys<Variant>;  // and not at the ends of runs alone

// O / row sum to memory; the logarithm of the row sum from one lane of each quad. `settled`: the state is.
__device__ __forceinline__ void write_output(const AttentionFwdParams &params, const BlockWork &work,
                                             Attention::Output &output, const Attention::RowState &state,
                                             bool settled) {
  const int32_t thread = thread_anew(), warp = thread / 32, lane = thread % 32;
  const auto rows = OutputRows::of(params, work.batch, work.head_q);
#pragma unroll
  for (int32_t i = 0; i < Attention::row_tiles; ++i)
#pragma unroll
    for (int32_t half = 0; half < 2; ++half) {
      const float sum = quad_sum(state.row_sum[i][half]) * (settled ? 1.0f / Attention::sum_factor : 1.0f);
      const auto row = [&] {
        return RowSum{state.reference[i][half], settled ? 1.0f : Attention::scale_log2(params), sum};
      };
      const RowEnd<Variant> end(params, work.head_q, row);
      const float inverse = end.inverse(sum);
      const int32_t query = work.first_query + warp * warp_rows + i * 16 + half * 8 + lane / 4;
      rows.store_fragments<alignment_bytes, Attention::value_columns>(
          query, 0, [&](int32_t n, int32_t c) { return output[i][n][half * 2 + c] * inverse; }, lane % 4,
          query < params.seqlen_q, params.head_dim_v);
      if (lane % 4 == 0 && query < params.seqlen_q) end.write_lse(params, work.batch, work.head_q, query, row);
    }
}

// Whether blocks that stay have another tile, which is `block` then.
__device__ __forceinline__ bool goes_on(const AttentionFwdParams &given, uint32_t &block) {
  if constexpr ((chosen.calls & calls_stay) == 0) return false;
  __syncthreads();  // all of the block are done with the shared memory
  return (block += gridDim.x) < tiles_of_grid<tile_q, chosen.rows>(given);
}

}  // namespace flashcore::kernels::sm80_fwd_mma

// One step with one stage of K and V; time runs down, "...." is a copy under way:
//
//   K(n) arrives      barrier
//   V(n) ....         S = Q.K(n)^T
//   V(n) arrives      barrier                     (every warp is done with K(n))
//   K(n-1) ....       softmax(S) ; O += P.V(n)
//
// With two stages a copy has a whole step's time and there is one barrier:
//
//   K(n), V(n) arrive           barrier           (every warp is done with step n+1)
//   K(n-1), V(n-1) ....         S = Q.K(n)^T ; softmax(S) ; O += P.V(n)
//
// Keys are walked from the last tile to the first: the tiles that need masks come first, the steady loop has none. The
// masked tiles set the softmax references in exact steps, so there is always one; the steady loop is optimistic, and when
// that lost a row all is done again in exact steps, which are the masked ones.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm80_fwd_mma::threads,
                                             flashcore::kernels::sm80_fwd_mma::min_blocks)
    sm80_fwd_mma(const __grid_constant__ flashcore::kernels::AttentionFwdParams given) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::sm80_fwd_mma;
  extern __shared__ __align__(1024) unsigned char shared[];
  uint32_t block = blockIdx.x;
  do {
    constexpr uint32_t key_bytes = tile_kv * head_dim * 2, value_bytes = tile_kv * head_dim_v * 2;
    const SharedAddress query_tile = shared_address(shared), key_tiles_at = query_tile + tile_q * head_dim * 2;
    const SharedAddress value_tiles_at = key_tiles_at + stages * key_bytes;

    const SharedWork<mask> shared_work{value_tiles_at + stages * value_bytes};
    BlockWork first_work = work_of_block<tile_q, mask, chosen.rows>(given, block);
    const Sequence sequence = sequence_of<chosen.rows>(given, first_work.batch);
    if (chosen.rows != rows_dense && !has_tile<tile_q, mask>(sequence, first_work)) continue;
    unsigned char *const sequence_memory = shared + bytes_before_sequence(chosen);
    const AttentionFwdParams &params = params_of_sequence<chosen.rows, threads>(given, sequence_memory, sequence,
                                                                                first_work.batch, first_work.head_kv);
    unsigned char *const key_pages = sequence_memory + sizeof(AttentionFwdParams);
    unsigned char *const value_pages = key_pages + bytes_of_pages(chosen);
    load_tile<tile_q, threads, alignment_bytes, Rows>(
        query_tile, StridedRows::of(params.query, first_work.batch, first_work.head_q), first_work.first_query,
        params.seqlen_q, thread_anew(), params.head_dim);
    put_tiles<Variant>([&] { return visibility<mask>(params).tiles_of(first_work.first_query, tile_q, tile_kv); },
                       params, first_work, tile_q, tile_kv,
                       [&](const Tiles &tiles) { shared_work.put(first_work, tiles); });
    if (params.negate_query != 0) {
      copy_async_commit();
      copy_async_wait<0>();
      __syncthreads();
      Attention::negate_tile<tile_q, threads>(query_tile);
    }
    __syncthreads();

    Attention::Output output;
    Attention::RowState state;
    Attention::OutputSum output_sum;
    bool all_exact = false;  // all steps of the warp, without being asked for again
#pragma unroll 1
    while (true) {
      const BlockWork work = shared_work.work();
      int32_t tile = shared_work.tiles().end - 1;
      const int32_t first_tile = mask.begin_moves ? shared_work.tiles().begin() : 0;
      const Attention::TileGroup group(0, thread_anew());
      const int32_t lane = group.thread % 32, warp_row = group.thread / 32 * warp_rows;
      const SharedAddress query_lane = Attention::query_lane(query_tile, warp_row, lane);
      auto key_loader = Loaders::from<false, Rows>(params, work, tile, group.thread, key_pages);
      if (tile >= first_tile) key_loader.load_last(key_tiles_at, params.head_dim);
      // After the keys are under way: worked out beside their addresses it does not fit into the registers.
      auto value_loader = Loaders::from<true, ValueRows>(params, work, tile, group.thread, value_pages);
      if (tile >= first_tile && stages > 1) value_loader.load_last(value_tiles_at, params.head_dim_v);
      copy_async_commit();
      Attention::clear(output);
      state = Attention::RowState();
      Attention::QueryFragments query;
      if constexpr (Attention::q_in_registers) {
        copy_async_wait<0>();
        group.barrier();
#pragma unroll
        for (int32_t k = 0; k < Attention::depth_steps; ++k) Attention::load_query_step(query[k], query_lane, k);
      }

      uint32_t stage = 0;
      const auto step = [&](auto exactly, auto with_mask) {
        constexpr bool exact = decltype(exactly)::value, masked = decltype(with_mask)::value;
        const Tiles tiles = masked ? shared_work.tiles() : Tiles{};
        const SharedAddress key_tile = key_tiles_at + stage * key_bytes,
                            value_tile = value_tiles_at + stage * value_bytes;
        const auto value_arrives = [&] {
          copy_async_wait<0>();
          if (masked && (tiles.needs_mask(tile) || (hides && shared_work.again())) &&
              clear_nonfinite<tile_kv, threads, chosen.dtype, ValueRows>(value_tile, thread_anew()))
            shared_work.note_nonfinite();
          group.barrier();
        };
        // Products of tiles that the mask hides from all rows of the warp are left out; barriers and copies are not.
        [[maybe_unused]] Attention::ShownByMask shown;
        bool some_shown = true;
        if constexpr (has_mask<Variant>) {
          const BlockWork work = shared_work.work();
          shown =
              Attention::shown_by_mask(params, work, tile * tile_kv, work.first_query + thread_anew() / 32 * warp_rows);
          some_shown = __any_sync(0xffffffffu, shown.any());
        }
        if constexpr (stages == 1) {
          copy_async_wait<0>();
          group.barrier();
          if (masked && tile == tiles.end - 1)
            value_loader.load_last(value_tile, params.head_dim_v);
          else
            value_loader.load_next(value_tile, params.head_dim_v);
          copy_async_commit();
        } else {
          value_arrives();
          stage ^= 1;
          if (tile > first_tile) {
            key_loader.load_next(key_tiles_at + stage * key_bytes, params.head_dim);
            value_loader.load_next(value_tiles_at + stage * value_bytes, params.head_dim_v);
          }
          copy_async_commit();
        }
        Attention::Scores scores;
        if (some_shown) {
          Attention::multiply_query_key(scores, query, query_lane,
                                        Attention::key_lane(key_tile, tight ? thread_anew() % 32 : lane));
          if constexpr (Variant::changes_scores) {
            const BlockWork work = shared_work.work();
            Attention::change_scores(scores, params, work, tile * tile_kv,
                                     work.first_query + thread_anew() / 32 * warp_rows);
          }
          if constexpr (has_mask<Variant>) shown.hide_others(scores);
          if (masked && tiles.needs_mask(tile))
            Attention::mask_scores(scores, params, tile * tile_kv,
                                   shared_work.work().first_query + thread_anew() / 32 * warp_rows);
        }
        if constexpr (stages == 1) {
          value_arrives();
          if (tile > first_tile) key_loader.load_next(key_tile, params.head_dim);
          copy_async_commit();
        }
        if (!some_shown) return;
        Attention::TileSums tile_sums;
        if constexpr (exact) {
          Attention::raise_references(scores, output, state, Attention::scale_log2(params));
          Attention::exponentiate(scores, state, Attention::scale_log2(params));
        } else {
          Attention::exponentiate_optimistically(scores, tile_sums, state, Attention::scale_log2(params));
        }
        Attention::Probabilities probabilities;
        Attention::round_probabilities(probabilities, scores);
        const SharedAddress value_lane = Attention::value_lane(value_tile, tight ? thread_anew() % 32 : lane);
        Attention::multiply_probability_value(output, probabilities, value_lane);
        if constexpr (!exact)
          Attention::watch_large_probabilities(output, state, tile_sums, probabilities, value_tile,
                                               [&] { return shared_work.tiles().end - 1 - tile; });
      };

      // Each warp goes over to optimistic steps when its own rows all have a reference; the barriers of a step are the same in both.
      const auto optimistic_tiles = [&] {
        const int32_t first_row = shared_work.work().first_query + thread_anew() / 32 * warp_rows;
        const Tiles tiles = shared_work.tiles();
        const int32_t after_a_key = visibility<mask>(params).whole_end_after_a_key(tiles, first_row, tile_kv),
                      after_exact_tiles = tiles.end > Attention::exact_tiles ? tiles.end - Attention::exact_tiles : 0;
        const int32_t end = after_a_key < after_exact_tiles ? after_a_key : after_exact_tiles;
        return mask.begin_moves && end < tiles.begin() ? tiles.begin() : end;
      };
      // Where keys are hidden anywhere a warp goes on in exact steps until all its rows have a fit reference; to the end, if a stretch ends before.
      bool to_the_end = false;
      const auto goes_on = [&] {
        return hides && tile >= first_tile &&
               (to_the_end || !Attention::has_fit_references(state, Attention::scale_log2(params)));
      };
      for (; (shared_work.again() ? tile >= first_tile : tile >= optimistic_tiles()) || goes_on(); --tile) {
        step(Constant<true>{}, Constant<true>{});
        if (Attention::OutputSum::ends_stretch(tile - first_tile) &&
            (shared_work.again() || (hides && tile < optimistic_tiles()))) {
          const int32_t end = hides && !shared_work.again() ? optimistic_tiles() : shared_work.tiles().end;
          output_sum.end_stretch(output, state.reference, tile - first_tile, end - 1 - first_tile,
                                 Attention::scale_log2(params));
          to_the_end = true;
        }
      }
      if constexpr (hides) all_exact = tile < first_tile;
      if (!all_exact && !shared_work.again()) Attention::settle_references(state, Attention::scale_log2(params));
      // Tiles that hold a begin come last, and every row that sees a key has a reference by then.
      const auto optimistic_step = [&] {
        if constexpr (mask.begin_moves)
          if (tile < shared_work.tiles().whole_begin()) return step(Constant<false>{}, Constant<true>{});
        step(Constant<false>{}, Constant<false>{});
      };
      for (; tile >= first_tile; --tile) {
        while (optimistic_step(), !Attention::OutputSum::ends_stretch(tile - first_tile)) --tile;
        output_sum.end_stretch(output, state.reference, tile - first_tile, optimistic_tiles() - 1 - first_tile, 1.0f);
      }
      const auto is_lost = [&] {
        const bool spoilt = hides && Attention::is_spoilt(output, state);
        return hides && (all_exact || spoilt) ? spoilt : Attention::is_lost(output, state);
      };
      if (shared_work.again() || !__syncthreads_or(is_lost())) break;
      if (threadIdx.x == 0) shared_work.note_again();
      __syncthreads();
    }
    if (shared_work.nonfinite()) {
      const BlockWork work = shared_work.work();
      const Tiles tiles = shared_work.tiles();
      const int32_t begin =
          hides && shared_work.again() ? tiles.begin() : tiles.whole_end;  // all were cleared, or those with masks
      Attention::add_nonfinite_values(output, params, work, begin * tile_kv, tiles.end * tile_kv,
                                      work.first_query + thread_anew() / 32 * warp_rows);
      if (mask.begin_moves && begin == tiles.whole_end)
        Attention::add_nonfinite_values(output, params, work, tiles.begin() * tile_kv,
                                        min(tiles.whole_begin(), tiles.whole_end) * tile_kv,
                                        work.first_query + thread_anew() / 32 * warp_rows);
    }
    write_output(params, shared_work.work(), output, state, !all_exact && !shared_work.again());
  } while (goes_on(given, block));
}
#endif
