// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_decode: few query rows, many keys. One thread block for all query rows of a key head (in tiles of eight), whose warps share the
// keys; keys and values pass from memory to tensor cores through registers alone. parts/decode.cuh has the loop, and why. Where key heads are
// fewer than multiprocessors the blocks of the grid share the keys of one, and a second launch merges (parts/grid_split.cuh).
//
// Tried on the H200, float16, one query, 32 query heads on 8 key heads of 128 (keys per head, batch; cuDNN 9.19 in the same run):
//   kept  eight warps of 16 keys, two blocks a multiprocessor                        4096, 32: 122.6 us, cuDNN 124.2
//   kept  Q from shared memory in each step: 16 registers, which make room for the second block
//   kept  for 256 columns values are fetched after the scores; else both would not fit into registers and spill
//   lost  32 keys in a step: one block a multiprocessor                              4096, 8 in clusters of eight: 52.7 for 45.3 us
//   lost  four warps, four blocks a multiprocessor (equal, but for small batches)    4096, 1 in clusters of eight: 13.4 for 10.2 us
//   lost  tiles of sixteen rows where eight do: one block a multiprocessor           4096, 32: 137 us in clusters of two for 125
#include "attention_fwd/decode.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_decode {

inline constexpr decode::Tile tiles[] = {{64, 16, 8, 1}, {128, 16, 8, 1}, {256, 16, 8, 1}};

using decode::Choices;
#ifndef __CUDACC_RTC__
inline constexpr decode::ChoiceList choices = decode::choices_with(attention_fwd::cluster(attention_fwd::exactly(1)));
#endif

constexpr bool specialization(int32_t index, Choices *out) { return decode::specialization(tiles, index, out); }

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm80_fwd_decode",
    .summary = "mma.sync for few queries: rows of a key head packed, keys through registers, split over eight warps",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices.list),
    .specialization = on_choices<specialization>,
    .allows = on_choices<decode::allows>,
    .refuse = decode::refuse,
    .serves = on_choices<decode::serves>,
    .dynamic_shared_bytes = on_choices<decode::dynamic_shared_bytes>,
    .plan = on_choices<decode::plan>,
    .parameter_bytes = sizeof(decode::Params),
    .pack = decode::pack,
    .patches = decode::patches.list,
    .further_entry_points = {"sm80_fwd_decode_merge"},
    .takes_variants = true,
};
#endif
}  // namespace flashcore::kernels::sm80_fwd_decode

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/decode.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_decode {
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = ChosenKeyRows<chosen.rows>;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
using Kernel = Decode<DecodeShape{chosen.dtype, chosen.head_dim, chosen.head_dim_v, chosen.tile_q, chosen.tile_kv,
                                  chosen.warps, chosen.cluster, chosen.window, chosen.rows},
                      Variant, KeyRows, RowsOfOutput<chosen.dtype, (chosen.calls & calls_float32_output) != 0>>;
static_assert(sizeof(float) * Kernel::shared_floats == decode::bytes_before_sequence(chosen));
}  // namespace flashcore::kernels::sm80_fwd_decode

extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm80_fwd_decode::Kernel::threads,
                                             flashcore::kernels::decode::resident_blocks(flashcore::kernels::chosen))
    sm80_fwd_decode(const __grid_constant__ flashcore::kernels::decode::Params params) {
  extern __shared__ __align__(16) float shared[];
  flashcore::kernels::sm80_fwd_decode::Kernel::run(params, shared);
}

extern "C" __global__ void __launch_bounds__(flashcore::kernels::grid_split::merge_threads)
    sm80_fwd_decode_merge(const __grid_constant__ flashcore::kernels::decode::Params params) {
  extern __shared__ __align__(16) float shared[];
  flashcore::kernels::sm80_fwd_decode::Kernel::merge_parts(params, shared);
}
#endif
