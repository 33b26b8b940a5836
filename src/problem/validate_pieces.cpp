// SPDX-License-Identifier: Apache-2.0
#include "problem/validate_pieces.hpp"

#include <string>

#include "contract/pieces.h"
#include "problem/field_error.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

Error split_tokens_error(const Args &args) {
  const int64_t least = (args.seqlen_kv + kernels::most_pieces - 1) / kernels::most_pieces;
  return invalid_field("split_tokens", std::to_string(args.split_tokens),
                       "0, or " + std::to_string(least > 1 ? least : 1) + " or more, for up to " +
                           std::to_string(kernels::most_pieces) + " pieces of seqlen_kv");
}

}  // namespace

Status check_pieces(const Args &args, kernels::ProblemKey &key) {
  if (args.split_count < 0 || args.split_count > kernels::most_pieces)
    return invalid_field("split_count", std::to_string(args.split_count),
                         "0 to " + std::to_string(kernels::most_pieces));
  if (args.split_tokens < 0 ||
      (args.split_tokens != 0 && (args.seqlen_kv - 1) / args.split_tokens >= kernels::most_pieces))
    return split_tokens_error(args);
  if (args.split_count != 0 && args.split_tokens != 0)
    return invalid_field("split_count", std::to_string(args.split_count),
                         "0 with split_tokens, which says how long a piece is");
  const bool invariant = (args.flags & FLASHCORE_FLAG_BATCH_INVARIANT) != 0;
  if (args.split_count > 1 && invariant)
    return invalid_field("split_count", std::to_string(args.split_count),
                         "0 or 1 with FLASHCORE_FLAG_BATCH_INVARIANT: pieces are of a length, split_tokens");
  if (args.multiprocessor_limit < 0)
    return invalid_field("multiprocessor_limit", std::to_string(args.multiprocessor_limit), "0 for all, or 1 or more");
  if (args.multiprocessor_limit != 0 && (args.seqlen_new != 0 || args.rotary_dim != 0))
    return unsupported_field("multiprocessor_limit", std::to_string(args.multiprocessor_limit),
                             std::string("0 with ") + (args.seqlen_new != 0 ? "seqlen_new" : "rotary_dim") +
                                 ", whose launch ahead of attention takes all");
  key.multiprocessor_limit = args.multiprocessor_limit;
  key.split_count = args.split_count;
  key.split_tokens = args.split_tokens;
  key.batch_invariant = invariant || args.split_tokens != 0 ? 1 : 0;
  return success();
}

}  // namespace flashcore
