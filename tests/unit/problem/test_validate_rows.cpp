// SPDX-License-Identifier: Apache-2.0
//
// Ragged batches and pages: which fields belong together, what they may be, and what they make of shapes.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <functional>
#include <utility>

#include "contract/sequence.h"
#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

Args with(const std::function<void(Args &)> &set) {
  Args args = contiguous_args();
  set(args);
  return args;
}

constexpr uint64_t array = 0x900000000, table = 0xa00000000;

}  // namespace

BOOST_AUTO_TEST_SUITE(validate_rows_suite)

BOOST_AUTO_TEST_CASE(numbers_without_their_array_are_refused) {
  for (const auto &[field, set] :
       {std::pair<const char *, std::function<void(Args &)>>{"total_q", [](Args &args) { args.total_q = 7; }},
        {"total_kv", [](Args &args) { args.total_kv = 7; }},
        {"kv_batch_count", [](Args &args) { args.kv_batch_count = 7; }},
        {"page_table_stride", [](Args &args) { args.page_table_stride = 7; }},
        {"page_count", [](Args &args) { args.page_count = 7; }},
        {"page_size", [](Args &args) { args.page_size = 7; }},
        {"page_table_value", [](Args &args) { args.page_table_value = 7; }}})
    check_invalid(with(set), field, {"0 without"});
}

BOOST_AUTO_TEST_CASE(numbers_are_within_their_bounds) {
  for (int64_t total : {int64_t{-1}, int64_t{0}, int64_t{1} << 31, INT64_MAX}) {
    check_invalid(with([&](Args &args) { args.cu_seqlens_q = array, args.total_q = total; }), "total_q",
                  {std::to_string(total).c_str(), "1 to 2147483647"});
    check_invalid(with([&](Args &args) { args.cu_seqlens_kv = array, args.total_kv = total; }), "total_kv",
                  {std::to_string(total).c_str()});
  }
  for (int64_t count : {int64_t{-1}, int64_t{0}, int64_t{1} << 31}) {
    check_invalid(with([&](Args &args) { args.kv_batch_index = array, args.kv_batch_count = count; }), "kv_batch_count",
                  {"1 to"});
    check_invalid(with([&](Args &args) { args.page_table = table, args.page_size = 16, args.page_count = count; }),
                  "page_count", {"1 to"});
  }
  for (int32_t size : {-1, 0})
    check_invalid(with([&](Args &args) { args.page_table = table, args.page_count = 3, args.page_size = size; }),
                  "page_size", {"1 to"});
  check_invalid(with([](Args &args) { args.index_dtype = FLASHCORE_DTYPE_FLOAT32; }), "index_dtype", {"3", "INT64"});
  check_invalid(with([](Args &args) {
                  args.page_table = table, args.page_count = 3, args.page_size = 4, args.page_table_stride = -1;
                }),
                "page_table_stride", {"-1", "0 or more"});
}

BOOST_AUTO_TEST_CASE(fields_that_say_two_things_are_refused) {
  const auto paged = [](Args &args) { args.page_table = table, args.page_count = 3, args.page_size = 4; };
  check_invalid(with([&](Args &args) { paged(args), args.cu_seqlens_kv = array, args.total_kv = 5; }), "cu_seqlens_kv",
                {"page_table"});
  check_invalid(with([&](Args &args) { paged(args), args.kv_batch_index = array, args.kv_batch_count = 5; }),
                "kv_batch_index", {"page_table"});
  check_invalid(with([&](Args &args) {
                  args.kv_batch_index = array, args.kv_batch_count = 5, args.cu_seqlens_kv = array, args.total_kv = 5;
                }),
                "kv_batch_index", {"cu_seqlens_kv"});
}

BOOST_AUTO_TEST_CASE(arrays_are_aligned_to_their_numbers) {
  for (const auto &[dtype, bytes] : {std::pair{FLASHCORE_DTYPE_INT32, 4}, {FLASHCORE_DTYPE_INT64, 8}})
    check_invalid(with([&, dtype = dtype, bytes = bytes](Args &args) {
                    args.index_dtype = dtype, args.seqused_kv = array + static_cast<uint64_t>(bytes) / 2;
                  }),
                  "seqused_kv", {("multiple of the element size, " + std::to_string(bytes)).c_str()});
}

BOOST_AUTO_TEST_CASE(outputs_do_not_lie_among_the_arrays) {
  Args args = contiguous_args();
  args.seqused_kv = args.output.data + 8;
  check_invalid(args, "output.data", {"apart from seqused_kv"});
}

BOOST_AUTO_TEST_CASE(shapes_follow_from_where_rows_are) {
  const Args args = with([](Args &args) {
    args.cu_seqlens_q = array, args.total_q = 12, args.cu_seqlens_kv = array + 64, args.total_kv = 30;
  });
  const AttentionProblem problem = accepted(args);
  BOOST_TEST(problem.key.rows == kernels::rows_ragged);
  const auto operands = operands_of(problem);
  BOOST_TEST((operands[fwd::query].shape.batch == 1 && operands[fwd::query].shape.rows == 12));
  BOOST_TEST((operands[fwd::output].shape.rows == 12 && operands[fwd::lse].shape.rows == 12));
  BOOST_TEST((operands[fwd::key].shape.batch == 1 && operands[fwd::value].shape.rows == 30));
  BOOST_TEST(operands[fwd::cu_seqlens_q].shape.columns == args.batch + 1);
}

BOOST_AUTO_TEST_CASE(pages_are_entries_of_key_and_value) {
  const Args args = with(
      [](Args &args) { args.page_table = table, args.page_count = 9, args.page_size = 3, args.seqused_kv = array; });
  const AttentionProblem problem = accepted(args);
  BOOST_TEST((problem.key.rows == kernels::rows_paged && problem.key.kv_batches == 9 && problem.key.page_size == 3));
  const auto operands = operands_of(problem);
  BOOST_TEST((operands[fwd::key].shape.batch == 9 && operands[fwd::key].shape.rows == 3));
  BOOST_TEST(operands[fwd::page_table].shape.columns == (args.seqlen_kv + 2) / 3);
  BOOST_TEST(problem.tensors[fwd::page_table].stride_row == (args.seqlen_kv + 2) / 3);
}

BOOST_AUTO_TEST_CASE(dense_calls_have_one_key_whatever_the_index_type) {
  const AttentionProblem plain = accepted(contiguous_args());
  BOOST_TEST((plain.key.rows == kernels::rows_dense && plain.key.ragged_by == kernels::by_nothing));
  const AttentionProblem typed = accepted(with([](Args &args) { args.index_dtype = FLASHCORE_DTYPE_INT64; }));
  BOOST_TEST(std::memcmp(&plain.key, &typed.key, sizeof(plain.key)) == 0);
}

// Whatever the arrays say, rows are inside of the tensors.
BOOST_AUTO_TEST_CASE(sequences_stay_inside_of_the_tensors) {
  const int32_t bounds[] = {-5, 3, 2, 40, 1 << 30}, lengths[] = {-1, 100, 3, 7}, padding[] = {-3, 100, 1, 0},
                entries[] = {-1, 9, 1, 0};
  kernels::RaggedRows rows{};
  rows.cu_seqlens_q = reinterpret_cast<uint64_t>(bounds), rows.total_q = 10, rows.most_queries = 4;
  rows.seqused_kv = reinterpret_cast<uint64_t>(lengths), rows.leftpad_kv = reinterpret_cast<uint64_t>(padding);
  rows.kv_batch_index = reinterpret_cast<uint64_t>(entries), rows.kv_batches = 2, rows.most_keys = 8;
  rows.index_bytes = 4;
  const kernels::Sequence expected[] = {
      {3, 0, 0, 0, 0, 0}, {0, 0, 0, 3, 1, 8}, {4, 2, 0, 2, 1, 1}, {0, 7, 0, 10, 0, 0}};
  for (int32_t b = 0; b < 4; ++b) {
    const kernels::Sequence got = kernels::sequence_of(rows, b), &want = expected[b];
    BOOST_TEST((got.queries == want.queries && got.keys == want.keys && got.query_batch == want.query_batch &&
                got.first_query_row == want.first_query_row && got.key_batch == want.key_batch &&
                got.first_key_row == want.first_key_row),
               b << ": " << got.queries << " " << got.keys << " " << got.first_query_row << " " << got.key_batch << " "
                 << got.first_key_row);
  }
}

BOOST_AUTO_TEST_CASE(rows_are_divided_into_pages) {
  for (int32_t size : {1, 2, 3, 7, 16, 19, 255, 256, 257, 65535, 0x7fffffff}) {
    kernels::RaggedRows rows{};
    rows.page_size = size, rows.page_shift = kernels::shift_of_page(size),
    rows.page_reciprocal = kernels::reciprocal_of_page(size);
    for (int64_t quotient : {int64_t{0}, int64_t{1}, int64_t{5}, int64_t{0x7fffffff} / size})
      for (int64_t row = quotient * size - 1; row <= quotient * size + 1; ++row)
        if (row >= 0 && row <= 0x7fffffff)
          BOOST_TEST(kernels::page_of(rows, static_cast<int32_t>(row)) == row / size, row << " / " << size);
  }
}

BOOST_AUTO_TEST_SUITE_END()
