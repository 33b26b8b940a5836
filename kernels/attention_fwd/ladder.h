// SPDX-License-Identifier: Apache-2.0
//
// What the passports of the WMMA rungs have in common.
#pragma once

#include "attention_fwd/choices.h"
#include "attention_fwd/pack.h"
#include "attention_fwd/wmma_layout.h"
#include "contract/cost.h"
#include "contract/passport.h"

namespace flashcore::kernels::ladder {

inline constexpr int32_t head_dim = 64;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, tile_q, tile_kv, warps, stages;
};
#ifndef __CUDACC_RTC__
// Which of them belong together, each rung's tiles say.
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim(attention_fwd::exactly(head_dim)),
    attention_fwd::head_dim_v(attention_fwd::exactly(head_dim)),
    attention_fwd::causal,
    attention_fwd::tile_q({16, 128}),
    attention_fwd::tile_kv({16, 128}),
    attention_fwd::warps({2, 16}),
    attention_fwd::stages({1, 2}),
};
#endif

// Both types, with and without the causal mask, for each tile.
template <int32_t count>
constexpr bool specialization(const WmmaTile (&tiles)[count], int32_t index, Choices *out) {
  if (index < 0 || index >= count * 4) return false;
  const WmmaTile &tile = tiles[index / 4];
  *out = {(index & 2) ? dtype_bfloat16 : dtype_float16,
          head_dim,
          head_dim,
          index & 1,
          tile.tile_q,
          tile.tile_kv,
          tile.warps(),
          tile.stages};
  return true;
}

template <int32_t count>
constexpr Refusal allows(const WmmaTile (&tiles)[count], const Choices &s) {
  for (const WmmaTile &tile : tiles)
    if (s.tile_q == tile.tile_q && s.tile_kv == tile.tile_kv && s.warps == tile.warps() && s.stages == tile.stages)
      return no_refusal;
  return {"tile_q", "one of the rung's tiles, with its warps and stages"};
}

constexpr WmmaTile tile_of(const Choices &s) { return {s.tile_q, s.tile_kv, s.head_dim, s.stages}; }

constexpr int64_t thread_blocks(const Choices &s, const ProblemKey &key) {
  return ceil_div(key.seqlen_q, s.tile_q) * key.heads_q * key.batch;
}

constexpr Refusal refuse(const ProblemKey &key, int32_t tile_q) {
  if (key.head_dim != head_dim) return {"head_dim", "64"};
  if (key.head_dim_v != head_dim) return {"head_dim_v", "64"};
  if (key.alignment_bytes < 16) return {"query", "16-byte aligned, in address and strides, as key, value and output"};
  if (ceil_div(key.seqlen_q, tile_q) >
      0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * query tiles below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && (s.causal != 0) == mask_of(key).end_moves;
}

constexpr int64_t dynamic_shared_bytes(const Choices &s) { return wmma_layout(tile_of(s)).total_bytes; }

// efficiency: the share of the mma.sync rate that the rung reaches; step_us: what a thread block alone takes per step.
constexpr Cost cost(const Choices &s, const ProblemKey &key, const DeviceLimits &device, double efficiency,
                    double step_us) {
  const double resident =
      static_cast<double>(device.shared_bytes_per_multiprocessor / (dynamic_shared_bytes(s) + 1024));
  return tile_cost(4.0 * s.tile_q * s.tile_kv * s.head_dim, visibility_of(key).steps_of(s.tile_q, s.tile_kv),
                   static_cast<double>(thread_blocks(s, key)), resident < 1 ? 1 : resident, efficiency, step_us,
                   device);
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const Cost &cost) {
  return single_launch(thread_blocks(s, key), s.warps * 32, dynamic_shared_bytes(s), cost);
}

}  // namespace flashcore::kernels::ladder
