// SPDX-License-Identifier: Apache-2.0
//
// fwd_scalar: the foot of the ladder, and the kernel to read first. One thread block per query row, online softmax,
// 16-bit storage and float32 arithmetic, no tensor cores and no tiles of queries: every key and value is fetched from memory
// again for every row, which is what all later rungs avoid. Any head dimension up to 256, any alignment.
#include "attention_fwd/choices.h"
#include "attention_fwd/pack.h"
#include "contract/cost.h"
#include "contract/passport.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::fwd_scalar {

inline constexpr int32_t largest_head_dim = 256, tile_kv = 128, warps = tile_kv / 32;

struct Choices {
  int32_t dtype, head_dim, head_dim_v, causal, tile_q, tile_kv, warps, alignment_bytes;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    attention_fwd::dtype,
    attention_fwd::head_dim(attention_fwd::exactly(largest_head_dim)),
    attention_fwd::head_dim_v(attention_fwd::exactly(largest_head_dim)),
    attention_fwd::causal,
    attention_fwd::tile_q(attention_fwd::exactly(1)),
    attention_fwd::tile_kv(attention_fwd::exactly(tile_kv)),
    attention_fwd::warps(attention_fwd::exactly(warps)),
    attention_fwd::alignment_bytes(attention_fwd::exactly(2)),
};
#endif

constexpr bool specialization(int32_t index, Choices *out) {
  if (index < 0 || index >= 4) return false;
  *out = {(index & 2) ? dtype_bfloat16 : dtype_float16,
          largest_head_dim,
          largest_head_dim,
          index & 1,
          1,
          tile_kv,
          warps,
          2};
  return true;
}

constexpr Refusal refuse(const ProblemKey &key) {
  if (key.head_dim > largest_head_dim) return {"head_dim", "1 to 256"};
  if (key.head_dim_v > largest_head_dim) return {"head_dim_v", "1 to 256"};
  if (key.seqlen_q > 0x7fffffff / (static_cast<int64_t>(key.heads_q) * (key.batch > 0 ? key.batch : 1)))
    return {"batch", "batch * heads_q * seqlen_q below 2^31"};
  return no_refusal;
}

constexpr bool serves(const Choices &s, const ProblemKey &key) {
  return s.dtype == key.dtype && (s.causal != 0) == mask_of(key).end_moves;
}

// The query row, the tile's probabilities, and one word per warp for block-wide sums; all float32.
constexpr int64_t dynamic_shared_bytes(const Choices &) { return (largest_head_dim + tile_kv + 2 * warps) * 4; }

// Two loads and two multiply-adds per key and column; what a multiprocessor fetches from L2 in a microsecond bounds it.
constexpr Cost cost(const Choices &, const ProblemKey &key, const DeviceLimits &device) {
  const int64_t rows = key.seqlen_q * key.heads_q * key.batch;
  const double keys = visibility_of(key).steps_of(1, 1).mean;
  constexpr double bytes_per_us = 40000.0;
  Cost cost{};
  cost.launch_us = launch_us;
  cost.l2_us = ceil_div(rows, device.multiprocessors) * keys * 2.0 * (key.head_dim + key.head_dim_v) / bytes_per_us;
  cost.throughput_us = cost.l2_us;
  cost.total_us = cost.launch_us + cost.throughput_us;
  return cost;
}

constexpr Plan plan(const Choices &s, const ProblemKey &key, const DeviceLimits &device) {
  return single_launch(key.seqlen_q * key.heads_q * key.batch, warps * 32, dynamic_shared_bytes(s),
                       cost(s, key, device));
}

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "fwd_scalar",
    .summary = "one thread block per query row, no tensor cores, any head_dim up to 256 (ladder)",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = true,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = allows_all,
    .refuse = refuse,
    .serves = on_choices<serves>,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = on_choices<plan>,
    .parameter_bytes = attention_fwd::parameter_bytes,
    .pack = attention_fwd::pack,
    .patches = attention_fwd::patches,
};
#endif
}  // namespace flashcore::kernels::fwd_scalar

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/block_work.cuh"
#include "parts/numeric.cuh"
#include "parts/tile_io.cuh"
#include "parts/variant.cuh"
#include "specialization.h"

namespace flashcore::kernels::fwd_scalar {

constexpr int32_t dtype = chosen.dtype, threads = warps * 32;
// How rows of K and V are reached (parts/rows.cuh).
using KeyRows = StridedRows;
// How scores change (parts/variant.cuh).
using Variant = PlainScores;
constexpr Mask mask = mask_if(chosen.causal != 0);
constexpr int32_t columns_per_thread = largest_head_dim / threads;

struct Maximum {
  static __device__ __forceinline__ float join(float a, float b) { return fmaxf(a, b); }
};
struct Sum {
  static __device__ __forceinline__ float join(float a, float b) { return a + b; }
};

// The same value in every thread of the block. `scratch` has one word per warp; two barriers, so it may be used again.
template <typename Operation>
__device__ __forceinline__ float over_block(float x, float *scratch) {
#pragma unroll
  for (int32_t offset = 16; offset > 0; offset /= 2) x = Operation::join(x, __shfl_xor_sync(0xffffffffu, x, offset));
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
  __syncthreads();
  x = scratch[0];
#pragma unroll
  for (int32_t warp = 1; warp < warps; ++warp) x = Operation::join(x, scratch[warp]);
  __syncthreads();
  return x;
}

__device__ __forceinline__ float dot(const float *query, const uint16_t *key, int32_t head_dim) {
  float sum = 0.0f;
  for (int32_t column = 0; column < head_dim; ++column) sum = fmaf(query[column], to_float<dtype>(key[column]), sum);
  return sum;
}

}  // namespace flashcore::kernels::fwd_scalar

// One step covers 128 keys: thread j scores key j, the block agrees on the maximum, and then each thread adds up the
// weighted values of its own columns. Only keys that the row sees are touched, so masks need no arithmetic.
extern "C" __global__ void __launch_bounds__(flashcore::kernels::fwd_scalar::threads)
    fwd_scalar(const __grid_constant__ flashcore::kernels::AttentionFwdParams params) {
  using namespace flashcore::kernels;
  using namespace flashcore::kernels::fwd_scalar;
  extern __shared__ float shared_floats[];
  float *const query = shared_floats, *const probability = query + largest_head_dim,
               *const scratch = probability + tile_kv;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);

  const BlockWork work = block_work<1, mask>(params, blockIdx.x);
  const auto seen = visibility<mask>(params).keys_of(work.first_query);
  const int32_t key_end = static_cast<int32_t>(seen.end);
  const auto key_rows = KeyRows::keys(params, work.batch, work.head_kv);
  const auto value_rows = KeyRows::values(params, work.batch, work.head_kv);
  const auto query_rows = StridedRows::of(params.query, work.batch, work.head_q);
  for (int32_t column = thread; column < params.head_dim; column += threads) {
    const float q = to_float<dtype>(query_rows.row(work.first_query)[column]);
    query[column] = params.negate_query != 0 ? -q : q;
  }
  __syncthreads();

  float row_max = -infinity, row_sum = 0.0f, output[columns_per_thread] = {};
  for (int32_t first_key = static_cast<int32_t>(seen.begin); first_key < key_end; first_key += tile_kv) {
    const int32_t keys = key_end - first_key < tile_kv ? key_end - first_key : tile_kv;
    float score = -infinity;
    if (thread < keys)
      score = varied_score<Variant>(dot(query, key_rows.row(first_key + thread), params.head_dim),
                                    {work.batch, work.head_q, work.first_query, first_key + thread}, params);
    const float new_max = fmaxf(row_max, over_block<Maximum>(score, scratch));
    const float subtrahend = new_max == -infinity ? 0.0f : new_max;  // every score so far is -infinity: p is 0, not NaN
    const float rescale = exp2_approx((row_max - subtrahend) * softmax_scale_log2<Variant>(params));
    const float p = thread < keys ? exp2_approx((score - subtrahend) * softmax_scale_log2<Variant>(params)) : 0.0f;
    probability[thread] = p;
    row_sum = fmaf(row_sum, rescale, over_block<Sum>(p, scratch));
    row_max = new_max;
#pragma unroll
    for (int32_t i = 0; i < columns_per_thread; ++i) {
      const int32_t column = thread + i * threads;
      if (column >= params.head_dim_v) continue;
      float sum = output[i] * rescale;
      for (int32_t j = 0; j < keys; ++j)
        sum = fmaf(probability[j], to_float<dtype>(value_rows.row(first_key + j)[column]), sum);
      output[i] = sum;
    }
    __syncthreads();  // probabilities are read; the next step may overwrite them
  }

  const auto rows = StridedRows::of(params.output, work.batch, work.head_q);
  const float inverse = row_sum == 0.0f ? 0.0f : 1.0f / row_sum;  // no key seen: O = 0
#pragma unroll
  for (int32_t i = 0; i < columns_per_thread; ++i) {
    const int32_t column = thread + i * threads;
    if (column < params.head_dim_v)
      rows.row(work.first_query)[column] = static_cast<uint16_t>(pack2<dtype>(output[i] * inverse, 0.0f));
  }
  if (thread == 0)
    write_lse(params, work.batch, work.head_q, work.first_query, row_max, softmax_scale_log2<Variant>(params), row_sum);
}
#endif
