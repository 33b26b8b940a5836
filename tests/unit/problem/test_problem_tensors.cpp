// SPDX-License-Identifier: Apache-2.0
//
// The rules of validate_attention.cpp that look at several tensors: the common alignment, outputs and workspace apart
// from everything else.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <utility>

#include "problem_fixture.hpp"

using namespace flashcore;

BOOST_AUTO_TEST_SUITE(problem_tensors_suite)

BOOST_AUTO_TEST_CASE(workspace_apart_from_tensors) {
  const struct {
    const char *name;
    flashcore_tensor Args::*tensor;
    uint64_t bytes;
  } tensors[] = {{"query", &Args::query, 3 * 5 * 4 * 64 * 2},
                 {"key", &Args::key, 3 * 7 * 2 * 64 * 2},
                 {"value", &Args::value, 3 * 7 * 2 * 32 * 2},
                 {"output", &Args::output, 3 * 5 * 4 * 32 * 2},
                 {"lse", &Args::lse, 3 * 5 * 4 * 4}};
  for (const auto &tensor : tensors) {
    Args args = contiguous_args();
    const uint64_t begin = (args.*tensor.tensor).data, end = begin + tensor.bytes;
    args.workspace = begin - 256;
    args.workspace_bytes = 256;
    accepted(args);
    args.workspace_bytes = 257;
    check_invalid(args, "workspace", {tensor.name});
    args.workspace = end;
    accepted(args);
    args.workspace = end - 16;
    check_invalid(args, "workspace", {tensor.name});
  }
}

BOOST_AUTO_TEST_CASE(alignment_of_addresses_and_strides) {
  for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output}) {
    Args args = explicit_args();
    BOOST_TEST(accepted(args).key.alignment_bytes == 16);
    for (uint64_t shift : {2, 4, 8}) {
      args = explicit_args();
      (args.*tensor).data += shift;
      BOOST_TEST(accepted(args).key.alignment_bytes == 2);
    }
    for (int dimension = 0; dimension < 3; ++dimension) {
      for (int64_t step : {1, 4}) {
        args = explicit_args();
        (args.*tensor).stride[dimension] += step;
        BOOST_TEST(accepted(args).key.alignment_bytes == 2);
      }
      args = explicit_args();
      (args.*tensor).stride[dimension] += 8;
      BOOST_TEST(accepted(args).key.alignment_bytes == 16);
    }
  }
}

BOOST_AUTO_TEST_CASE(alignment_of_rows) {
  for (int32_t head_dim : {1, 4, 60, 63, 65}) {
    Args args = explicit_args();
    args.head_dim = head_dim;
    BOOST_TEST(accepted(args).key.alignment_bytes == 2);
    args = explicit_args();
    args.head_dim_v = head_dim;
    BOOST_TEST(accepted(args).key.alignment_bytes == 2);
  }
  Args args = explicit_args();
  args.head_dim = 72;
  args.head_dim_v = 8;
  BOOST_TEST(accepted(args).key.alignment_bytes == 16);
}

BOOST_AUTO_TEST_CASE(unused_strides_do_not_decide_the_alignment) {
  Args args = explicit_args();
  args.batch = 1;
  args.query.stride[0] = 7;
  args.output.stride[0] = 3;
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(problem.key.alignment_bytes == 16);
  BOOST_TEST(problem.query().stride_batch == 0);
  BOOST_TEST(problem.output().stride_batch == 0);
}

BOOST_AUTO_TEST_CASE(lse_does_not_decide_the_alignment) {
  Args args = explicit_args();
  args.lse.data += 4;
  BOOST_TEST(accepted(args).key.alignment_bytes == 16);
}

BOOST_AUTO_TEST_CASE(absent_addresses_count_as_aligned) {
  Args args = contiguous_args();
  for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output, &Args::lse}) (args.*tensor).data = 0;
  const AttentionProblem problem = accepted(args, AddressRule::optional);
  BOOST_TEST(problem.key.alignment_bytes == 16);
  BOOST_TEST(problem.query().data == 0u);
  args.head_dim = 63;
  BOOST_TEST(accepted(args, AddressRule::optional).key.alignment_bytes == 2);
}

BOOST_AUTO_TEST_CASE(outputs_apart_from_inputs) {
  const struct {
    const char *name;
    flashcore_tensor Args::*tensor;
    uint64_t bytes;
  } inputs[] = {{"query", &Args::query, 3 * 5 * 4 * 64 * 2},
                {"key", &Args::key, 3 * 7 * 2 * 64 * 2},
                {"value", &Args::value, 3 * 7 * 2 * 32 * 2}};
  constexpr uint64_t output_bytes = 3 * 5 * 4 * 32 * 2, lse_bytes = 3 * 5 * 4 * 4;
  for (const auto &input : inputs) {
    const uint64_t begin = (contiguous_args().*input.tensor).data, end = begin + input.bytes;
    for (const auto &[output, bytes] : {std::pair{&Args::output, output_bytes}, std::pair{&Args::lse, lse_bytes}}) {
      const std::string field = output == &Args::output ? "output.data" : "lse.data";
      Args args = contiguous_args();
      for (uint64_t apart : {begin - bytes, end}) {
        (args.*output).data = apart;
        accepted(args);
      }
      for (uint64_t inside : {begin - bytes + 4, begin, begin + 128, end - 4}) {
        (args.*output).data = inside;
        check_invalid(args, field, {input.name});
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(outputs_apart_from_each_other) {
  Args args = contiguous_args();
  args.lse.data = args.output.data;
  check_invalid(args, "lse.data", {"output"});
  args.lse.data = args.output.data + 3 * 5 * 4 * 32 * 2;
  accepted(args);
}

BOOST_AUTO_TEST_CASE(inputs_may_be_the_same_memory) {
  Args args = contiguous_args();
  args.key.data = args.value.data = args.query.data;
  accepted(args);
}

BOOST_AUTO_TEST_CASE(output_in_place_of_the_query_is_refused) {
  Args args = contiguous_args();
  args.head_dim_v = 0;
  args.output.data = args.query.data;
  check_invalid(args, "output.data", {"query", "0x100000000"});
}

// Q, K, V and O of one buffer [batch, row, 4, head, column].
Args packed_args() {
  Args args = contiguous_args();
  args.seqlen_kv = args.seqlen_q;
  args.heads_kv = args.heads_q;
  args.head_dim_v = args.head_dim;
  const int64_t part = int64_t{args.heads_q} * args.head_dim;
  uint64_t address = 0x100000000;
  for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output}) {
    (args.*tensor).data = address;
    set_strides(args.*tensor, 4 * part * args.seqlen_q, 4 * part, args.head_dim, 1);
    address += static_cast<uint64_t>(part) * 2;
  }
  return args;
}

BOOST_AUTO_TEST_CASE(output_between_the_inputs_of_one_buffer) {
  const Args packed = packed_args();
  accepted(packed);
  Args args = packed;
  args.output.data -= 2;  // its first row now begins in the last element of a row of values
  check_invalid(args, "output.data", {"value"});
  args.output.data = packed.output.data + 2;  // its last head now ends in the next row's query
  check_invalid(args, "output.data", {"query"});
  args = packed;
  args.lse.data = packed.output.data;
  check_invalid(args, "lse.data");
}

BOOST_AUTO_TEST_SUITE_END()
