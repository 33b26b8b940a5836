// SPDX-License-Identifier: Apache-2.0
//
// Args that the validator accepts, to start from, and how the tests of this folder look at what it says about them.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <initializer_list>
#include <sstream>
#include <string>

#include "problem/attention_problem.hpp"
#include "tensor_strides.hpp"

namespace flashcore {

using Args = flashcore_attention_args;

// Every size is above 1 and differs from the others, strides are left to the library, all five tensors are there.
inline Args contiguous_args() {
  Args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 3;
  args.seqlen_q = 5;
  args.seqlen_kv = 7;
  args.heads_q = 4;
  args.heads_kv = 2;
  args.head_dim = 64;
  args.head_dim_v = 32;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.query.data = 0x100000000;
  args.key.data = 0x200000000;
  args.value.data = 0x300000000;
  args.output.data = 0x400000000;
  args.lse.data = 0x500000000;
  return args;
}

// The same problem with every field that this build serves written out, and gaps between rows.
inline Args explicit_args() {
  Args args = contiguous_args();
  for (flashcore_tensor *tensor : {&args.query, &args.key, &args.value, &args.output}) {
    tensor->dtype = FLASHCORE_DTYPE_FLOAT16;
    set_strides(*tensor, 8192, 1024, 128, 1);
  }
  args.lse.dtype = FLASHCORE_DTYPE_FLOAT32;
  set_strides(args.lse, 1024, 2, 64, 0);
  args.flags = FLASHCORE_FLAG_SOFTMAX_SCALE;
  args.softmax_scale = 0.25f;
  args.causal = FLASHCORE_CAUSAL_TOP_LEFT;
  args.lse_base = FLASHCORE_LSE_BASE2;
  args.flags |= FLASHCORE_FLAG_WINDOW_LEFT | FLASHCORE_FLAG_WINDOW_RIGHT;
  args.window_left = 3;
  args.window_right = 2;
  args.attention_chunk = 4;
  args.softcap = 30;
  args.alibi_slopes = 0x900000000;
  args.alibi_batch_stride = 9;
  args.sinks.data = 0xa00000000;
  args.sinks.dtype = FLASHCORE_DTYPE_FLOAT32;
  args.sinks.stride[2] = 3;
  args.bias.data = 0xb00000000;
  args.bias.dtype = FLASHCORE_DTYPE_FLOAT32;
  set_strides(args.bias, 1024, 128, 16, 2);
  args.mask.data = 0xc00000000;
  set_strides(args.mask, 512, 64, 8, 1);
  args.workspace = 0x600000000;
  args.workspace_bytes = 4096;
  std::memset(args.kernel, 'k', sizeof(args.kernel) - 1);
  return args;
}

// And new rows for the cache, which are rotated as queries are.
inline Args appending_args() {
  Args args = explicit_args();
  args.seqlen_new = 2;
  for (flashcore_tensor *tensor : {&args.new_key, &args.new_value}) {
    tensor->dtype = FLASHCORE_DTYPE_FLOAT16;
    set_strides(*tensor, 8192, 1024, 128, 1);
  }
  args.new_key.data = 0xd00000000, args.new_value.data = 0xe00000000;
  args.flags |= FLASHCORE_FLAG_ROTARY_INTERLEAVED;
  args.rotary_dim = 16;
  args.rotary_cos = 0xf00000000, args.rotary_sin = 0x1000000000, args.rotary_positions = 0x1100000000;
  args.rotary_table_rows = 9;
  args.index_dtype = FLASHCORE_DTYPE_INT64;
  return args;
}

inline AttentionProblem accepted(const Args &args, AddressRule rule = AddressRule::required) {
  Result<AttentionProblem> result = validate_attention(&args, rule);
  BOOST_REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error().message));
  return result.value();
}

// The error's message must hold each fragment.
inline void check_refused(const Args &args, flashcore_status status, const std::string &field,
                          std::initializer_list<const char *> fragments = {},
                          AddressRule rule = AddressRule::required) {
  BOOST_TEST_CONTEXT("field " << field) {
    const Result<AttentionProblem> result = validate_attention(&args, rule);
    BOOST_REQUIRE(!result.ok());
    const Error &error = result.error();
    BOOST_TEST(error.status == status, error.message);
    BOOST_TEST(error.field == field, error.field << ": " << error.message);
    BOOST_TEST(error.driver_code == 0);
    BOOST_TEST(error.message.starts_with(field + " is "), error.message);
    for (const char *fragment : fragments) BOOST_TEST(error.message.find(fragment) != std::string::npos, error.message);
  }
}

inline void check_invalid(const Args &args, const std::string &field,
                          std::initializer_list<const char *> fragments = {}) {
  check_refused(args, FLASHCORE_INVALID_ARGUMENT, field, fragments);
}

inline void check_unsupported(const Args &args, const std::string &field,
                              std::initializer_list<const char *> fragments = {}) {
  check_refused(args, FLASHCORE_UNSUPPORTED, field, fragments);
}

// Everything that the validator says about args, as text: equal texts are equal outcomes.
inline std::string outcome(const Args &args, AddressRule rule = AddressRule::required) {
  const Result<AttentionProblem> result = validate_attention(&args, rule);
  std::ostringstream text;
  if (!result.ok()) {
    text << result.error().status << ' ' << result.error().field << ' ' << result.error().message;
    return text.str();
  }
  const AttentionProblem &problem = result.value();
  const kernels::ProblemKey &key = problem.key;
  for (int64_t number : {key.batch, key.seqlen_q, key.seqlen_kv, key.window_left, key.window_right, key.total_q,
                         key.total_kv, key.kv_batches, key.seqlen_new, key.split_tokens})
    text << number << ' ';
  for (int32_t number : {key.heads_q,
                         key.heads_kv,
                         key.head_dim,
                         key.head_dim_v,
                         key.dtype,
                         key.causal,
                         key.alignment_bytes,
                         key.kernel_index,
                         key.attention_chunk,
                         key.scores,
                         key.rows,
                         key.index_dtype,
                         key.page_size,
                         key.ragged_by,
                         key.rotary_dim,
                         key.rotary_table_rows,
                         int32_t{problem.rotary_interleaved},
                         int32_t{problem.rotary_by_row},
                         key.output_dtype,
                         key.split_count,
                         key.batch_invariant,
                         key.multiprocessor_limit,
                         key.has_positions,
                         key.query_offset,
                         key.key_position}) {
    text << number << ' ';
  }
  for (const ProblemTensor &tensor : problem.tensors) {
    text << tensor.data << ' ' << tensor.stride_batch << ' ' << tensor.stride_row << ' ' << tensor.stride_head << ' '
         << tensor.stride_column << ' ';
  }
  text << std::hexfloat << problem.softmax_scale << ' ' << problem.softcap << ' ' << problem.lse_base2 << ' '
       << problem.bias_dtype << ' ' << problem.workspace << ' ' << problem.workspace_bytes << ' ' << problem.kernel;
  return text.str();
}

}  // namespace flashcore
