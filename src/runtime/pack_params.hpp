// SPDX-License-Identifier: Apache-2.0
//
// AttentionProblem -> the parameter struct that forward kernels share.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "contract/element.h"
#include "contract/kernel_params.h"
#include "problem/attention_problem.hpp"

namespace flashcore {

// Where the kernels find each operand, by fwd::Operand.
inline constexpr std::array<kernels::TensorView kernels::AttentionFwdParams::*, fwd::operand_count> operand_views = {
    &kernels::AttentionFwdParams::query, &kernels::AttentionFwdParams::key, &kernels::AttentionFwdParams::value,
    &kernels::AttentionFwdParams::output, &kernels::AttentionFwdParams::lse};

inline kernels::TensorView tensor_view(const ProblemTensor &tensor) {
  return {tensor.data, tensor.stride_batch, tensor.stride_row, tensor.stride_head};
}

inline void set_addresses(kernels::AttentionFwdParams &params,
                          const std::array<uint64_t, fwd::operand_count> &addresses) {
  all_operands<fwd::operand_count>([&](auto i) {
    (params.*operand_views[i]).data = addresses[i];
    return true;
  });
}

// How many query heads make a group whose keys and values take two thirds of the L2 cache at most, but at least those that share
// one key head. All groups are of one size, as nearly as may be: a small last one would end in a few long blocks (10 % slower).
inline int32_t heads_per_group(const kernels::ProblemKey &key, int64_t l2_cache_bytes) {
  const int64_t bytes_of_head =
      std::max<int64_t>(1, key.seqlen_kv * (key.head_dim + key.head_dim_v) * kernels::element_bytes(key.dtype));
  const int64_t key_heads = key.batch * key.heads_kv,
                most = std::clamp<int64_t>(l2_cache_bytes * 2 / 3 / bytes_of_head, 1, key_heads);
  const int64_t groups = (key_heads + most - 1) / most, even = (key_heads + groups - 1) / groups;
  return static_cast<int32_t>(std::min<int64_t>(even * (key.heads_q / key.heads_kv), 0x7fffffff));
}

inline kernels::AttentionFwdParams pack_params(const AttentionProblem &problem, int64_t l2_cache_bytes) {
  constexpr float log2_of_e = 1.44269504088896340736f, ln_of_2 = 0.69314718055994530942f;
  // Masked scores are -infinity, and -infinity times 0 is NaN: a scale of 0 becomes one that no finite score can feel. Above
  // the largest one only a difference of subnormal scores could tell.
  constexpr float smallest_scale_log2 = std::numeric_limits<float>::denorm_min(),
                  largest_scale_log2 = std::numeric_limits<float>::max();
  const kernels::ProblemKey &key = problem.key;
  kernels::AttentionFwdParams params{};
  for (size_t i = 0; i < operand_views.size(); ++i) params.*operand_views[i] = tensor_view(problem.tensors[i]);
  // The validator holds sizes below 2^31.
  params.batch = static_cast<int32_t>(key.batch);
  params.seqlen_q = static_cast<int32_t>(key.seqlen_q);
  params.seqlen_kv = static_cast<int32_t>(key.seqlen_kv);
  params.heads_q = key.heads_q;
  params.heads_per_kv = key.heads_q / key.heads_kv;
  params.head_dim = key.head_dim;
  params.head_dim_v = key.head_dim_v;
  params.causal_offset = key.causal == kernels::causal_bottom_right ? params.seqlen_kv - params.seqlen_q
                         : key.causal == kernels::causal_top_left   ? 0
                                                                    : params.seqlen_kv;
  params.negate_query = problem.softmax_scale < 0.0f ? 1 : 0;
  params.scale_log2 = std::clamp(std::fabs(problem.softmax_scale) * log2_of_e, smallest_scale_log2, largest_scale_log2);
  params.lse_factor = problem.lse_base2 ? 1.0f : ln_of_2;
  params.heads_per_group = heads_per_group(key, l2_cache_bytes);
  return params;
}

}  // namespace flashcore
