// SPDX-License-Identifier: Apache-2.0
//
// How keys are cut in pieces, batch invariance, limits of multiprocessors, and where a shard of keys is.
#include <boost/test/unit_test.hpp>

#include "contract/pieces.h"
#include "problem_fixture.hpp"

using namespace flashcore;

BOOST_AUTO_TEST_SUITE(validate_pieces_suite)

BOOST_AUTO_TEST_CASE(pieces_reach_the_key) {
  Args args = contiguous_args();
  BOOST_TEST(!kernels::asks_for_pieces(accepted(args).key));
  args.split_count = 1;
  BOOST_TEST(!kernels::asks_for_pieces(accepted(args).key));
  args.split_count = 3;
  const kernels::ProblemKey counted = accepted(args).key;
  BOOST_TEST(kernels::asks_for_pieces(counted));
  BOOST_TEST((counted.split_count == 3 && counted.split_tokens == 0 && counted.batch_invariant == 0));
  args = contiguous_args();
  args.split_tokens = args.seqlen_kv;
  BOOST_TEST(!kernels::asks_for_pieces(accepted(args).key));
  args.split_tokens = args.seqlen_kv - 1;
  const kernels::ProblemKey cut = accepted(args).key;
  BOOST_TEST(kernels::asks_for_pieces(cut));
  BOOST_TEST((cut.split_count == 0 && cut.split_tokens == args.seqlen_kv - 1 && cut.batch_invariant == 1));
  args = contiguous_args();
  args.flags = FLASHCORE_FLAG_BATCH_INVARIANT;
  BOOST_TEST(accepted(args).key.batch_invariant == 1);
}

BOOST_AUTO_TEST_CASE(pieces_that_cannot_be) {
  Args args = contiguous_args();
  for (int32_t count : {-1, 65536}) {
    args.split_count = count;
    check_invalid(args, "split_count", {std::to_string(count).c_str(), "0 to 65535"});
  }
  args = contiguous_args();
  args.split_tokens = -1;
  check_invalid(args, "split_tokens", {"-1", "or more, for up to 65535 pieces"});
  args.seqlen_kv = 1000000;
  args.split_tokens = 15;
  check_invalid(args, "split_tokens", {"15", "0, or 16 or more"});
  args = contiguous_args();
  args.split_tokens = 64, args.split_count = 2;
  check_invalid(args, "split_count", {"2", "0 with split_tokens"});
  args = contiguous_args();
  args.flags = FLASHCORE_FLAG_BATCH_INVARIANT, args.split_count = 2;
  check_invalid(args, "split_count", {"2", "FLASHCORE_FLAG_BATCH_INVARIANT", "split_tokens"});
  args.split_count = 1;
  accepted(args);
}

BOOST_AUTO_TEST_CASE(limits_of_multiprocessors) {
  Args args = contiguous_args();
  args.multiprocessor_limit = 5;
  const kernels::ProblemKey key = accepted(args).key;
  BOOST_TEST(key.multiprocessor_limit == 5);
  BOOST_TEST(!key.plain());
  args.multiprocessor_limit = -1;
  check_invalid(args, "multiprocessor_limit", {"-1", "0 for all, or 1 or more"});
}

// Which module a sequence has must not depend on how long others are.
BOOST_AUTO_TEST_CASE(windows_of_ragged_batches_stay_where_bits_may_not_depend_on_the_batch) {
  Args args = contiguous_args();
  args.flags = FLASHCORE_FLAG_WINDOW_LEFT, args.window_left = args.seqlen_kv;
  BOOST_TEST(accepted(args).key.window_left == kernels::window_open);
  args.seqused_kv = 0x7f0000;
  BOOST_TEST(accepted(args).key.window_left == kernels::window_open);
  args.flags |= FLASHCORE_FLAG_BATCH_INVARIANT;
  BOOST_TEST(accepted(args).key.window_left == args.seqlen_kv);
  args.seqused_kv = 0;
  BOOST_TEST(accepted(args).key.window_left == kernels::window_open);
}

BOOST_AUTO_TEST_CASE(positions_reach_the_key) {
  Args args = contiguous_args();
  args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT;
  args.flags = FLASHCORE_FLAG_POSITIONS;
  args.query_position = 100, args.key_position = 107;
  const kernels::ProblemKey key = accepted(args).key;
  BOOST_TEST((key.has_positions == 1 && key.query_offset == -7 && key.key_position == 107));
  BOOST_TEST(kernels::visibility_of(key).keys_of(6).end == 0);
  BOOST_TEST(kernels::visibility_of(key).keys_of(9).end == 3);
  // All keys are before the first query: no mask hides one.
  args.query_position = 107 + args.seqlen_kv - 1;
  BOOST_TEST(accepted(args).key.causal == kernels::causal_none);
  args.query_position -= 1;
  BOOST_TEST(accepted(args).key.causal == kernels::causal_bottom_right);
  // A window that the last query sees all keys through.
  args.query_position = 107 + 5, args.flags |= FLASHCORE_FLAG_WINDOW_LEFT;
  args.window_left = 5 + args.seqlen_q - 1;
  BOOST_TEST(accepted(args).key.window_left == kernels::window_open);
  args.window_left -= 1;
  BOOST_TEST(accepted(args).key.window_left == args.window_left);
}

BOOST_AUTO_TEST_CASE(positions_that_cannot_be) {
  Args args = contiguous_args();
  args.query_position = 4;
  check_invalid(args, "query_position", {"4", "FLASHCORE_FLAG_POSITIONS"});
  args = contiguous_args();
  args.key_position = 4;
  check_invalid(args, "key_position", {"4", "FLASHCORE_FLAG_POSITIONS"});
  args = contiguous_args();
  args.flags = FLASHCORE_FLAG_POSITIONS;
  const int64_t most_q = (int64_t{1} << 31) - args.seqlen_q, most_kv = (int64_t{1} << 31) - args.seqlen_kv;
  for (int64_t position : {int64_t{-1}, most_q + 1}) {
    args.query_position = position;
    check_invalid(args, "query_position",
                  {std::to_string(position).c_str(), ("0 to " + std::to_string(most_q)).c_str()});
  }
  args.query_position = most_q;
  accepted(args);
  args.key_position = most_kv + 1;
  check_invalid(args, "key_position", {std::to_string(most_kv).c_str()});
  args.key_position = most_kv;
  accepted(args);
  args.causal = FLASHCORE_CAUSAL_TOP_LEFT;
  check_invalid(args, "causal", {"1", "FLASHCORE_CAUSAL_BOTTOM_RIGHT (2)", "FLASHCORE_FLAG_POSITIONS"});
  args.causal = FLASHCORE_CAUSAL_BOTTOM_RIGHT;
  args.seqused_q = 0x7f0000;
  check_unsupported(args, "flags", {"0x20", "no FLASHCORE_FLAG_POSITIONS with seqused_q"});
}

BOOST_AUTO_TEST_SUITE_END()
