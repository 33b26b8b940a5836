// SPDX-License-Identifier: Apache-2.0
#include "problem/validate_append.hpp"

#include <iterator>
#include <limits>
#include <string>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;
using kernels::ProblemKey;

constexpr int64_t most_table_rows = std::numeric_limits<int32_t>::max();  // kernels count positions in 32 bits

Error unused(const std::string &field, const std::string &value, const char *without) {
  return invalid_field(field, value, std::string("0 without ") + without + ", which is 0");
}

// Without rows all that a tensor says would be ignored, and a forgotten seqlen_new not be seen.
Status check_unused(const char *name, const flashcore_tensor &tensor) {
  const std::string field = name;
  if (tensor.data != 0) return unused(field + ".data", hex_text(tensor.data), "seqlen_new");
  if (tensor.dtype != FLASHCORE_DTYPE_DEFAULT) return unused(field + ".dtype", dtype_text(tensor.dtype), "seqlen_new");
  for (size_t i = 0; i < std::size(tensor.stride); ++i)
    if (tensor.stride[i] != 0)
      return unused(field + ".stride[" + std::to_string(i) + "]", std::to_string(tensor.stride[i]), "seqlen_new");
  return success();
}

bool is_used(const flashcore_tensor &tensor) {
  return tensor.data != 0 || tensor.dtype != FLASHCORE_DTYPE_DEFAULT ||
         (tensor.stride[0] | tensor.stride[1] | tensor.stride[2] | tensor.stride[3]) != 0;
}

Status check_new_rows(const Args &args, AddressRule rule, ProblemKey &key) {
  if (args.seqlen_new < 0 || args.seqlen_new > key.seqlen_kv)
    return invalid_field("seqlen_new", std::to_string(args.seqlen_new),
                         "0 to seqlen_kv, " + std::to_string(key.seqlen_kv));
  if (args.seqlen_new == 0) {
    if (is_used(args.new_key)) return check_unused("new_key", args.new_key);
    if (is_used(args.new_value)) return check_unused("new_value", args.new_value);
    return success();
  }
  if (key.seqlen_q == 0)
    return invalid_field("seqlen_new", std::to_string(args.seqlen_new), "0 without queries: seqlen_q is 0");
  const bool required = rule == AddressRule::required && key.batch > 0;
  if (required && args.new_key.data == 0)
    return invalid_field("new_key.data", "0", "the address of seqlen_new rows of keys, or seqlen_new 0");
  if (required && args.new_value.data == 0)
    return invalid_field("new_value.data", "0", "the address of seqlen_new rows of values, or seqlen_new 0");
  key.seqlen_new = args.seqlen_new;
  return success();
}

Status check_no_rotary(const Args &args) {
  if (args.rotary_cos != 0) return unused("rotary_cos", hex_text(args.rotary_cos), "rotary_dim");
  if (args.rotary_sin != 0) return unused("rotary_sin", hex_text(args.rotary_sin), "rotary_dim");
  if (args.rotary_positions != 0) return unused("rotary_positions", hex_text(args.rotary_positions), "rotary_dim");
  if (args.rotary_table_rows != 0)
    return unused("rotary_table_rows", std::to_string(args.rotary_table_rows), "rotary_dim");
  if ((args.flags & FLASHCORE_FLAG_ROTARY_INTERLEAVED) != 0)
    return invalid_field("flags", hex_text(args.flags),
                         "no FLASHCORE_FLAG_ROTARY_INTERLEAVED without rotary_dim, which is 0");
  return success();
}

Status check_rotary(const Args &args, AddressRule rule, AttentionProblem &problem) {
  ProblemKey &key = problem.key;
  if (args.rotary_dim == 0) return check_no_rotary(args);
  if (args.rotary_dim < 0 || args.rotary_dim > key.head_dim || args.rotary_dim % 2 != 0)
    return invalid_field("rotary_dim", std::to_string(args.rotary_dim),
                         "0, or an even number up to head_dim, " + std::to_string(key.head_dim));
  if (args.rotary_table_rows < 0 || args.rotary_table_rows > most_table_rows)
    return invalid_field("rotary_table_rows", std::to_string(args.rotary_table_rows),
                         "0 to " + std::to_string(most_table_rows));
  const int64_t table_rows = args.rotary_table_rows != 0 ? args.rotary_table_rows : key.seqlen_kv;
  if (table_rows == 0) return invalid_field("rotary_table_rows", "0", "1 or more where seqlen_kv is 0");
  if (key.seqlen_new == 0 && args.rotary_positions == 0)
    return invalid_field("rotary_positions", "0",
                         "the address of positions, as there are no new keys to say them: seqlen_new is 0");
  const bool required = rule == AddressRule::required && key.batch > 0;
  if (required && args.rotary_cos == 0)
    return invalid_field("rotary_cos", "0", "the address of a table of cosines, or rotary_dim 0");
  if (required && args.rotary_sin == 0)
    return invalid_field("rotary_sin", "0", "the address of a table of sines, or rotary_dim 0");
  key.rotary_dim = args.rotary_dim;
  key.rotary_table_rows = static_cast<int32_t>(table_rows);
  problem.rotary_interleaved = (args.flags & FLASHCORE_FLAG_ROTARY_INTERLEAVED) != 0;
  // What the caller says, and not what hides a key: a window that hides none gives queries positions of their own.
  problem.rotary_by_row = args.causal != FLASHCORE_CAUSAL_NONE || args.attention_chunk != 0 ||
                          (args.flags & (FLASHCORE_FLAG_WINDOW_LEFT | FLASHCORE_FLAG_WINDOW_RIGHT)) != 0;
  return success();
}

}  // namespace

Status check_append(const Args &args, AddressRule rule, AttentionProblem &problem) {
  FLASHCORE_TRY(check_new_rows(args, rule, problem.key));
  return check_rotary(args, rule, problem);
}

}  // namespace flashcore
