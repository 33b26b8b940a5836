// SPDX-License-Identifier: Apache-2.0
//
// The rules of validate_attention.cpp, each with its nearest neighbours on both sides: struct size, sizes, types, score
// options, kernel name, workspace. Its rules for several tensors at once are in test_problem_tensors.cpp.
#define BOOST_TEST_DYN_LINK 1
#define BOOST_TEST_MODULE problem
#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "allocation_counter.hpp"
#include "problem_fixture.hpp"

using namespace flashcore;

BOOST_AUTO_TEST_SUITE(validate_attention_suite)

BOOST_AUTO_TEST_CASE(contiguous_args_become_a_problem) {
  const AttentionProblem problem = accepted(contiguous_args());
  BOOST_TEST(problem.key.batch == 3);
  BOOST_TEST(problem.key.seqlen_q == 5);
  BOOST_TEST(problem.key.seqlen_kv == 7);
  BOOST_TEST(problem.key.heads_q == 4);
  BOOST_TEST(problem.key.heads_kv == 2);
  BOOST_TEST(problem.key.head_dim == 64);
  BOOST_TEST(problem.key.head_dim_v == 32);
  BOOST_TEST(problem.key.dtype == kernels::dtype_float16);
  BOOST_TEST(problem.key.causal == kernels::causal_none);
  BOOST_TEST(problem.key.alignment_bytes == 16);
  BOOST_TEST(problem.key.kernel_index == -1);
  BOOST_TEST(problem.softmax_scale == 0.125f);
  BOOST_TEST(!problem.lse_base2);
  BOOST_TEST(problem.kernel.empty());
  BOOST_TEST(problem.workspace == 0u);
  BOOST_TEST(!problem.empty());
}

BOOST_AUTO_TEST_CASE(explicit_args_become_a_problem) {
  const AttentionProblem problem = accepted(explicit_args());
  BOOST_TEST(problem.softmax_scale == 0.25f);
  BOOST_TEST(problem.key.causal == kernels::causal_top_left);
  BOOST_TEST(problem.lse_base2);
  BOOST_TEST(problem.kernel.size() == 127u);
  BOOST_TEST(problem.workspace == 0x600000000u);
  BOOST_TEST(problem.workspace_bytes == 4096);
  BOOST_TEST(problem.key.kernel_index == -1);
}

BOOST_AUTO_TEST_CASE(success_allocates_nothing) {
  const Args plain = contiguous_args(), full = explicit_args();
  const int64_t before = allocation_count();
  const bool ok =
      validate_attention(&plain, AddressRule::required).ok() && validate_attention(&full, AddressRule::optional).ok();
  const int64_t after = allocation_count();
  BOOST_TEST(ok);
  BOOST_TEST(after == before);
  Args bad = plain;
  bad.batch = -1;
  BOOST_TEST(!validate_attention(&bad, AddressRule::required).ok());
  BOOST_TEST(allocation_count() > after);  // the counter counts
}

BOOST_AUTO_TEST_CASE(null_args) {
  const Result<AttentionProblem> result = validate_attention(nullptr, AddressRule::required);
  BOOST_REQUIRE(!result.ok());
  BOOST_TEST(result.error().status == FLASHCORE_INVALID_ARGUMENT);
  BOOST_TEST(result.error().field == "args");
}

// Args at the start of a larger buffer, as a caller with a newer header has them.
struct SizedArgs {
  std::vector<char> bytes;

  SizedArgs(uint32_t struct_size, size_t buffer_bytes) : bytes(buffer_bytes) {
    Args args = contiguous_args();
    args.struct_size = struct_size;
    std::memcpy(bytes.data(), &args, sizeof(args));
  }
  Result<AttentionProblem> validate() const {
    return validate_attention(reinterpret_cast<const Args *>(bytes.data()), AddressRule::required);
  }
};

BOOST_AUTO_TEST_CASE(struct_sizes) {
  constexpr uint32_t version1 = 912;
  static_assert(sizeof(Args) >= version1);
  for (uint32_t size : {0u, 1u, version1 - 1, 65537u, 0xffffffffu}) {
    const auto result = SizedArgs(size, sizeof(Args)).validate();
    BOOST_REQUIRE(!result.ok());
    BOOST_TEST(result.error().status == FLASHCORE_INVALID_ARGUMENT);
    BOOST_TEST(result.error().field == "struct_size");
    BOOST_TEST(result.error().message.find(std::to_string(size)) != std::string::npos);
    BOOST_TEST(result.error().message.find(std::to_string(version1)) != std::string::npos);
  }
  for (uint32_t size : {version1, uint32_t{sizeof(Args)} + 1, uint32_t{sizeof(Args)} + 64, 65536u}) {
    BOOST_TEST(SizedArgs(size, 65536).validate().ok());
  }
}

BOOST_AUTO_TEST_CASE(larger_structs_must_end_in_zeros) {
  const uint32_t size = sizeof(Args) + 32;
  for (size_t byte = sizeof(Args); byte < size; ++byte) {
    SizedArgs args(size, size + 1);
    args.bytes[byte] = 1;
    const auto result = args.validate();
    BOOST_REQUIRE(!result.ok());
    BOOST_TEST(result.error().status == FLASHCORE_UNSUPPORTED);
    BOOST_TEST(result.error().field == "struct_size");
  }
  SizedArgs args(size, size + 1);
  args.bytes[size] = 1;  // past what the caller says is his
  BOOST_TEST(args.validate().ok());
}

BOOST_AUTO_TEST_CASE(args_may_lie_at_any_address) {
  std::vector<char> bytes(sizeof(Args) + 8);
  const Args args = contiguous_args();
  for (size_t shift = 1; shift < 8; ++shift) {
    std::memcpy(bytes.data() + shift, &args, sizeof(args));
    // Through an integer: the compiler must not learn that the pointer is misaligned.
    const auto address = reinterpret_cast<uintptr_t>(bytes.data()) + shift;
    BOOST_TEST(validate_attention(reinterpret_cast<const Args *>(address), AddressRule::required).ok());
  }
}

BOOST_AUTO_TEST_CASE(batch_and_sequence_lengths) {
  constexpr int64_t most = std::numeric_limits<int32_t>::max();
  const struct {
    const char *field;
    int64_t Args::*member;
  } sizes[] = {{"batch", &Args::batch}, {"seqlen_q", &Args::seqlen_q}, {"seqlen_kv", &Args::seqlen_kv}};
  for (const auto &size : sizes) {
    Args args = contiguous_args();
    for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output, &Args::lse}) (args.*tensor).data = 0;
    for (int64_t value : {int64_t{0}, int64_t{1}, most}) {
      args.*size.member = value;
      accepted(args, AddressRule::optional);
    }
    for (int64_t value :
         {int64_t{-1}, most + 1, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
      args.*size.member = value;
      check_invalid(args, size.field, {std::to_string(value).c_str(), "allowed: 0 to 2147483647"});
    }
  }
}

BOOST_AUTO_TEST_CASE(heads) {
  Args args = contiguous_args();
  for (int32_t heads : {0, -1, std::numeric_limits<int32_t>::min()}) {
    args.heads_q = heads;
    check_invalid(args, "heads_q", {"allowed: 1 to 2147483647"});
  }
  args = contiguous_args();
  args.heads_kv = -1;
  check_invalid(args, "heads_kv", {"-1"});
  args.heads_q = 12;
  for (int32_t heads : {5, 7, 8, 9, 11, 13, 24}) {
    args.heads_kv = heads;
    check_invalid(args, "heads_kv", {std::to_string(heads).c_str(), "divisor of heads_q, 12"});
  }
  for (int32_t heads : {1, 2, 3, 4, 6, 12}) {
    args.heads_kv = heads;
    BOOST_TEST(accepted(args).key.heads_kv == heads);
  }
  args.heads_kv = 0;
  BOOST_TEST(accepted(args).key.heads_kv == 12);
}

BOOST_AUTO_TEST_CASE(head_dims) {
  Args args = contiguous_args();
  for (int32_t head_dim : {0, -1, 65537}) {
    args.head_dim = head_dim;
    check_invalid(args, "head_dim", {"allowed: 1 to 65536"});
  }
  for (int32_t head_dim : {1, 65536}) {
    args.head_dim = head_dim;
    BOOST_TEST(accepted(args).key.head_dim == head_dim);
  }
  args = contiguous_args();
  for (int32_t head_dim_v : {-1, 65537}) {
    args.head_dim_v = head_dim_v;
    check_invalid(args, "head_dim_v", {"allowed: 0 to 65536"});
  }
  args.head_dim_v = 0;
  BOOST_TEST(accepted(args).key.head_dim_v == 64);
}

BOOST_AUTO_TEST_CASE(products_of_sizes_must_fit) {
  constexpr int32_t most = std::numeric_limits<int32_t>::max();
  Args args = contiguous_args();
  args.batch = args.seqlen_q = args.heads_q = most;
  args.heads_kv = 1;
  check_invalid(args, "query", {"2147483647 * 2147483647 * 2147483647 * 64", "2^63"});
  // Broadcast over everything: no address overflows, but nobody could count the keys.
  args = contiguous_args();
  args.batch = 1;
  args.seqlen_kv = most;
  args.heads_q = args.heads_kv = most;
  args.seqlen_q = 1;
  args.head_dim = args.head_dim_v = 8;
  set_strides(args.key, 0, 0, 0, 1);
  check_invalid(args, "key");
}

BOOST_AUTO_TEST_CASE(query_dtypes) {
  Args args = contiguous_args();
  args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
  BOOST_TEST(accepted(args).key.dtype == kernels::dtype_bfloat16);
  for (int32_t dtype : {0, -1, 8, 1000}) {
    args.query.dtype = dtype;
    check_invalid(args, "query.dtype", {std::to_string(dtype).c_str(), "FLASHCORE_DTYPE_FLOAT16 (1)"});
  }
  for (int32_t dtype = FLASHCORE_DTYPE_FLOAT32; dtype <= FLASHCORE_DTYPE_INT64; ++dtype) {
    args.query.dtype = dtype;
    check_unsupported(args, "query.dtype", {std::to_string(dtype).c_str(), "FLASHCORE_DTYPE_BFLOAT16 (2)"});
  }
}

BOOST_AUTO_TEST_CASE(other_dtypes_follow_the_query) {
  const struct {
    const char *field;
    flashcore_tensor Args::*tensor;
  } tensors[] = {{"key.dtype", &Args::key}, {"value.dtype", &Args::value}};
  for (const auto &tensor : tensors) {
    Args args = contiguous_args();
    args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
    (args.*tensor.tensor).dtype = FLASHCORE_DTYPE_BFLOAT16;
    accepted(args);
    for (int32_t dtype : {FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_FLOAT32, FLASHCORE_DTYPE_FLOAT8_E4M3}) {
      (args.*tensor.tensor).dtype = dtype;
      check_unsupported(args, tensor.field, {"FLASHCORE_DTYPE_BFLOAT16 (2)"});
    }
    for (int32_t dtype : {-1, 8}) {
      (args.*tensor.tensor).dtype = dtype;
      check_invalid(args, tensor.field);
    }
  }
}

BOOST_AUTO_TEST_CASE(output_dtypes) {
  Args args = contiguous_args();
  args.query.dtype = FLASHCORE_DTYPE_BFLOAT16;
  for (int32_t dtype : {FLASHCORE_DTYPE_DEFAULT, FLASHCORE_DTYPE_BFLOAT16}) {
    args.output.dtype = dtype;
    BOOST_TEST(!accepted(args).key.float32_output());
  }
  args.output.dtype = FLASHCORE_DTYPE_FLOAT32;
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(problem.key.float32_output());
  BOOST_TEST(!problem.key.plain());
  const ProblemOperand output = operands_of(problem)[fwd::output];
  BOOST_TEST(output.element_bytes == 4);
  BOOST_TEST(output.range.end - output.range.begin ==
             static_cast<uint64_t>(args.batch * args.seqlen_q * args.heads_q * problem.key.head_dim_v * 4));
  args.output.data += 2;
  check_invalid(args, "output.data", {"element size, 4 bytes"});
  args.output.data -= 2;
  for (int32_t dtype : {FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_FLOAT8_E4M3}) {
    args.output.dtype = dtype;
    check_unsupported(args, "output.dtype", {"FLASHCORE_DTYPE_BFLOAT16 (2)", "FLASHCORE_DTYPE_FLOAT32 (3)"});
  }
  args.output.dtype = 8;
  check_invalid(args, "output.dtype");
}

BOOST_AUTO_TEST_CASE(lse_dtypes) {
  Args args = contiguous_args();
  args.lse.dtype = FLASHCORE_DTYPE_FLOAT32;
  accepted(args);
  args.lse.dtype = FLASHCORE_DTYPE_FLOAT16;
  check_unsupported(args, "lse.dtype", {"FLASHCORE_DTYPE_FLOAT32 (3)"});
  args.lse.dtype = 8;
  check_invalid(args, "lse.dtype");
}

BOOST_AUTO_TEST_CASE(softmax_scales) {
  Args args = contiguous_args();
  args.head_dim = 100;
  BOOST_TEST(accepted(args).softmax_scale == 0.1f);
  args.flags = FLASHCORE_FLAG_SOFTMAX_SCALE;
  constexpr float largest = std::numeric_limits<float>::max();
  for (float scale : {0.0f, -0.0f, 1.0f, -2.5f, 1e-42f, largest, -largest}) {
    args.softmax_scale = scale;
    const float seen = accepted(args).softmax_scale;
    BOOST_TEST(std::memcmp(&seen, &scale, sizeof(scale)) == 0);
  }
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (float scale : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    args.softmax_scale = scale;
    check_invalid(args, "softmax_scale", {"finite"});
  }
  args.flags = 0;
  for (float scale : {0.5f, -0.0f, infinity}) {
    args.softmax_scale = scale;
    check_invalid(args, "softmax_scale", {"FLASHCORE_FLAG_SOFTMAX_SCALE", "ignored"});
  }
}

BOOST_AUTO_TEST_CASE(enumerations) {
  Args args = contiguous_args();
  for (int32_t causal : {0, 1, 2}) {
    args.causal = causal;
    BOOST_TEST(accepted(args).key.causal == causal);
  }
  for (int32_t causal : {-1, 3, 100}) {
    args.causal = causal;
    check_invalid(args, "causal",
                  {"FLASHCORE_CAUSAL_NONE (0)", "FLASHCORE_CAUSAL_TOP_LEFT (1)", "FLASHCORE_CAUSAL_BOTTOM_RIGHT (2)"});
  }
  args = contiguous_args();
  for (int32_t base : {-1, 2}) {
    args.lse_base = base;
    check_invalid(args, "lse_base", {"FLASHCORE_LSE_NATURAL (0)", "FLASHCORE_LSE_BASE2 (1)"});
  }
}

BOOST_AUTO_TEST_CASE(kernel_names) {
  Args args = contiguous_args();
  std::strcpy(args.kernel, "sm80_fwd_mma");
  args.kernel[20] = 'x';  // what lies behind the terminator is not part of a name
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(problem.kernel == "sm80_fwd_mma");
  BOOST_TEST((problem.kernel.data() == args.kernel));
  std::memset(args.kernel, 'x', sizeof(args.kernel));
  check_invalid(args, "kernel", {"127"});
  args.kernel[127] = '\0';
  BOOST_TEST(accepted(args).kernel.size() == 127u);
}

BOOST_AUTO_TEST_CASE(workspaces) {
  Args args = contiguous_args();
  args.workspace_bytes = -1;
  check_invalid(args, "workspace_bytes", {"-1"});
  args.workspace = 0x600000000;
  check_invalid(args, "workspace_bytes", {"-1"});
  args.workspace_bytes = 0;
  check_invalid(args, "workspace_bytes");
  args.workspace_bytes = 1;
  BOOST_TEST(accepted(args).workspace_bytes == 1);
  args.workspace = 0x600000008;
  check_invalid(args, "workspace", {"0x600000008", "multiple of 16"});
  args.workspace = 0;
  check_invalid(args, "workspace");
  BOOST_TEST(accepted(args, AddressRule::optional).workspace_bytes == 1);
  args.workspace = ~uint64_t{15};
  args.workspace_bytes = 15;
  accepted(args);
  args.workspace_bytes = 16;
  check_invalid(args, "workspace_bytes");
}

BOOST_AUTO_TEST_CASE(empty_problems) {
  for (auto size : {&Args::batch, &Args::seqlen_q}) {
    Args args = contiguous_args();
    args.*size = 0;
    BOOST_TEST(accepted(args).empty());
  }
  Args args = contiguous_args();
  args.seqlen_kv = 0;
  args.key.data = args.value.data = 0;
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(!problem.empty());  // rows that see no key still give an output
  args.batch = 0;
  args.query.data = args.output.data = 0;
  BOOST_TEST(accepted(args).empty());
}

BOOST_AUTO_TEST_CASE(messages_read_as_one_sentence) {
  Args args = contiguous_args();
  args.causal = 7;
  BOOST_TEST(validate_attention(&args, AddressRule::required).error().message ==
             "causal is 7; allowed: FLASHCORE_CAUSAL_NONE (0), FLASHCORE_CAUSAL_TOP_LEFT (1) or "
             "FLASHCORE_CAUSAL_BOTTOM_RIGHT (2)");
  args = contiguous_args();
  args.key.dtype = FLASHCORE_DTYPE_FLOAT32;
  BOOST_TEST(validate_attention(&args, AddressRule::required).error().message ==
             "key.dtype is FLASHCORE_DTYPE_FLOAT32 (3); allowed: 0 or the query's, FLASHCORE_DTYPE_FLOAT16 (1)");
}

// ---- Features -------------------------------------------------------------------------------------------------------

namespace {

kernels::ProblemKey windowed(int64_t left, int64_t right, int32_t causal = FLASHCORE_CAUSAL_NONE) {
  Args args = contiguous_args();  // 5 queries, 7 keys
  if (left >= 0) args.flags |= FLASHCORE_FLAG_WINDOW_LEFT, args.window_left = left;
  if (right >= 0) args.flags |= FLASHCORE_FLAG_WINDOW_RIGHT, args.window_right = right;
  args.causal = causal;
  return accepted(args).key;
}

}  // namespace

BOOST_AUTO_TEST_CASE(windows_that_hide_no_key_are_open) {
  using kernels::window_open;
  BOOST_TEST((windowed(5, 3).window_left == 5 && windowed(5, 3).window_right == 3));
  BOOST_TEST((windowed(6, 4).window_left == window_open && windowed(6, 4).window_right == window_open));
  BOOST_TEST(windowed(INT64_MAX, INT64_MAX).plain());
  BOOST_TEST(windowed(-1, 0, FLASHCORE_CAUSAL_BOTTOM_RIGHT).plain());
  BOOST_TEST(windowed(-1, 0, FLASHCORE_CAUSAL_TOP_LEFT).window_right == 0);
}

BOOST_AUTO_TEST_CASE(windows_begin_and_end_at_the_query_or_beyond) {
  Args args = contiguous_args();
  args.flags = FLASHCORE_FLAG_WINDOW_LEFT | FLASHCORE_FLAG_WINDOW_RIGHT;
  args.window_left = -1;
  check_invalid(args, "window_left", {"is -1;", "0 or more", "FLASHCORE_FLAG_WINDOW_LEFT"});
  args.window_left = 0, args.window_right = INT64_MIN;
  check_invalid(args, "window_right", {"0 or more", "FLASHCORE_FLAG_WINDOW_RIGHT"});
}

BOOST_AUTO_TEST_CASE(chunks) {
  Args args = contiguous_args();
  args.attention_chunk = 6;
  BOOST_TEST(accepted(args).key.attention_chunk == 6);
  args.attention_chunk = 7;
  BOOST_TEST(accepted(args).key.plain());
  // More queries than keys: the first ones are in the chunk before all keys.
  args.seqlen_q = 8;
  BOOST_TEST(accepted(args).key.attention_chunk == 7);
  args.attention_chunk = INT64_MAX;
  BOOST_TEST(accepted(args).key.attention_chunk == INT32_MAX);
  args.attention_chunk = -1;
  check_invalid(args, "attention_chunk", {"is -1;", "0 or more"});
}

BOOST_AUTO_TEST_CASE(softcaps) {
  Args args = contiguous_args();
  args.softcap = 30.5f;
  BOOST_TEST(accepted(args).softcap == 30.5f);
  BOOST_TEST(accepted(args).key.scores == kernels::scores_softcap);
  for (const float wrong : {-0.0f, -1.0f, 1e-40f, INFINITY, NAN}) {
    args.softcap = wrong;
    check_invalid(args, "softcap", {"a normal number above 0"});
  }
}

BOOST_AUTO_TEST_CASE(slopes_and_sinks) {
  Args args = contiguous_args();
  args.alibi_batch_stride = 4;
  check_invalid(args, "alibi_batch_stride", {"is 4;", "0 without alibi_slopes"});
  args.alibi_slopes = 0x700000002;
  check_invalid(args, "alibi_slopes", {"a multiple of the element size, 4 bytes"});
  args.alibi_slopes = 0x700000000, args.alibi_batch_stride = -1;
  check_invalid(args, "alibi_batch_stride", {"is -1;", "0 or more"});
  args.alibi_batch_stride = INT64_MAX / 4;
  check_invalid(args, "alibi_batch_stride", {"2^63"});
  args.alibi_batch_stride = 0;
  BOOST_TEST(accepted(args).key.scores == kernels::scores_alibi);
  BOOST_TEST((accepted(args).alibi_slopes().stride_batch == 0 && accepted(args).alibi_slopes().stride_head == 1));
  args.sinks.data = 0x800000000;
  BOOST_TEST(accepted(args).key.scores == (kernels::scores_alibi | kernels::scores_sinks));
  BOOST_TEST(accepted(args).sinks().stride_head == 1);
  args.sinks.dtype = FLASHCORE_DTYPE_FLOAT16;
  check_unsupported(args, "sinks.dtype", {"0 or FLASHCORE_DTYPE_FLOAT32 (3)"});
  args.sinks.dtype = FLASHCORE_DTYPE_FLOAT32;
  set_strides(args.sinks, 4, 4, 2, 1);  // of a tensor [1, 1, heads, 1]
  BOOST_TEST((accepted(args).sinks().stride_batch == 0 && accepted(args).sinks().stride_head == 2));
  set_strides(args.sinks, 0, 1, 0, 0);
  args.sinks.data = 0;
  check_invalid(args, "sinks.stride[1]", {"0 without sinks.data"});
  args = contiguous_args();
  args.sinks.data = args.output.data;
  check_invalid(args, "output.data", {"apart from sinks"});
}

BOOST_AUTO_TEST_SUITE_END()
