// SPDX-License-Identifier: Apache-2.0
//
// Biases and mask tensors: types, strides and addresses of their own.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <cstdint>

#include "problem_fixture.hpp"

using namespace flashcore;

BOOST_AUTO_TEST_SUITE(score_tensors)

BOOST_AUTO_TEST_CASE(biases_and_masks) {
  Args args = contiguous_args();  // [3, 5, 4, 7]
  args.bias.data = 0x700000000;
  BOOST_TEST(accepted(args).key.scores == kernels::scores_bias);
  BOOST_TEST(accepted(args).bias_dtype == kernels::dtype_float16);
  const auto has_strides = [&](const ProblemTensor &tensor, int64_t batch, int64_t row, int64_t head, int64_t key) {
    BOOST_TEST(tensor.stride_batch == batch);
    BOOST_TEST(tensor.stride_row == row);
    BOOST_TEST(tensor.stride_head == head);
    BOOST_TEST(tensor.stride_column == key);
  };
  has_strides(accepted(args).bias(), 140, 28, 7, 1);
  for (const int32_t dtype : {FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_BFLOAT16, FLASHCORE_DTYPE_FLOAT32}) {
    args.bias.dtype = dtype;
    BOOST_TEST(accepted(args).bias_dtype == dtype);
  }
  args.bias.data += 2;
  check_invalid(args, "bias.data", {"a multiple of the element size, 4 bytes"});
  args.bias.dtype = FLASHCORE_DTYPE_BFLOAT16;
  accepted(args);
  args.bias.dtype = FLASHCORE_DTYPE_FLOAT8_E4M3;
  check_unsupported(args, "bias.dtype",
                    {"0 for the query's, FLASHCORE_DTYPE_FLOAT16 (1)", "FLASHCORE_DTYPE_FLOAT32 (3)"});
  args.bias.dtype = 0;
  // Any stride that is not negative, the last one too.
  for (const int64_t key : {0, 1, 3, 100}) {
    set_strides(args.bias, 9, 0, 2, key);
    has_strides(accepted(args).bias(), 9, 0, 2, key);
  }
  args.bias.stride[3] = -1;
  check_invalid(args, "bias.stride[3]", {"is -1;", "0 or more"});
  args.bias.stride[3] = INT64_MAX / 8;
  check_invalid(args, "bias.stride[3]", {"keeps 7 steps below 2^63 bytes"});
  args.bias.data = 0;
  check_invalid(args, "bias.stride[0]", {"0 without bias.data"});
  set_strides(args.bias, 0, 0, 0, 0);
  args.bias.dtype = FLASHCORE_DTYPE_FLOAT32;
  check_invalid(args, "bias.dtype", {"0 without bias.data"});
  args = contiguous_args();
  args.mask.stride[3] = 1;
  check_invalid(args, "mask.stride[3]", {"0 without mask.data"});
  args.mask.data = 0x700000003;
  BOOST_TEST(accepted(args).key.scores == kernels::scores_mask);
  BOOST_TEST(accepted(args).key.alignment_bytes == 16);
  has_strides(accepted(args).mask(), 0, 0, 0, 1);
  args.mask.dtype = FLASHCORE_DTYPE_INT32;
  check_unsupported(args, "mask.dtype", {"0, it holds boolean bytes"});
  args.mask.dtype = -1;
  check_invalid(args, "mask.dtype", {"0, it holds boolean bytes"});
  // Of no keys nothing is read.
  args = contiguous_args();
  args.bias.data = 0x700000000, args.mask.data = 0x800000001, args.seqlen_kv = 0;
  BOOST_TEST(accepted(args).key.scores == 0);
  // Outputs may lie between the numbers of a bias, but not on them.
  args = contiguous_args();
  args.seqlen_q = 1, args.batch = 1, args.heads_q = args.heads_kv = 1;
  args.bias.data = args.output.data - 2, args.bias.stride[3] = 33;
  args.output.stride[3] = 0;
  accepted(args);
  args.bias.stride[3] = 32;
  check_invalid(args, "output.data", {"apart from bias"});
  args.bias.data = args.output.data, args.bias.stride[3] = 1;
  check_invalid(args, "output.data", {"apart from bias"});
}

BOOST_AUTO_TEST_SUITE_END()
