// SPDX-License-Identifier: Apache-2.0
//
// sm90_fwd_decode: sm80_fwd_decode with the keys of a head split over the thread blocks of a cluster, which merge through each other's shared
// memory, in one launch; and over several clusters as sm80_fwd_decode does over blocks.
//
// Tried on the H200 as for sm80_fwd_decode (microseconds; cuDNN 9.19 in the same run):
//   keys x batch   blocks 1      2      4      8     16    cuDNN
//   1024 x 1         12.4    8.9    6.7    6.2    9.2      7.5
//   4096 x 1         39.4   22.8   13.9   10.2   12.1     11.6
//   4096 x 4         41.5   25.4   22.8   29.3   32.9     22.5
//   4096 x 8         44.8   34.2   43.3   45.3   58.0     36.9
//   4096 x 32       122.6  125.3  135.7  146.8  198.5    124.2
//   32768 x 1       289.4  149.9   79.5   46.2   43.8     38.0
// kept  sixteen warps in a cluster of eight, for few key heads with very many keys: 32768 x 1 39.6 us, with 64 columns 21.7 for 33.7
// lost  clusters of sixteen (not portable): better only for a single key head, 16384 x 1 of 8 query heads 14.7 for 21.5
#include "attention_fwd/decode.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm90_fwd_decode {

// Sixteen warps are for a few key heads with very many keys.
inline constexpr decode::Tile tiles[] = {{64, 16, 8, 2},  {64, 16, 8, 4},  {64, 16, 8, 8},  {64, 32, 16, 8},
                                         {128, 16, 8, 2}, {128, 16, 8, 4}, {128, 16, 8, 8}, {128, 16, 16, 8},
                                         {256, 16, 8, 2}, {256, 16, 8, 4}, {256, 16, 8, 8}};

using decode::Choices;
#ifndef __CUDACC_RTC__
inline constexpr decode::ChoiceList choices = decode::choices_with(attention_fwd::cluster({2, 8}, Tries(2, 4, 8)));
#endif

constexpr bool specialization(int32_t index, Choices *out) { return decode::specialization(tiles, index, out); }

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm90_fwd_decode",
    .summary = "sm80_fwd_decode with keys split over a cluster of thread blocks too, merged in shared memory",
    .minimum_arch = 90,
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
    .further_entry_points = {"sm90_fwd_decode_merge"},
    .takes_variants = true,
};
#endif
}  // namespace flashcore::kernels::sm90_fwd_decode

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/decode.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm90_fwd_decode {
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = ChosenKeyRows<chosen.rows>;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
using Kernel = Decode<DecodeShape{chosen.dtype, chosen.head_dim, chosen.head_dim_v, chosen.tile_q, chosen.tile_kv,
                                  chosen.warps, chosen.cluster, chosen.window, chosen.rows},
                      Variant, KeyRows, RowsOfOutput<chosen.dtype, (chosen.calls & calls_float32_output) != 0>>;
static_assert(sizeof(float) * Kernel::shared_floats == decode::bytes_before_sequence(chosen));
}  // namespace flashcore::kernels::sm90_fwd_decode

extern "C" __global__ void __cluster_dims__(flashcore::kernels::chosen.cluster, 1, 1)
    __launch_bounds__(flashcore::kernels::sm90_fwd_decode::Kernel::threads,
                      flashcore::kernels::decode::resident_blocks(flashcore::kernels::chosen))
        sm90_fwd_decode(const __grid_constant__ flashcore::kernels::decode::Params params) {
  extern __shared__ __align__(16) float shared[];
  flashcore::kernels::sm90_fwd_decode::Kernel::run(params, shared);
}

extern "C" __global__ void __launch_bounds__(flashcore::kernels::grid_split::merge_threads)
    sm90_fwd_decode_merge(const __grid_constant__ flashcore::kernels::decode::Params params) {
  extern __shared__ __align__(16) float shared[];
  flashcore::kernels::sm90_fwd_decode::Kernel::merge_parts(params, shared);
}
#endif
