// SPDX-License-Identifier: Apache-2.0
//
// Every rule of flashcore_attention_args but those that all operands have in common (operand_checks.hpp), those of ragged batches and
// pages (validate_rows.cpp), of new rows and rotary embedding (validate_append.cpp) and the fields that this build refuses (not_built_fields.inc). Refused fields are looked at before sizes, types
// and tensors: what they say about strides and sizes must not be judged by the rules of a build that does not have them. Whether a
// kernel exists for a valid problem, and whether the kernel asked for by name exists, is the selector's business, one floor above.
//
// This runs in every call, so success allocates nothing; errors are put together only once something is wrong.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <string>

#include "base/struct_size.hpp"
#include "problem/attention_problem.hpp"
#include "problem/field_error.hpp"
#include "problem/not_built_fields.hpp"
#include "problem/operand_checks.hpp"
#include "problem/validate_append.hpp"
#include "problem/validate_pieces.hpp"
#include "problem/validate_rows.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

static_assert(int{kernels::causal_none} == int{FLASHCORE_CAUSAL_NONE});
static_assert(int{kernels::causal_top_left} == int{FLASHCORE_CAUSAL_TOP_LEFT});
static_assert(int{kernels::causal_bottom_right} == int{FLASHCORE_CAUSAL_BOTTOM_RIGHT});

constexpr uint32_t version1_size = 912;  // for ever; smaller structs were never published
static_assert(sizeof(Args) >= version1_size);

constexpr int64_t largest_size = std::numeric_limits<int32_t>::max();  // kernels count rows and sequences in 32 bits
constexpr int32_t largest_head_dim = 65536;
constexpr uint64_t workspace_alignment = 16;

struct SizeRule {
  const char *field;
  int64_t least, most;
};

constexpr SizeRule size_rules[] = {{"batch", 0, largest_size},         {"seqlen_q", 0, largest_size},
                                   {"seqlen_kv", 0, largest_size},     {"heads_q", 1, largest_size},
                                   {"heads_kv", 0, largest_size},      {"head_dim", 1, largest_head_dim},
                                   {"head_dim_v", 0, largest_head_dim}};

Error size_error(const SizeRule &rule, int64_t size) {
  return invalid_field(rule.field, std::to_string(size),
                       std::to_string(rule.least) + " to " + std::to_string(rule.most));
}

Status check_sizes(const Args &args, kernels::ProblemKey &key) {
  const int64_t sizes[] = {args.batch,    args.seqlen_q, args.seqlen_kv, args.heads_q,
                           args.heads_kv, args.head_dim, args.head_dim_v};
  static_assert(std::size(sizes) == std::size(size_rules));
  for (size_t i = 0; i < std::size(sizes); ++i) {
    if (sizes[i] < size_rules[i].least || sizes[i] > size_rules[i].most) return size_error(size_rules[i], sizes[i]);
  }
  key.batch = args.batch;
  key.seqlen_q = args.seqlen_q;
  key.seqlen_kv = args.seqlen_kv;
  key.heads_q = args.heads_q;
  key.heads_kv = args.heads_kv == 0 ? args.heads_q : args.heads_kv;
  key.head_dim = args.head_dim;
  key.head_dim_v = args.head_dim_v == 0 ? args.head_dim : args.head_dim_v;
  if (key.heads_kv != key.heads_q && key.heads_q % key.heads_kv != 0) {
    return invalid_field("heads_kv", std::to_string(key.heads_kv),
                         "a divisor of heads_q, " + std::to_string(key.heads_q));
  }
  return success();
}

Status check_types(const Args &args, AttentionProblem &problem) {
  kernels::ProblemKey &key = problem.key;
  key.dtype = args.query.dtype;
  if (key.dtype != FLASHCORE_DTYPE_FLOAT16 && key.dtype != FLASHCORE_DTYPE_BFLOAT16) {
    return dtype_error(fwd::operands[fwd::query], key.dtype,
                       "FLASHCORE_DTYPE_FLOAT16 (1) or FLASHCORE_DTYPE_BFLOAT16 (2)");
  }
  if (args.output.dtype == FLASHCORE_DTYPE_FLOAT32) key.output_dtype = kernels::dtype_float32;
  problem.bias_dtype = dtype_of(fwd::operands[fwd::bias], key, args.bias.dtype);
  return check_dtypes<fwd::operands>(&args, key.dtype);
}

// A field that a bit of flags switches on would be ignored without it.
Status check_flags_of_values(const Args &args) {
  const auto ignored = [&](bool given, uint32_t flag) { return given && (args.flags & flag) == 0; };
  if (ignored(std::bit_cast<uint32_t>(args.softmax_scale) != 0, FLASHCORE_FLAG_SOFTMAX_SCALE))
    return value_without_flag("softmax_scale", float_text(args.softmax_scale), "FLASHCORE_FLAG_SOFTMAX_SCALE");
  if (ignored(args.window_left != 0, FLASHCORE_FLAG_WINDOW_LEFT))
    return value_without_flag("window_left", std::to_string(args.window_left), "FLASHCORE_FLAG_WINDOW_LEFT");
  if (ignored(args.window_right != 0, FLASHCORE_FLAG_WINDOW_RIGHT))
    return value_without_flag("window_right", std::to_string(args.window_right), "FLASHCORE_FLAG_WINDOW_RIGHT");
  if (ignored(args.query_position != 0, FLASHCORE_FLAG_POSITIONS))
    return value_without_flag("query_position", std::to_string(args.query_position), "FLASHCORE_FLAG_POSITIONS");
  if (ignored(args.key_position != 0, FLASHCORE_FLAG_POSITIONS))
    return value_without_flag("key_position", std::to_string(args.key_position), "FLASHCORE_FLAG_POSITIONS");
  return success();
}

Status check_softmax_scale(const Args &args, AttentionProblem &problem) {
  if ((args.flags & FLASHCORE_FLAG_SOFTMAX_SCALE) == 0) {
    problem.softmax_scale = 1.0f / std::sqrt(static_cast<float>(args.head_dim));
    return success();
  }
  if (!std::isfinite(args.softmax_scale)) {
    return invalid_field("softmax_scale", float_text(args.softmax_scale), "a finite number");
  }
  problem.softmax_scale = args.softmax_scale;
  return success();
}

Status check_softcap(const Args &args, AttentionProblem &problem) {
  if (std::bit_cast<uint32_t>(args.softcap) == 0) return success();
  if (!(args.softcap >= std::numeric_limits<float>::min()) || !std::isfinite(args.softcap)) {
    return invalid_field("softcap", float_text(args.softcap), "0 for none, or a normal number above 0");
  }
  problem.softcap = args.softcap;
  problem.key.scores |= kernels::scores_softcap;
  return success();
}

Status check_alibi(const Args &args) {
  if (args.alibi_batch_stride == 0 || args.alibi_slopes != 0) return success();
  return invalid_field("alibi_batch_stride", std::to_string(args.alibi_batch_stride),
                       "0 without alibi_slopes, which are 0");
}

// Strides of a tensor that is absent would be ignored.
Status check_absent(const char *field, const flashcore_tensor &tensor) {
  for (size_t i = 0; i < std::size(tensor.stride); ++i) {
    if (tensor.data == 0 && tensor.stride[i] != 0) {
      return invalid_field(std::string(field) + ".stride[" + std::to_string(i) + "]", std::to_string(tensor.stride[i]),
                           std::string("0 without ") + field + ".data, which is 0");
    }
  }
  return success();
}
// And so would a type be.
Status check_bias(const Args &args) {
  FLASHCORE_TRY(check_absent("bias", args.bias));
  if (args.bias.data != 0 || args.bias.dtype == FLASHCORE_DTYPE_DEFAULT) return success();
  return invalid_field("bias.dtype", dtype_text(args.bias.dtype), "0 without bias.data, which is 0");
}

// Every position is below 2^31, so that kernels may count them in 32 bits.
Status check_positions(const Args &args, kernels::ProblemKey &key) {
  if ((args.flags & FLASHCORE_FLAG_POSITIONS) == 0) return success();
  const auto check = [](const char *field, int64_t position, const char *size, int64_t count) {
    const int64_t most = largest_size - count + 1;
    if (position >= 0 && position <= most) return success();
    return Status(invalid_field(field, std::to_string(position),
                                "0 to " + std::to_string(most) + ", 2^31 less " + size + ", " + std::to_string(count)));
  };
  FLASHCORE_TRY(check("query_position", args.query_position, "seqlen_q", key.seqlen_q));
  FLASHCORE_TRY(check("key_position", args.key_position, "seqlen_kv", key.seqlen_kv));
  if (key.rows != kernels::rows_dense) {
    const char *array = key.rows == kernels::rows_paged ? "page_table" : kernels::ragged_field(key.ragged_by);
    return unsupported_field("flags", hex_text(args.flags),
                             std::string("no FLASHCORE_FLAG_POSITIONS with ") + array +
                                 ": query_position and key_position are one sequence's");
  }
  if (args.seqlen_new != 0 || args.rotary_dim != 0) {
    return unsupported_field("flags", hex_text(args.flags),
                             std::string("no FLASHCORE_FLAG_POSITIONS with ") +
                                 (args.seqlen_new != 0 ? "seqlen_new" : "rotary_dim") +
                                 ", which has its own positions");
  }
  if (args.causal == FLASHCORE_CAUSAL_TOP_LEFT) {
    return invalid_field(
        "causal", std::to_string(args.causal),
        "FLASHCORE_CAUSAL_NONE (0) or FLASHCORE_CAUSAL_BOTTOM_RIGHT (2) with FLASHCORE_FLAG_POSITIONS: "
        "a query sees keys up to its own position");
  }
  key.has_positions = 1;
  key.query_offset = static_cast<int32_t>(args.query_position - args.key_position);
  key.key_position = static_cast<int32_t>(args.key_position);
  return success();
}

// Ends that hide no key are open, so that calls take the same plan and modules without windows wherever they can.
Status check_window(const Args &args, kernels::ProblemKey &key) {
  const auto negative = [](const char *field, int64_t value, const char *flag) {
    return invalid_field(field, std::to_string(value),
                         std::string("0 or more; without ") + flag + " that side is open");
  };
  if (args.window_left < 0) return negative("window_left", args.window_left, "FLASHCORE_FLAG_WINDOW_LEFT");
  if (args.window_right < 0) return negative("window_right", args.window_right, "FLASHCORE_FLAG_WINDOW_RIGHT");
  if (args.attention_chunk < 0) {
    return invalid_field("attention_chunk", std::to_string(args.attention_chunk), "0 or more");
  }
  // Positions of the first and of the last query, counted from key 0. Of a ragged batch these are other
  // sequences' lengths, and which module a row has may not depend on them where its bits may not.
  const int64_t first = key.has_positions != 0 ? key.query_offset : key.seqlen_kv - key.seqlen_q,
                last = first + key.seqlen_q - 1;
  const bool any_length = key.batch_invariant != 0 && key.rows != kernels::rows_dense;
  if ((args.flags & FLASHCORE_FLAG_WINDOW_LEFT) != 0 && (any_length || args.window_left < last))
    key.window_left = args.window_left;
  if ((args.flags & FLASHCORE_FLAG_WINDOW_RIGHT) != 0 &&
      (any_length || args.window_right < key.seqlen_kv - 1 - first) && key.causal != kernels::causal_bottom_right)
    key.window_right = args.window_right;
  // Queries of a ragged batch may lie before all keys, which are another chunk's.
  const bool one_chunk =
      key.rows == kernels::rows_dense && first >= 0 && key.has_positions == 0 && args.attention_chunk >= key.seqlen_kv;
  if (!one_chunk) key.attention_chunk = static_cast<int32_t>(std::min(args.attention_chunk, largest_size));
  return success();
}

Status check_score_options(const Args &args, AttentionProblem &problem) {
  FLASHCORE_TRY(check_softmax_scale(args, problem));
  FLASHCORE_TRY(check_softcap(args, problem));
  if (args.causal < FLASHCORE_CAUSAL_NONE || args.causal > FLASHCORE_CAUSAL_BOTTOM_RIGHT) {
    return invalid_field(
        "causal", std::to_string(args.causal),
        "FLASHCORE_CAUSAL_NONE (0), FLASHCORE_CAUSAL_TOP_LEFT (1) or FLASHCORE_CAUSAL_BOTTOM_RIGHT (2)");
  }
  if (args.lse_base != FLASHCORE_LSE_NATURAL && args.lse_base != FLASHCORE_LSE_BASE2) {
    return invalid_field("lse_base", std::to_string(args.lse_base),
                         "FLASHCORE_LSE_NATURAL (0) or FLASHCORE_LSE_BASE2 (1)");
  }
  problem.key.causal = args.causal;
  FLASHCORE_TRY(check_positions(args, problem.key));
  // Keys of a shard that all queries are behind: a mask hides none of them.
  if (problem.key.has_positions != 0 && problem.key.query_offset >= problem.key.seqlen_kv - 1)
    problem.key.causal = kernels::causal_none;
  FLASHCORE_TRY(check_window(args, problem.key));
  FLASHCORE_TRY(check_alibi(args));
  FLASHCORE_TRY(check_absent("sinks", args.sinks));
  FLASHCORE_TRY(check_bias(args));
  FLASHCORE_TRY(check_absent("mask", args.mask));
  problem.lse_base2 = args.lse_base == FLASHCORE_LSE_BASE2;
  return success();
}

Status check_kernel_name(const Args &args, AttentionProblem &problem) {
  if (args.kernel[0] == '\0') return success();
  const size_t length = strnlen(args.kernel, sizeof(args.kernel));
  if (length == sizeof(args.kernel)) {
    return invalid_field("kernel", "a text without an end",
                         "the name of a kernel or a module of up to " + std::to_string(FLASHCORE_NAME_BYTES - 1) +
                             " bytes, zero-terminated");
  }
  problem.kernel = {args.kernel, length};
  return success();
}

Status check_workspace(const Args &args, AddressRule address_rule, AttentionProblem &problem) {
  if ((args.workspace | static_cast<uint64_t>(args.workspace_bytes)) == 0) return success();
  if (args.workspace_bytes < 0) {
    return invalid_field("workspace_bytes", std::to_string(args.workspace_bytes), "0 or more");
  }
  if (args.workspace != 0 && args.workspace_bytes == 0) {
    return invalid_field("workspace_bytes", "0", "the size of the workspace that was given");
  }
  if (args.workspace == 0 && address_rule == AddressRule::required) {
    return invalid_field("workspace", "0",
                         "an address with " + std::to_string(args.workspace_bytes) +
                             " bytes, or workspace_bytes 0 for the context's own");
  }
  if (args.workspace % workspace_alignment != 0) {
    return invalid_field("workspace", hex_text(args.workspace), "a multiple of 16");
  }
  if (static_cast<uint64_t>(args.workspace_bytes) > std::numeric_limits<uint64_t>::max() - args.workspace) {
    return invalid_field("workspace_bytes", std::to_string(args.workspace_bytes),
                         "bytes that end inside the address space");
  }
  problem.workspace = args.workspace;
  problem.workspace_bytes = args.workspace_bytes;
  return success();
}

Status check_workspace_apart(const AttentionProblem &problem, std::span<const ProblemOperand> operands) {
  if (problem.workspace == 0) return success();
  const AddressRange range{problem.workspace, problem.workspace + static_cast<uint64_t>(problem.workspace_bytes)};
  return check_apart_from_operands("workspace", range, operands);
}

Status check_tensors(const Args &args, AddressRule rule, AttentionProblem &problem) {
  auto operands = sized_operands<fwd::operands>(problem.key, problem.bias_dtype);
  FLASHCORE_TRY(check_layouts<fwd::operands>(&args, rule, operands));
  FLASHCORE_TRY(check_outputs_apart<fwd::operands>(operands));
  FLASHCORE_TRY(check_workspace_apart(problem, operands));
  for (size_t i = 0; i < operands.size(); ++i) problem.tensors[i] = operands[i].tensor;
  if (problem.alibi_slopes().data != 0) problem.key.scores |= kernels::scores_alibi;
  if (problem.sinks().data != 0) problem.key.scores |= kernels::scores_sinks;
  if (problem.bias().data != 0) problem.key.scores |= kernels::scores_bias;
  if (problem.mask().data != 0) problem.key.scores |= kernels::scores_mask;
  problem.key.alignment_bytes = common_alignment<fwd::operands>(operands);
  return success();
}

Status check_variant(const Args &args, AddressRule rule, const Variants *variants, AttentionProblem &problem) {
  const auto refused_params = [&](const char *allowed) {
    return invalid_field("variant_params", args.variant_params == 0 ? "0" : hex_text(args.variant_params), allowed);
  };
  if (args.variant == 0) {
    return args.variant_params == 0 ? success() : Status(refused_params("0 without a variant, which is 0"));
  }
  const Variants none;
  const Variants &known = variants != nullptr ? *variants : none;
  problem.variants_destroyed = known.destroyed();
  FLASHCORE_TRY_ASSIGN(problem.variant, known.find(args.variant));
  problem.key.variant = problem.variant->digest;
  problem.key.variant_params_bytes = problem.variant->params_bytes;
  if (problem.variant->params_bytes == 0 && args.variant_params != 0)
    return refused_params("0, the variant was made with params_bytes 0");
  if (problem.variant->params_bytes != 0 && args.variant_params == 0 && rule == AddressRule::required)
    return refused_params("the address of the params_bytes that the variant was made with");
  return success();
}

Status check_args(const Args &args, AddressRule rule, const Variants *variants, AttentionProblem &problem) {
  FLASHCORE_TRY(check_flags_of_values(args));
  if (has_refused_field(args)) return refused_field_error(args);
  problem.key.kernel_index = -1;
  FLASHCORE_TRY(check_sizes(args, problem.key));
  FLASHCORE_TRY(check_rows(args, problem.key));
  FLASHCORE_TRY(check_pieces(args, problem.key));
  FLASHCORE_TRY(check_append(args, rule, problem));
  FLASHCORE_TRY(check_types(args, problem));
  FLASHCORE_TRY(check_score_options(args, problem));
  FLASHCORE_TRY(check_kernel_name(args, problem));
  FLASHCORE_TRY(check_workspace(args, rule, problem));
  FLASHCORE_TRY(check_variant(args, rule, variants, problem));
  return check_tensors(args, rule, problem);
}

}  // namespace

Result<AttentionProblem> validate_attention(const flashcore_attention_args *given, AddressRule rule,
                                            const Variants *variants) {
  if (given == nullptr) return invalid_field("args", "NULL", "a pointer to flashcore_attention_args");
  Args args;
  if (Status status = copy_sized_struct(given, "args", version1_size, args); !status.ok()) return status.error();
  Result<AttentionProblem> result{AttentionProblem{}};
  if (Status status = check_args(args, rule, variants, result.value()); !status.ok())
    result = std::move(status.error());
  else  // `args` ends here, and the caller's own need not be aligned
    result.value().kernel = {reinterpret_cast<const char *>(given) + offsetof(Args, kernel),
                             result.value().kernel.size()};
  return result;
}

}  // namespace flashcore
