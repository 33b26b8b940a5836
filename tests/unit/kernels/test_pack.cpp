// SPDX-License-Identifier: Apache-2.0
//
// What goes into the kernel parameters: operands, groups of heads, the scale and masks.
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <limits>

#include "attention_fwd/pack.h"

using namespace flashcore;

namespace {

int32_t group_of(int64_t batch, int32_t heads_q, int32_t heads_kv, int64_t seqlen_kv, int64_t l2_cache_bytes) {
  kernels::ProblemKey key{};
  key.batch = batch, key.heads_q = heads_q, key.heads_kv = heads_kv, key.seqlen_q = key.seqlen_kv = seqlen_kv;
  key.head_dim = key.head_dim_v = 128, key.dtype = kernels::dtype_float16;
  return kernels::attention_fwd::heads_per_group(key, l2_cache_bytes);
}

}  // namespace

BOOST_AUTO_TEST_CASE(groups_of_heads_fit_into_l2_and_are_of_one_size) {
  constexpr int64_t h200 = 62914560;                  // two thirds hold the keys and values of 40 heads of 2048 keys
  BOOST_TEST(group_of(8, 16, 16, 2048, h200) == 32);  // four groups, not 40, 40, 40 and 8
  BOOST_TEST(group_of(2, 16, 16, 8192, h200) == 8);   // not 10, 10, 10 and 2
  BOOST_TEST(group_of(1, 16, 16, 512, h200) == 16);   // all
  BOOST_TEST(group_of(1, 32, 8, 8192, h200) == 32);   // query heads that share a key head stay together
  BOOST_TEST(group_of(4, 32, 8, 8192, h200) == 32);
  BOOST_TEST(group_of(4, 32, 8, 1 << 20, h200) == 4);  // one key head is more than the cache
  BOOST_TEST(group_of(3, 8, 8, 100, 0) == 1);
}

BOOST_AUTO_TEST_CASE(sizes_at_the_limits_do_not_overflow) {
  BOOST_TEST(group_of(1, 1, 1, 0x7fffffff, 1 << 30) == 1);
  BOOST_TEST(group_of(0x7fffffff, 65536, 1, 1, int64_t{1} << 40) == 0x7fffffff);
}

BOOST_AUTO_TEST_CASE(every_scale_is_a_positive_number) {
  using kernels::attention_fwd::scale_log2;
  constexpr float largest = std::numeric_limits<float>::max(), smallest = std::numeric_limits<float>::denorm_min();
  BOOST_TEST(scale_log2(0.125f) == 0.125f * 1.44269504088896340736f);
  BOOST_TEST(scale_log2(-0.125f) == scale_log2(0.125f));
  for (const float none : {0.0f, -0.0f}) BOOST_TEST(scale_log2(none) == smallest);
  for (const float huge : {largest, -largest}) BOOST_TEST(scale_log2(huge) == largest);
}

BOOST_AUTO_TEST_CASE(masks_and_logarithms_become_numbers) {
  kernels::ProblemKey key{};
  key.batch = 2, key.heads_q = 6, key.heads_kv = 2, key.seqlen_q = 5, key.seqlen_kv = 12, key.head_dim = 64,
  key.head_dim_v = 32, key.dtype = kernels::dtype_float16;
  const auto packed = [&](int32_t causal, float scale, int32_t base2) {
    key.causal = causal;
    kernels::AttentionCall call{};
    call.softmax_scale = scale, call.lse_base2 = base2;
    return kernels::attention_fwd::params_of(key, call, {90, 132, 232448, 233472, 62914560});
  };
  BOOST_TEST(packed(kernels::causal_none, 1, 0).causal_offset == 12);
  BOOST_TEST(packed(kernels::causal_top_left, 1, 0).causal_offset == 0);
  BOOST_TEST(packed(kernels::causal_bottom_right, 1, 0).causal_offset == 7);
  BOOST_TEST(packed(kernels::causal_none, 1, 0).lse_factor == std::log(2.0f));
  BOOST_TEST(packed(kernels::causal_none, 1, 1).lse_factor == 1.0f);
  BOOST_TEST(packed(kernels::causal_none, 1, 0).negate_query == 0);
  BOOST_TEST(packed(kernels::causal_none, -1, 0).negate_query == 1);
  const kernels::AttentionFwdParams params = packed(kernels::causal_none, 1, 0);
  BOOST_TEST((params.batch == 2 && params.seqlen_q == 5 && params.seqlen_kv == 12 && params.heads_q == 6));
  BOOST_TEST((params.heads_per_kv == 3 && params.head_dim == 64 && params.head_dim_v == 32));
}

BOOST_AUTO_TEST_CASE(every_operand_arrives_at_its_own_place) {
  kernels::ProblemKey key{};
  key.batch = key.seqlen_q = key.seqlen_kv = key.heads_q = key.heads_kv = key.head_dim = key.head_dim_v = 1;
  key.dtype = kernels::dtype_float16;
  kernels::AttentionCall call{};
  for (int32_t i = 0; i < kernels::operand_count; ++i)
    call.operands[i] = {100 + static_cast<uint64_t>(i), 200 + i, 300 + i, 400 + i};
  call.bias_stride_key = 7, call.mask_stride_key = 9, call.bias_dtype = kernels::dtype_bfloat16;
  const kernels::AttentionFwdParams params =
      kernels::attention_fwd::params_of(key, call, {90, 132, 232448, 233472, 1 << 20});
  const auto check = [](const kernels::TensorView &view, int32_t operand) {
    BOOST_TEST(view.data == 100 + static_cast<uint64_t>(operand));
    BOOST_TEST(view.stride_batch == 200 + operand);
    BOOST_TEST(view.stride_row == 300 + operand);
    BOOST_TEST(view.stride_head == 400 + operand);
  };
  check(params.query, kernels::operand_query);
  check(params.key, kernels::operand_key);
  check(params.value, kernels::operand_value);
  check(params.output, kernels::operand_output);
  check(params.lse, kernels::operand_lse);
  check(params.alibi_slopes, kernels::operand_alibi_slopes);
  BOOST_TEST(params.sinks.data == 100 + uint64_t{kernels::operand_sinks});
  BOOST_TEST(params.sinks.stride_head == 400 + kernels::operand_sinks);
  const auto view_of = [](const kernels::ScoreTensor &tensor) {
    return kernels::TensorView{tensor.data, tensor.stride_batch, tensor.stride_row, tensor.stride_head};
  };
  check(view_of(params.bias), kernels::operand_bias);
  check(view_of(params.mask), kernels::operand_mask);
  BOOST_TEST((params.bias.stride_key == 7 && params.mask.stride_key == 9));
  BOOST_TEST(params.bias_dtype == kernels::dtype_bfloat16);
}
