// SPDX-License-Identifier: Apache-2.0
//
// flashcore_merge_states_args: what is accepted and how it is seen then, and every refusal.
#include <algorithm>
#include <boost/test/unit_test.hpp>
#include <cstddef>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <set>

#include "problem/merge_states_problem.hpp"
#include "tensor_strides.hpp"

using namespace flashcore;

namespace {

using Args = flashcore_merge_states_args;

// Every size differs, strides are left to the library, everything is there.
Args contiguous_args() {
  Args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
  args.state_count = 3;
  args.batch = 2;
  args.seqlen_q = 5;
  args.heads_q = 4;
  args.head_dim_v = 64;
  args.output_states.dtype = FLASHCORE_DTYPE_FLOAT16;
  args.output_states.data = 0x100000000;
  args.lse_states.data = 0x200000000;
  args.output.data = 0x300000000;
  args.lse.data = 0x400000000;
  return args;
}

MergeStatesProblem accepted(const Args &args, AddressRule rule = AddressRule::required) {
  Result<MergeStatesProblem> result = validate_merge_states(&args, rule);
  BOOST_REQUIRE_MESSAGE(result.ok(), (result.ok() ? std::string() : result.error().message));
  return result.value();
}

void check_refused(const Args &args, flashcore_status status, const std::string &field, const std::string &part,
                   AddressRule rule = AddressRule::required) {
  BOOST_TEST_CONTEXT("field " << field) {
    const Result<MergeStatesProblem> result = validate_merge_states(&args, rule);
    BOOST_REQUIRE(!result.ok());
    const Error &error = result.error();
    BOOST_TEST(error.status == status, error.message);
    BOOST_TEST(error.field == field, error.field << ": " << error.message);
    BOOST_TEST(error.message.starts_with(field + " is "), error.message);
    BOOST_TEST(error.message.find(part) != std::string::npos, error.message);
  }
}

struct Wrong {
  const char *field, *part;
  std::function<void(Args &)> change;
  flashcore_status status = FLASHCORE_INVALID_ARGUMENT;
};

void check_all(std::initializer_list<Wrong> wrong) {
  for (const Wrong &one : wrong) {
    Args args = contiguous_args();
    one.change(args);
    check_refused(args, one.status, one.field, one.part);
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(validate_merge_states_suite)

BOOST_AUTO_TEST_CASE(contiguous_strides_are_written_out) {
  const MergeStatesProblem problem = accepted(contiguous_args());
  BOOST_TEST(problem.state_count() == 3);
  BOOST_TEST(problem.rows() == 2 * 5 * 4);
  BOOST_TEST(problem.sizes.dtype == FLASHCORE_DTYPE_FLOAT16);
  BOOST_TEST(problem.output_dtype == FLASHCORE_DTYPE_FLOAT16);
  BOOST_TEST(problem.sizes.alignment_bytes == 16);
  BOOST_TEST(!problem.lse_base2);
  const ProblemOperand &states = problem.operands[merge::output_states], &lse = problem.operands[merge::lse_states];
  BOOST_TEST(states.states.stride == 2 * 5 * 4 * 64);
  BOOST_TEST(states.tensor.stride_batch == 5 * 4 * 64);
  BOOST_TEST(states.tensor.stride_row == 4 * 64);
  BOOST_TEST(states.tensor.stride_head == 64);
  BOOST_TEST(states.range.end - states.range.begin == 3u * 2 * 5 * 4 * 64 * 2);
  BOOST_TEST(lse.states.stride == 2 * 5 * 4);
  BOOST_TEST(lse.tensor.stride_batch == 5 * 4);
  BOOST_TEST(lse.tensor.stride_row == 1);
  BOOST_TEST(lse.tensor.stride_head == 5);
  BOOST_TEST(lse.range.end - lse.range.begin == 3u * 2 * 5 * 4 * 4);
}

BOOST_AUTO_TEST_CASE(given_strides_span_all_states) {
  Args args = contiguous_args();
  set_strides(args.output_states, 10000, 1000, 100, 1);
  args.output_state_stride = 50000;
  set_strides(args.lse_states, 100, 1, 10, 0);
  args.lse_state_stride = 1000;
  const MergeStatesProblem problem = accepted(args);
  const auto bytes = [&](merge::Operand operand) {
    return problem.operands[operand].range.end - problem.operands[operand].range.begin;
  };
  BOOST_TEST(bytes(merge::output_states) == (2u * 50000 + 10000 + 4 * 1000 + 3 * 100 + 64) * 2);
  BOOST_TEST(bytes(merge::lse_states) == (2u * 1000 + 100 + 4 + 3 * 10 + 1) * 4);
}

BOOST_AUTO_TEST_CASE(alignment_counts_outputs_and_the_distance_of_states) {
  Args args = contiguous_args();
  args.output_states.data += 2;
  BOOST_TEST(accepted(args).sizes.alignment_bytes == 2);
  args = contiguous_args();
  args.output.data += 2;
  BOOST_TEST(accepted(args).sizes.alignment_bytes == 2);
  args = contiguous_args();
  args.lse_states.data += 4;
  BOOST_TEST(accepted(args).sizes.alignment_bytes == 16);
  set_strides(args.output_states, 5 * 4 * 64, 4 * 64, 64, 1);
  args.output_state_stride = 2 * 5 * 4 * 64 + 4;
  BOOST_TEST(accepted(args).sizes.alignment_bytes == 2);
}

BOOST_AUTO_TEST_CASE(types_may_differ) {
  for (const int32_t dtype : {FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_BFLOAT16, FLASHCORE_DTYPE_FLOAT32})
    for (const int32_t output :
         {FLASHCORE_DTYPE_DEFAULT, FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_BFLOAT16, FLASHCORE_DTYPE_FLOAT32}) {
      Args args = contiguous_args();
      args.output_states.dtype = dtype, args.output.dtype = output;
      const MergeStatesProblem problem = accepted(args);
      const int32_t expected = output == FLASHCORE_DTYPE_DEFAULT ? dtype : output;
      BOOST_TEST(problem.output_dtype == expected);
      const ProblemOperand &place = problem.operands[merge::output];
      BOOST_TEST(place.range.end - place.range.begin ==
                 2u * 5 * 4 * 64 * static_cast<uint64_t>(kernels::element_bytes(expected)));
    }
}

BOOST_AUTO_TEST_CASE(empty_and_absent) {
  for (int64_t Args::*size : {&Args::batch, &Args::seqlen_q}) {
    Args args = contiguous_args();
    args.*size = 0;
    args.output.data = args.output_states.data = args.lse_states.data = args.lse.data = 0;
    BOOST_TEST(accepted(args).empty());
  }
  Args args = contiguous_args();
  args.lse.data = 0;
  BOOST_TEST(accepted(args).operands[merge::lse].tensor.data == 0u);
  for (flashcore_tensor Args::*tensor : {&Args::output_states, &Args::lse_states, &Args::output})
    (args.*tensor).data = 0;
  BOOST_TEST(accepted(args, AddressRule::optional).sizes.alignment_bytes == 16);
}

BOOST_AUTO_TEST_CASE(sizes_that_are_refused) {
  constexpr int64_t beyond = int64_t{1} << 31;
  check_all({{"state_count", "1 to 1024", [](Args &args) { args.state_count = 0; }},
             {"state_count", "1 to 1024", [](Args &args) { args.state_count = 1025; }},
             {"state_count", "1 to 1024", [](Args &args) { args.state_count = -1; }},
             {"batch", "0 to 2147483647", [](Args &args) { args.batch = -1; }},
             {"batch", "0 to 2147483647", [](Args &args) { args.batch = beyond; }},
             {"seqlen_q", "0 to 2147483647", [](Args &args) { args.seqlen_q = -1; }},
             {"seqlen_q", "0 to 2147483647", [](Args &args) { args.seqlen_q = beyond; }},
             {"heads_q", "1 to 2147483647", [](Args &args) { args.heads_q = 0; }},
             {"head_dim_v", "1 to 65536", [](Args &args) { args.head_dim_v = 0; }},
             {"head_dim_v", "1 to 65536", [](Args &args) { args.head_dim_v = 65537; }},
             {"output_states", "less than 2^63 bytes", [](Args &args) {
                args.batch = args.seqlen_q = beyond - 1, args.heads_q = 1, args.head_dim_v = 1;
                args.output_states.dtype = FLASHCORE_DTYPE_FLOAT32;
              }}});
}

BOOST_AUTO_TEST_CASE(types_and_options_that_are_refused) {
  const auto invalid = FLASHCORE_INVALID_ARGUMENT, unsupported = FLASHCORE_UNSUPPORTED;
  check_all({{"output_states.dtype", "FLASHCORE_DTYPE_FLOAT32 (3)", [](Args &args) { args.output_states.dtype = 0; },
              invalid},
             {"output_states.dtype", "FLASHCORE_DTYPE_FLOAT32 (3)",
              [](Args &args) { args.output_states.dtype = FLASHCORE_DTYPE_INT32; }, unsupported},
             {"output.dtype", "0 for that of output_states", [](Args &args) { args.output.dtype = 99; }, invalid},
             {"output.dtype", "0 for that of output_states",
              [](Args &args) { args.output.dtype = FLASHCORE_DTYPE_FLOAT8_E4M3; }, unsupported},
             {"lse_states.dtype", "FLASHCORE_DTYPE_FLOAT32 (3)",
              [](Args &args) { args.lse_states.dtype = FLASHCORE_DTYPE_FLOAT16; }, unsupported},
             {"lse.dtype", "FLASHCORE_DTYPE_FLOAT32 (3)", [](Args &args) { args.lse.dtype = FLASHCORE_DTYPE_BFLOAT16; },
              unsupported},
             {"lse_base", "FLASHCORE_LSE_BASE2 (1)", [](Args &args) { args.lse_base = 2; }, invalid},
             {"lse_base", "FLASHCORE_LSE_BASE2 (1)", [](Args &args) { args.lse_base = -1; }, invalid},
             {"output_states.reserved", "0", [](Args &args) { args.output_states.reserved = 1; }, unsupported},
             {"lse_states.reserved", "0", [](Args &args) { args.lse_states.reserved = 1; }, unsupported},
             {"output.reserved", "0", [](Args &args) { args.output.reserved = 1; }, unsupported},
             {"lse.reserved", "0", [](Args &args) { args.lse.reserved = 1; }, unsupported},
             {"reserved", "0", [](Args &args) { args.reserved = 1; }, unsupported}});
}

// Sizes and distances whose product no number holds.
BOOST_AUTO_TEST_CASE(states_beyond_every_address_are_refused) {
  const auto refused = [](const char *field, void (*change)(Args &)) {
    Args args = contiguous_args();
    change(args);
    BOOST_TEST_CONTEXT(field) {
      const Result<MergeStatesProblem> result = validate_merge_states(&args, AddressRule::required);
      BOOST_REQUIRE(!result.ok());
      BOOST_TEST(result.error().status == FLASHCORE_INVALID_ARGUMENT);
      BOOST_TEST(result.error().field == field, result.error().field << ": " << result.error().message);
    }
  };
  constexpr int64_t far = int64_t{1} << 62;
  refused("output_state_stride", [](Args &args) { args.output_state_stride = far; });
  refused("lse_state_stride", [](Args &args) { args.lse_state_stride = far; });
  refused("output_state_stride", [](Args &args) { args.state_count = 2, args.output_state_stride = far - 1; });
  // Every size as large as it may be: the elements alone are too many.
  refused("output_states", [](Args &args) {
    args.batch = args.seqlen_q = 0x7fffffff, args.heads_q = 2, args.head_dim_v = 1, args.state_count = 1024;
  });
}

BOOST_AUTO_TEST_CASE(strides_that_are_refused) {
  constexpr int64_t huge = std::numeric_limits<int64_t>::max() / 2;
  check_all({{"output_states.stride[0]", "0 or more",
              [](Args &args) { set_strides(args.output_states, -1, 256, 64, 1), args.output_state_stride = 9000; }},
             {"output_states.stride[3]", "1, or all four strides 0",
              [](Args &args) { set_strides(args.output_states, 1280, 256, 64, 2), args.output_state_stride = 9000; }},
             {"output_state_stride", "0 or more", [](Args &args) { args.output_state_stride = -8; }},
             {"lse_state_stride", "0 or more", [](Args &args) { args.lse_state_stride = -8; }},
             {"output_state_stride", "more than 0 where output_states has strides",
              [](Args &args) { set_strides(args.output_states, 1280, 256, 64, 1); }},
             {"lse_state_stride", "more than 0 where lse_states has strides",
              [](Args &args) { set_strides(args.lse_states, 20, 1, 5, 0); }},
             {"output_state_stride", "3 steps below 2^63 bytes", [](Args &args) { args.output_state_stride = huge; }},
             {"output.stride[1]", "no two elements of an output share memory",
              [](Args &args) { set_strides(args.output, 1280, 100, 64, 1); }},
             {"lse.stride[2]", "no two elements of an output share memory",
              [](Args &args) { set_strides(args.lse, 20, 1, 3, 0); }}});
  // With one state its distance is nobody's.
  Args args = contiguous_args();
  args.state_count = 1;
  set_strides(args.output_states, 1280, 256, 64, 1);
  BOOST_TEST(accepted(args).operands[merge::output_states].states.stride == 0);
  // Strides of an lse that is not wanted would be ignored.
  args = contiguous_args();
  args.lse.data = 0;
  set_strides(args.lse, 20, 1, 5, 0);
  check_refused(args, FLASHCORE_INVALID_ARGUMENT, "lse.stride[0]", "0 without lse.data");
  BOOST_TEST(validate_merge_states(&args, AddressRule::optional).ok());
}

BOOST_AUTO_TEST_CASE(addresses_that_are_refused) {
  check_all({{"output_states.data", "the address of the tensor's first element",
              [](Args &args) { args.output_states.data = 0; }},
             {"lse_states.data", "the address", [](Args &args) { args.lse_states.data = 0; }},
             {"output.data", "the address", [](Args &args) { args.output.data = 0; }},
             {"output_states.data", "a multiple of the element size", [](Args &args) { args.output_states.data += 1; }},
             {"lse_states.data", "a multiple of the element size", [](Args &args) { args.lse_states.data += 2; }},
             {"output.data", "a multiple of the element size, 4 bytes",
              [](Args &args) { args.output.dtype = FLASHCORE_DTYPE_FLOAT32, args.output.data += 2; }},
             {"lse.data", "a multiple of the element size", [](Args &args) { args.lse.data += 1; }},
             {"output_states.data", "ends inside the address space",
              [](Args &args) { args.output_states.data = 0xfffffffffffffff0; }}});
}

BOOST_AUTO_TEST_CASE(results_in_place_of_state_0) {
  Args args = contiguous_args();
  args.output.data = args.output_states.data, args.lse.data = args.lse_states.data;
  accepted(args);
  args.state_count = 1;
  accepted(args);
  // Strides that are spelled out are the same ones, and those of one element count nothing.
  args = contiguous_args();
  args.batch = 1;
  args.output.data = args.output_states.data;
  set_strides(args.output, 77777, 256, 64, 1);
  accepted(args);
  // States between the rows of each other.
  args = contiguous_args();
  set_strides(args.output_states, 3 * 1280, 3 * 256, 3 * 64, 1);
  args.output_state_stride = 64;
  args.output = args.output_states;
  accepted(args);
}

BOOST_AUTO_TEST_CASE(overlap_that_is_refused) {
  const char *const text = "or state 0 itself, by its address, strides and type";
  constexpr uint64_t state_bytes = 2 * 5 * 4 * 64 * 2;
  check_all(
      {{"output.data", text, [](Args &args) { args.output.data = args.output_states.data + state_bytes; }},
       {"output.data", text, [](Args &args) { args.output.data = args.output_states.data + 128; }},
       {"output.data", text,
        [](Args &args) {
          args.output.data = args.output_states.data;
          set_strides(args.output, 1280 + 64, 256, 64, 1);
        }},
       {"output.data", text,
        [](Args &args) { args.output.data = args.output_states.data, args.output.dtype = FLASHCORE_DTYPE_BFLOAT16; }},
       {"output.data", text,
        [](Args &args) { args.output.data = args.output_states.data, args.output.dtype = FLASHCORE_DTYPE_FLOAT32; }},
       // State 0, but it shares memory with state 1.
       {"output.data", text,
        [](Args &args) { args.output.data = args.output_states.data, args.output_state_stride = 64; }},
       {"output.data", text, [](Args &args) { args.output.data = args.lse_states.data; }},
       {"lse.data", text, [](Args &args) { args.lse.data = args.lse_states.data + 4; }},
       {"lse.data", text, [](Args &args) { args.lse.data = args.lse_states.data + 2 * 5 * 4 * 4; }},
       {"lse.data", text, [](Args &args) { args.lse.data = args.output_states.data; }},
       {"lse.data", text, [](Args &args) { args.lse.data = args.output.data; }}});
}

// Bytes of the states from `first` on, one by one.
std::set<uint64_t> bytes_of(const ProblemOperand &operand, int64_t first) {
  std::set<uint64_t> bytes;
  const ProblemTensor &tensor = operand.tensor;
  if (tensor.data == 0) return bytes;
  for (int64_t state = first; state < operand.states.count; ++state)
    for (int64_t b = 0; b < operand.shape.batch; ++b)
      for (int64_t row = 0; row < operand.shape.rows; ++row)
        for (int64_t head = 0; head < operand.shape.heads; ++head)
          for (int64_t i = 0; i < operand.shape.columns * operand.element_bytes; ++i)
            bytes.insert(tensor.data + static_cast<uint64_t>((state * operand.states.stride + b * tensor.stride_batch +
                                                              row * tensor.stride_row + head * tensor.stride_head) *
                                                                 operand.element_bytes +
                                                             i));
  return bytes;
}

bool meet_by_bytes(const std::set<uint64_t> &a, const std::set<uint64_t> &b) {
  return std::any_of(a.begin(), a.end(), [&](uint64_t byte) { return b.count(byte) != 0; });
}

// Random layouts in a small memory: what is accepted shares no byte but with a state 0 that it is, and spans what its range says.
BOOST_AUTO_TEST_CASE(overlap_is_what_the_bytes_say) {
  std::mt19937 random(17);
  const auto any = [&](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  int32_t good = 0, in_place = 0, refused = 0;
  for (int round = 0; round < 60000; ++round) {
    Args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
    args.state_count = static_cast<int32_t>(any(1, 3));
    args.batch = any(1, 2), args.seqlen_q = any(1, 3);
    args.heads_q = static_cast<int32_t>(any(1, 2)), args.head_dim_v = static_cast<int32_t>(any(1, 4));
    args.output_states.dtype = any(0, 1) != 0 ? FLASHCORE_DTYPE_FLOAT32 : FLASHCORE_DTYPE_BFLOAT16;
    for (flashcore_tensor Args::*field : {&Args::output_states, &Args::lse_states, &Args::output, &Args::lse}) {
      flashcore_tensor &tensor = args.*field;
      tensor.data = 0x1000 + static_cast<uint64_t>(any(0, 100)) * 4;
      if (any(0, 1) != 0) set_strides(tensor, any(4, 24), any(4, 12), any(4, 8), 1);
    }
    args.output_state_stride = any(0, 2) == 0 ? 0 : any(1, 60), args.lse_state_stride = any(0, 2) == 0 ? 0 : any(1, 60);
    if (any(0, 1) != 0) {
      args.output = args.output_states;
      args.lse.data = 0x4000;
    }
    const Result<MergeStatesProblem> result = validate_merge_states(&args, AddressRule::required);
    const bool overlap = !result.ok() && result.error().message.find("memory apart from") != std::string::npos;
    if (!result.ok() && !overlap) continue;
    if (overlap) {
      ++refused;
      continue;
    }
    const auto &operands = result.value().operands;
    const auto is_state_0 = [&](merge::Operand output, merge::Operand states) {
      const ProblemTensor &a = operands[output].tensor, &b = operands[states].tensor;
      return a.data == b.data && a.stride_batch == b.stride_batch && a.stride_row == b.stride_row &&
             a.stride_head == b.stride_head;
    };
    const bool output_in_place = is_state_0(merge::output, merge::output_states),
               lse_in_place = is_state_0(merge::lse, merge::lse_states);
    const auto states = bytes_of(operands[merge::output_states], output_in_place ? 1 : 0),
               logarithms = bytes_of(operands[merge::lse_states], lse_in_place ? 1 : 0),
               output = bytes_of(operands[merge::output], 0), lse = bytes_of(operands[merge::lse], 0);
    BOOST_REQUIRE(!meet_by_bytes(output, states));
    BOOST_REQUIRE(!meet_by_bytes(output, logarithms));
    BOOST_REQUIRE(!meet_by_bytes(lse, states));
    BOOST_REQUIRE(!meet_by_bytes(lse, logarithms));
    BOOST_REQUIRE(!meet_by_bytes(lse, output));
    for (const ProblemOperand &operand : operands) {
      const auto bytes = bytes_of(operand, 0);
      BOOST_REQUIRE(*bytes.begin() == operand.range.begin);
      BOOST_REQUIRE(*bytes.rbegin() + 1 == operand.range.end);
    }
    ++good, in_place += output_in_place;
  }
  BOOST_TEST(good > 2000, good);
  BOOST_TEST(in_place > 500, in_place);
  BOOST_TEST(refused > 2000, refused);
}

BOOST_AUTO_TEST_CASE(struct_sizes) {
  BOOST_TEST(!validate_merge_states(nullptr, AddressRule::required).ok());
  Args args = contiguous_args();
  args.struct_size = 247;
  const Result<MergeStatesProblem> small = validate_merge_states(&args, AddressRule::required);
  BOOST_REQUIRE(!small.ok());
  BOOST_TEST(small.error().field == "struct_size");
  struct Newer {
    Args args;
    uint64_t unknown;
  } newer{contiguous_args(), 0};
  newer.args.struct_size = sizeof(newer);
  BOOST_TEST(validate_merge_states(&newer.args, AddressRule::required).ok());
  newer.unknown = 1;
  const Result<MergeStatesProblem> large = validate_merge_states(&newer.args, AddressRule::required);
  BOOST_REQUIRE(!large.ok());
  BOOST_TEST(large.error().status == FLASHCORE_UNSUPPORTED);
}

// A struct may lie at any address.
BOOST_AUTO_TEST_CASE(a_struct_that_is_not_aligned) {
  const Args args = contiguous_args();
  unsigned char bytes[sizeof(args) + 1];
  std::memcpy(bytes + 1, &args, sizeof(args));
  BOOST_TEST(validate_merge_states(reinterpret_cast<const Args *>(bytes + 1), AddressRule::required).value().rows() ==
             40);
}

BOOST_AUTO_TEST_SUITE_END()
