// SPDX-License-Identifier: Apache-2.0
//
// sm80_fwd_wide: heads of up to 576 columns of query and key and 512 of value, prefill and decode, in 99 KB of shared memory. Rows of all query
// heads that share a key head are packed, so that the one key head of latent attention is read once for many of them; four warps share the
// columns of a row's output. parts/wide_attention.cuh has the loop. Where row tiles are fewer than multiprocessors the blocks of the grid
// share the keys of one, and a second launch merges (parts/grid_split.cuh).
#include "attention_fwd/wide.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::sm80_fwd_wide {

using wide::Choices;
#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "sm80_fwd_wide",
    .summary = "mma.sync for heads of up to 576 columns: rows of a key head packed, columns shared by four warps",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<wide::Choices>(wide::choices),
    .specialization = on_choices<wide::specialization>,
    .allows = on_choices<wide::allows>,
    .refuse = wide::refuse,
    .serves = on_choices<wide::serves>,
    .dynamic_shared_bytes = on_choices<wide::dynamic_shared_bytes>,
    .plan = on_choices<wide::plan>,
    .parameter_bytes = sizeof(wide::Params),
    .pack = wide::pack,
    .patches = decode::patches.list,
    .further_entry_points = {"sm80_fwd_wide_merge"},
    .takes_variants = true,
};
#endif
}  // namespace flashcore::kernels::sm80_fwd_wide

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/wide_attention.cuh"
#include "specialization.h"

namespace flashcore::kernels::sm80_fwd_wide {
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = ChosenKeyRows<chosen.rows>;
// How scores change (parts/variant.cuh).
using Variant = ChosenScores<chosen.scores>;
using Kernel =
    WideAttention<chosen, Variant, KeyRows, RowsOfOutput<chosen.dtype, (chosen.calls & calls_float32_output) != 0>>;
}  // namespace flashcore::kernels::sm80_fwd_wide

extern "C" __global__ void __launch_bounds__(flashcore::kernels::sm80_fwd_wide::Kernel::threads)
    sm80_fwd_wide(const __grid_constant__ flashcore::kernels::wide::Params params) {
  extern __shared__ __align__(1024) unsigned char shared[];
  flashcore::kernels::sm80_fwd_wide::Kernel::run(params, shared);
}

extern "C" __global__ void __launch_bounds__(flashcore::kernels::grid_split::merge_threads)
    sm80_fwd_wide_merge(const __grid_constant__ flashcore::kernels::wide::Params params) {
  extern __shared__ __align__(1024) unsigned char shared[];
  flashcore::kernels::sm80_fwd_wide::Kernel::merge_parts(params, reinterpret_cast<float *>(shared));
}
#endif
