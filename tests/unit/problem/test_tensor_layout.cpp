// SPDX-License-Identifier: Apache-2.0
//
// Strides, extents and addresses of single tensors, through the public struct.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <limits>

#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

struct NamedTensor {
  const char *name;
  flashcore_tensor Args::*tensor;

  std::string field(int dimension) const { return std::string(name) + ".stride[" + std::to_string(dimension) + "]"; }
  std::string data() const { return std::string(name) + ".data"; }
};

const NamedTensor four_tensors[] = {
    {"query", &Args::query}, {"key", &Args::key}, {"value", &Args::value}, {"output", &Args::output}};
const NamedTensor inputs[] = {{"query", &Args::query}, {"key", &Args::key}, {"value", &Args::value}};

void check_strides(const ProblemTensor &tensor, int64_t batch, int64_t row, int64_t head) {
  BOOST_TEST(tensor.stride_batch == batch);
  BOOST_TEST(tensor.stride_row == row);
  BOOST_TEST(tensor.stride_head == head);
}

constexpr int64_t int64_most = std::numeric_limits<int64_t>::max();

}  // namespace

BOOST_AUTO_TEST_SUITE(tensor_layout_suite)

BOOST_AUTO_TEST_CASE(contiguous_strides_are_written_out) {
  const AttentionProblem problem = accepted(contiguous_args());  // 3 sequences, 5 and 7 rows, 4 and 2 heads, 64 and 32
  check_strides(problem.query(), 5 * 4 * 64, 4 * 64, 64);
  check_strides(problem.key_tensor(), 7 * 2 * 64, 2 * 64, 64);
  check_strides(problem.value(), 7 * 2 * 32, 2 * 32, 32);
  check_strides(problem.output(), 5 * 4 * 32, 4 * 32, 32);
  check_strides(problem.lse(), 4 * 5, 1, 5);
}

BOOST_AUTO_TEST_CASE(contiguous_strides_written_by_the_caller_are_the_same) {
  Args args = contiguous_args();
  const AttentionProblem expected = accepted(args);
  set_strides(args.query, 5 * 4 * 64, 4 * 64, 64, 1);
  set_strides(args.output, 5 * 4 * 32, 4 * 32, 32, 1);
  set_strides(args.lse, 4 * 5, 1, 5, 1);
  BOOST_TEST(outcome(args) == outcome(contiguous_args()));
  BOOST_TEST(expected.key.alignment_bytes == 16);
}

BOOST_AUTO_TEST_CASE(strides_of_the_caller_arrive) {
  const AttentionProblem problem = accepted(explicit_args());
  for (const ProblemTensor *tensor : {&problem.query(), &problem.key_tensor(), &problem.value(), &problem.output()}) {
    check_strides(*tensor, 8192, 1024, 128);
  }
  check_strides(problem.lse(), 1024, 2, 64);
}

BOOST_AUTO_TEST_CASE(heads_before_rows) {
  Args args = contiguous_args();
  set_strides(args.query, 4 * 5 * 64, 64, 5 * 64, 1);
  set_strides(args.output, 4 * 5 * 32, 32, 5 * 32, 1);
  const AttentionProblem problem = accepted(args);
  check_strides(problem.query(), 1280, 64, 320);
  check_strides(problem.output(), 640, 32, 160);
}

BOOST_AUTO_TEST_CASE(the_last_stride_is_one) {
  for (const NamedTensor &named : four_tensors) {
    for (int64_t stride : {int64_t{0}, int64_t{2}, int64_t{64}, int64_most}) {
      Args args = explicit_args();
      (args.*named.tensor).stride[3] = stride;
      check_invalid(args, named.field(3), {std::to_string(stride).c_str(), "allowed: 1"});
    }
  }
}

BOOST_AUTO_TEST_CASE(negative_strides) {
  for (const NamedTensor &named : four_tensors) {
    for (int dimension = 0; dimension < 4; ++dimension) {
      for (int64_t stride : {int64_t{-1}, std::numeric_limits<int64_t>::min()}) {
        Args args = explicit_args();
        (args.*named.tensor).stride[dimension] = stride;
        check_invalid(args, named.field(dimension), {std::to_string(stride).c_str(), "0 or more"});
      }
    }
  }
  for (int dimension = 0; dimension < 3; ++dimension) {
    Args args = explicit_args();
    args.lse.stride[dimension] = -1;
    check_invalid(args, "lse.stride[" + std::to_string(dimension) + "]");
  }
  Args args = explicit_args();
  args.batch = 1;
  args.query.stride[0] = -5;  // no index uses it, but it is no stride either
  check_invalid(args, "query.stride[0]");
}

BOOST_AUTO_TEST_CASE(inputs_may_repeat_their_data) {
  for (const NamedTensor &named : inputs) {
    for (int dimension = 0; dimension < 3; ++dimension) {
      Args args = explicit_args();
      (args.*named.tensor).stride[dimension] = 0;
      accepted(args);
    }
    Args args = explicit_args();
    set_strides(args.*named.tensor, 0, 0, 0, 1);
    accepted(args);
    set_strides(args.*named.tensor, 1, 1, 1, 1);
    accepted(args);
  }
}

BOOST_AUTO_TEST_CASE(elements_of_outputs_must_be_apart) {
  for (int dimension = 0; dimension < 3; ++dimension) {
    const std::string suffix = ".stride[" + std::to_string(dimension) + "]";
    Args args = explicit_args();
    args.output.stride[dimension] = 0;
    check_invalid(args, "output" + suffix, {"is 0;", "share memory"});
    args = explicit_args();
    args.lse.stride[dimension] = 0;
    check_invalid(args, "lse" + suffix, {"is 0;", "share memory"});
  }
}

BOOST_AUTO_TEST_CASE(smallest_strides_of_outputs) {
  Args args = contiguous_args();  // output [3, 5, 4, 32]
  set_strides(args.output, 5 * 4 * 32, 4 * 32, 32, 1);
  accepted(args);
  args.output.stride[2] = 31;
  check_invalid(args, "output.stride[2]", {"31", "at least 32"});
  args.output.stride[2] = 33;  // four heads now need 3 * 33 + 32
  check_invalid(args, "output.stride[1]", {"128", "at least 131"});
  args.output.stride[1] = 131;
  check_invalid(args, "output.stride[0]", {"640", "at least 655"});
  args.output.stride[0] = 655;
  accepted(args);
}

BOOST_AUTO_TEST_CASE(smallest_strides_of_the_lse) {
  Args args = contiguous_args();  // lse [3, 4, 5]
  set_strides(args.lse, 20, 1, 5, 0);
  accepted(args);
  set_strides(args.lse, 20, 4, 1, 0);
  accepted(args);
  set_strides(args.lse, 1, 12, 3, 0);
  accepted(args);
  set_strides(args.lse, 20, 1, 4, 0);
  check_invalid(args, "lse.stride[2]", {"4", "at least 5"});
  set_strides(args.lse, 19, 1, 5, 0);
  check_invalid(args, "lse.stride[0]", {"19", "at least 20"});
}

BOOST_AUTO_TEST_CASE(strides_of_dimensions_of_size_one_are_free) {
  Args args = explicit_args();
  args.batch = args.seqlen_q = args.seqlen_kv = 1;
  args.heads_q = args.heads_kv = 1;
  for (auto tensor : {&Args::query, &Args::key, &Args::value, &Args::output})
    set_strides(args.*tensor, int64_most, 0, 3, 1);
  set_strides(args.lse, 0, int64_most, 0, 0);
  const AttentionProblem problem = accepted(args);
  for (const ProblemTensor &tensor : problem.tensors) {
    check_strides(tensor, 0, 0, 0);
  }
  BOOST_TEST(problem.key.alignment_bytes == 16);
}

BOOST_AUTO_TEST_CASE(strides_that_leave_the_address_space) {
  for (const NamedTensor &named : four_tensors) {
    for (int dimension = 0; dimension < 3; ++dimension) {
      for (int64_t stride : {int64_most, int64_most / 2, int64_t{1} << 62, int64_t{1} << 61}) {
        Args args = explicit_args();
        args.heads_kv = 4;
        (args.*named.tensor).stride[dimension] = stride;
        check_invalid(args, named.field(dimension), {std::to_string(stride).c_str(), "2^63"});
      }
    }
  }
  Args args = explicit_args();
  args.lse.stride[0] = int64_t{1} << 60;  // two steps of 2^62 bytes
  check_invalid(args, "lse.stride[0]");
}

BOOST_AUTO_TEST_CASE(last_byte_of_the_address_space) {
  for (const NamedTensor &named : four_tensors) {
    Args args = contiguous_args();
    const AttentionProblem problem = accepted(args);
    (void)problem;
    const int64_t rows = named.tensor == &Args::query || named.tensor == &Args::output ? 5 * 4 : 7 * 2;
    const int64_t columns = named.tensor == &Args::query || named.tensor == &Args::key ? 64 : 32;
    const uint64_t bytes = static_cast<uint64_t>(3 * rows * columns * 2);
    (args.*named.tensor).data = -bytes - 2;
    accepted(args);
    (args.*named.tensor).data = -bytes;  // its end would be address 0
    check_invalid(args, named.data(), {"0xffffffff", "address space"});
  }
  Args args = explicit_args();
  args.query.data = 0x8000000000000000;
  args.query.stride[0] = int64_t{1} << 60;
  accepted(args);
  args.query.stride[0] = (int64_t{1} << 61) - 8192;  // ends below 2^63 bytes, but past 2^64 from here
  accepted(args);
  args.query.data = 0x8000000000010000;
  check_invalid(args, "query.data", {"0x8000000000010000"});
}

BOOST_AUTO_TEST_CASE(missing_addresses) {
  for (const NamedTensor &named : four_tensors) {
    Args args = explicit_args();
    (args.*named.tensor).data = 0;
    check_invalid(args, named.data(), {"is 0;"});
    accepted(args, AddressRule::optional);
  }
  Args args = explicit_args();
  args.lse.data = 0;
  BOOST_TEST(accepted(args).lse().data == 0u);
}

BOOST_AUTO_TEST_CASE(misaligned_addresses) {
  for (AddressRule rule : {AddressRule::required, AddressRule::optional}) {
    for (const NamedTensor &named : four_tensors) {
      Args args = explicit_args();
      (args.*named.tensor).data = 0x700000001;
      check_refused(args, FLASHCORE_INVALID_ARGUMENT, named.data(), {"0x700000001", "2 bytes"}, rule);
      (args.*named.tensor).data = 0x700000002;
      accepted(args, rule);
    }
    for (uint64_t shift : {1, 2, 3}) {
      Args args = explicit_args();
      args.lse.data = 0x700000000 + shift;
      check_refused(args, FLASHCORE_INVALID_ARGUMENT, "lse.data", {"0x70000000", "4 bytes"}, rule);
    }
  }
}

BOOST_AUTO_TEST_CASE(tensors_without_elements_are_absent) {
  Args args = contiguous_args();
  args.seqlen_kv = 0;
  args.key.data = 0x3;  // an address that nobody will read
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(problem.key_tensor().data == 0u);
  BOOST_TEST(problem.value().data == 0u);
  BOOST_TEST(problem.key.alignment_bytes == 16);
  set_strides(args.value, 0, 0, -1, 1);
  check_invalid(args, "value.stride[2]");
}

BOOST_AUTO_TEST_CASE(ranges) {
  const auto same = [](const AddressRange &range, uint64_t begin, uint64_t end) {
    BOOST_TEST(range.begin == begin);
    BOOST_TEST(range.end == end);
  };
  const ProblemTensor tensor{1000, 100, 10, 5};
  same(tensor_range(tensor, {1, 1, 1, 4}, 2), 1000, 1008);
  same(tensor_range(tensor, {3, 4, 2, 4}, 2), 1000, 1000 + (200 + 30 + 5 + 4) * 2);
  same(tensor_range(tensor, {3, 4, 2, 1}, 4), 1000, 1000 + (200 + 30 + 5 + 1) * 4);
  same(tensor_range(tensor, {0, 4, 2, 4}, 2), 0, 0);
  same(tensor_range(tensor, {3, 0, 2, 4}, 2), 0, 0);
  same(tensor_range(ProblemTensor{}, {3, 4, 2, 4}, 2), 0, 0);
}

BOOST_AUTO_TEST_SUITE_END()
