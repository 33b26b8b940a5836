// SPDX-License-Identifier: Apache-2.0
//
// New rows and rotary embedding: which fields belong together, what they may be, and that key and value are outputs then.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/unit_test.hpp>
#include <functional>
#include <utility>

#include "contract/append.h"
#include "problem_fixture.hpp"

using namespace flashcore;

namespace {

using Set = std::function<void(Args &)>;

Args with(
    const Set &set, const Set &more = [](Args &) {}) {
  Args args = contiguous_args();  // 3 sequences, 5 queries, 7 keys, 4 and 2 heads, 64 and 32
  set(args), more(args);
  return args;
}

void append(Args &args) { args.seqlen_new = 2, args.new_key.data = 0x600000000, args.new_value.data = 0x700000000; }
void rotate(Args &args) { args.rotary_dim = 16, args.rotary_cos = 0x800000000, args.rotary_sin = 0x900000000; }
void append_and_rotate(Args &args) { append(args), rotate(args); }

}  // namespace

BOOST_AUTO_TEST_SUITE(validate_append_suite)

BOOST_AUTO_TEST_CASE(what_is_said_of_nothing_is_refused) {
  const std::pair<const char *, Set> fields[] = {
      {"new_key.data", [](Args &args) { args.new_key.data = 64; }},
      {"new_key.dtype", [](Args &args) { args.new_key.dtype = FLASHCORE_DTYPE_FLOAT16; }},
      {"new_key.stride[1]", [](Args &args) { args.new_key.stride[1] = 64; }},
      {"new_value.data", [](Args &args) { args.new_value.data = 64; }},
      {"new_value.stride[3]", [](Args &args) { args.new_value.stride[3] = 1; }},
      {"rotary_cos", [](Args &args) { args.rotary_cos = 64; }},
      {"rotary_sin", [](Args &args) { args.rotary_sin = 64; }},
      {"rotary_positions", [](Args &args) { args.rotary_positions = 64; }},
      {"rotary_table_rows", [](Args &args) { args.rotary_table_rows = 64; }}};
  for (const auto &[field, set] : fields) check_invalid(with(set), field, {"0 without"});
  check_invalid(with([](Args &args) { args.flags = FLASHCORE_FLAG_ROTARY_INTERLEAVED; }), "flags",
                {"0x10", "FLASHCORE_FLAG_ROTARY_INTERLEAVED", "rotary_dim"});
}

BOOST_AUTO_TEST_CASE(numbers_are_within_their_bounds) {
  for (const int64_t rows : {int64_t{-1}, int64_t{8}, INT64_MAX})
    check_invalid(with(append, [&](Args &args) { args.seqlen_new = rows; }), "seqlen_new",
                  {std::to_string(rows).c_str(), "0 to seqlen_kv, 7"});
  for (const int32_t dim : {-2, 1, 15, 66, INT32_MAX})
    check_invalid(with(append_and_rotate, [&](Args &args) { args.rotary_dim = dim; }), "rotary_dim",
                  {std::to_string(dim).c_str(), "even number up to head_dim, 64"});
  for (const int64_t rows : {int64_t{-1}, int64_t{1} << 31})
    check_invalid(with(append_and_rotate, [&](Args &args) { args.rotary_table_rows = rows; }), "rotary_table_rows",
                  {std::to_string(rows).c_str(), "0 to 2147483647"});
  check_invalid(with(rotate, [](Args &args) { args.rotary_positions = 64, args.seqlen_kv = 0; }), "rotary_table_rows",
                {"1 or more where seqlen_kv is 0"});
  check_invalid(with(append, [](Args &args) { args.seqlen_q = 0; }), "seqlen_new", {"seqlen_q is 0"});
}

BOOST_AUTO_TEST_CASE(what_is_needed_must_be_there) {
  check_invalid(with(append, [](Args &args) { args.new_key.data = 0; }), "new_key.data", {"seqlen_new rows of keys"});
  check_invalid(with(append, [](Args &args) { args.new_value.data = 0; }), "new_value.data", {"rows of values"});
  check_invalid(with(append_and_rotate, [](Args &args) { args.rotary_cos = 0; }), "rotary_cos", {"cosines"});
  check_invalid(with(append_and_rotate, [](Args &args) { args.rotary_sin = 0; }), "rotary_sin", {"sines"});
  check_invalid(with(rotate), "rotary_positions", {"seqlen_new is 0"});
  // To prepare, nothing need be there but the arrays.
  const Args to_prepare = with(append_and_rotate, [](Args &args) {
    args.new_key.data = args.new_value.data = args.rotary_cos = args.rotary_sin = 0;
  });
  BOOST_TEST(accepted(to_prepare, AddressRule::optional).key.seqlen_new == 2);
  // Nor for no sequences.
  accepted(with(append, [](Args &args) { args.batch = 0, args.new_key.data = args.new_value.data = 0; }));
}

BOOST_AUTO_TEST_CASE(types_and_places_are_checked) {
  check_unsupported(with(append, [](Args &args) { args.new_key.dtype = FLASHCORE_DTYPE_BFLOAT16; }), "new_key.dtype",
                    {"the query's"});
  check_invalid(with(append, [](Args &args) { set_strides(args.new_key, 0, 64, 64, 2); }), "new_key.stride[3]");
  check_invalid(with(append, [](Args &args) { args.new_value.data += 1; }), "new_value.data", {"2 bytes"});
  check_invalid(with(append_and_rotate, [](Args &args) { args.rotary_sin += 1; }), "rotary_sin", {"2 bytes"});
  check_invalid(with(append_and_rotate,
                     [](Args &args) { args.index_dtype = FLASHCORE_DTYPE_INT64, args.rotary_positions = 0xa00000004; }),
                "rotary_positions", {"8 bytes"});
}

BOOST_AUTO_TEST_CASE(the_cache_is_an_output_where_it_is_written) {
  const auto overlap = [](Args &args) { args.value.data = args.key.data; };
  accepted(with(overlap));
  check_invalid(with(append, overlap), "value.data", {"apart from key"});
  const auto of_query = [](Args &args) { args.key.data = args.query.data + 64; };
  accepted(with(of_query));
  check_invalid(with(append, of_query), "key.data", {"apart from query"});
  const auto of_new_rows = [](Args &args) { args.new_value.data = args.value.data + 64; };
  check_invalid(with(append, of_new_rows), "value.data", {"apart from new_value"});
  const auto of_lengths = [](Args &args) { args.seqused_kv = args.key.data + 64; };
  accepted(with(of_lengths));
  check_invalid(with(append, of_lengths), "key.data", {"apart from seqused_kv"});
  check_invalid(with(append, [](Args &args) { args.output.data = args.key.data; }), "output.data", {"apart from key"});
  const auto same_heads = [](Args &args) { set_strides(args.key, 7 * 64, 64, 0, 1); };
  accepted(with(same_heads));
  check_invalid(with(append, same_heads), "key.stride[2]", {"at least 64"});
  // Keys and values side by side in one pool.
  accepted(with(append, [](Args &args) {
    args.head_dim_v = 64;
    set_strides(args.key, 7 * 256, 256, 128, 1), set_strides(args.value, 7 * 256, 256, 128, 1);
    args.value.data = args.key.data + 128;
  }));
  // Rotation alone writes nothing of the caller's.
  accepted(with(rotate, [&](Args &args) { overlap(args), args.rotary_positions = 0xa00000000; }));
}

BOOST_AUTO_TEST_CASE(queries_have_positions_of_their_own_by_what_the_caller_says) {
  const auto by_row = [](const Set &set) { return accepted(with(append_and_rotate, set)).rotary_by_row; };
  BOOST_TEST(!by_row([](Args &) {}));
  BOOST_TEST(by_row([](Args &args) { args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT; }));
  BOOST_TEST(by_row([](Args &args) { args.attention_chunk = 100; }));
  // Windows that hide no key.
  BOOST_TEST(by_row([](Args &args) { args.flags = FLASHCORE_FLAG_WINDOW_LEFT, args.window_left = 100; }));
  BOOST_TEST(by_row([](Args &args) { args.flags = FLASHCORE_FLAG_WINDOW_RIGHT, args.window_right = 100; }));
}

BOOST_AUTO_TEST_CASE(tables_have_the_rows_of_the_keys_unless_said_otherwise) {
  BOOST_TEST(accepted(with(append_and_rotate)).key.rotary_table_rows == 7);
  BOOST_TEST(accepted(with(append_and_rotate, [](Args &args) { args.rotary_table_rows = 3; })).key.rotary_table_rows ==
             3);
}

BOOST_AUTO_TEST_CASE(positions_are_held_to_the_tables) {
  using kernels::table_row_of;
  for (const int32_t behind : {0, 1, INT32_MAX}) {
    BOOST_TEST(table_row_of(INT64_MIN, behind, 9) == 0);
    BOOST_TEST(table_row_of(INT64_MAX, behind, 9) == 8);
    BOOST_TEST(table_row_of(-int64_t{behind}, behind, 9) == 0);
    BOOST_TEST(table_row_of(5 - int64_t{behind}, behind, 9) == 5);
    BOOST_TEST(table_row_of(9 - int64_t{behind}, behind, 9) == 8);
  }
  BOOST_TEST(table_row_of(INT64_MAX, INT32_MAX, INT32_MAX) == INT32_MAX - 1);
}

BOOST_AUTO_TEST_SUITE_END()
