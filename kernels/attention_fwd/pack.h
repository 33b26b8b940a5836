// SPDX-License-Identifier: Apache-2.0
//
// How the parameters of forward kernels are packed, for the passports of all that take AttentionFwdParams. Read by the host alone.
#pragma once

#include "attention_fwd/params.h"
#include "contract/passport.h"

#ifndef __CUDACC_RTC__
namespace flashcore::kernels::attention_fwd {

// How many query heads make a group whose keys and values take two thirds of the L2 cache at most, but at least those that share
// one key head. All groups are of one size, as nearly as may be: a small last one would end in a few long blocks (10 % slower).
constexpr int32_t heads_per_group(const ProblemKey &key, int64_t l2_cache_bytes) {
  constexpr int64_t largest = 0x7fffffff;
  const int64_t bytes_of_head = larger(1, key.seqlen_kv * (key.head_dim + key.head_dim_v) * element_bytes(key.dtype));
  const int64_t key_heads = key.batch * key.heads_kv;
  const int64_t most = larger(1, smaller(l2_cache_bytes * 2 / 3 / bytes_of_head, key_heads));
  const int64_t groups = ceil_div(key_heads, most), even = ceil_div(key_heads, groups);
  return static_cast<int32_t>(smaller(even * (key.heads_q / key.heads_kv), largest));
}

// |scale| * log2(e). Masked scores are -infinity, and -infinity times 0 is NaN: a scale of 0 becomes one that no finite score
// can feel. Above the largest one only a difference of subnormal scores could tell.
constexpr float scale_log2(float softmax_scale) {
  constexpr float log2_of_e = 1.44269504088896340736f, smallest = 0x1p-149f, largest = 0x1.fffffep127f;
  const float scale = (softmax_scale < 0.0f ? -softmax_scale : softmax_scale) * log2_of_e;
  return scale < smallest ? smallest : scale > largest ? largest : scale;
}

constexpr ScoreTensor score_tensor(const TensorView &view, int64_t stride_key) {
  return {view.data, view.stride_batch, view.stride_row, view.stride_head, stride_key};
}

constexpr AttentionFwdParams params_of(const ProblemKey &key, const AttentionCall &call, const DeviceLimits &device) {
  AttentionFwdParams params{};
  params.query = call.operands[operand_query];
  params.key = call.operands[operand_key];
  params.value = call.operands[operand_value];
  params.output = call.operands[operand_output];
  params.lse = call.operands[operand_lse];
  set_visibility(params, visibility_of(key));
  params.batch = static_cast<int32_t>(key.batch);
  params.heads_q = key.heads_q;
  params.heads_per_kv = key.heads_q / key.heads_kv;
  params.head_dim = key.head_dim;
  params.head_dim_v = key.head_dim_v;
  params.negate_query = call.softmax_scale < 0.0f ? 1 : 0;
  params.scale_log2 = scale_log2(call.softmax_scale);
  params.lse_factor = call.lse_base2 != 0 ? 1.0f : 0.69314718055994530942f;
  params.heads_per_group = heads_per_group(key, device.l2_cache_bytes);
  params.softcap = call.softcap;
  params.softcap_inverse = call.softcap == 0.0f ? 0.0f : 1.0f / call.softcap;
  params.alibi_slopes = call.operands[operand_alibi_slopes];
  params.sinks = {call.operands[operand_sinks].data, call.operands[operand_sinks].stride_head};
  params.variant_params = call.operands[operand_variant_params].data;
  params.ragged = ragged_rows_of(key, call);
  params.bias = score_tensor(call.operands[operand_bias], call.bias_stride_key);
  params.mask = score_tensor(call.operands[operand_mask], call.mask_stride_key);
  params.bias_dtype = call.bias_dtype;
  params.output_bytes = element_bytes(key.float32_output() ? dtype_float32 : key.dtype);
  return params;
}

// The passports' members of these names.
inline constexpr int32_t parameter_bytes = sizeof(AttentionFwdParams);
inline void pack(const Specialization &, const ProblemKey &key, const AttentionCall &call, const DeviceLimits &device,
                 void *parameters) {
  *static_cast<AttentionFwdParams *>(parameters) = params_of(key, call, device);
}
// Where the struct begins at `offset` in what a kernel takes.
template <int32_t offset>
inline constexpr AddressPatch patches_at[] = {
    {operand_query, offset + __builtin_offsetof(AttentionFwdParams, query.data)},
    {operand_key, offset + __builtin_offsetof(AttentionFwdParams, key.data)},
    {operand_value, offset + __builtin_offsetof(AttentionFwdParams, value.data)},
    {operand_output, offset + __builtin_offsetof(AttentionFwdParams, output.data)},
    {operand_lse, offset + __builtin_offsetof(AttentionFwdParams, lse.data)},
    {operand_alibi_slopes, offset + __builtin_offsetof(AttentionFwdParams, alibi_slopes.data)},
    {operand_sinks, offset + __builtin_offsetof(AttentionFwdParams, sinks.data)},
    {operand_cu_seqlens_q, offset + __builtin_offsetof(AttentionFwdParams, ragged.cu_seqlens_q)},
    {operand_cu_seqlens_kv, offset + __builtin_offsetof(AttentionFwdParams, ragged.cu_seqlens_kv)},
    {operand_seqused_q, offset + __builtin_offsetof(AttentionFwdParams, ragged.seqused_q)},
    {operand_seqused_kv, offset + __builtin_offsetof(AttentionFwdParams, ragged.seqused_kv)},
    {operand_leftpad_kv, offset + __builtin_offsetof(AttentionFwdParams, ragged.leftpad_kv)},
    {operand_kv_batch_index, offset + __builtin_offsetof(AttentionFwdParams, ragged.kv_batch_index)},
    {operand_page_table, offset + __builtin_offsetof(AttentionFwdParams, ragged.page_table)},
    {operand_page_table_value, offset + __builtin_offsetof(AttentionFwdParams, ragged.page_table_value)},
    {operand_bias, offset + __builtin_offsetof(AttentionFwdParams, bias.data)},
    {operand_mask, offset + __builtin_offsetof(AttentionFwdParams, mask.data)},
    {operand_variant_params, offset + __builtin_offsetof(AttentionFwdParams, variant_params)},
};
inline constexpr auto &patches = patches_at<0>;
static_assert(sizeof(patches_at<0>) == attended_count * sizeof(AddressPatch));
// These, and where the workspace's is.
template <int32_t count>
struct PatchList {
  AddressPatch list[count];
};
template <int32_t count>
constexpr PatchList<count + 1> with_workspace(const AddressPatch (&family)[count], int32_t workspace_offset) {
  PatchList<count + 1> all{};
  for (int32_t i = 0; i < count; ++i) all.list[i] = family[i];
  all.list[count] = {address_workspace, workspace_offset};
  return all;
}

}  // namespace flashcore::kernels::attention_fwd
#endif
