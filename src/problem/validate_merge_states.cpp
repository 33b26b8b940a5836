// SPDX-License-Identifier: Apache-2.0
//
// Every rule of flashcore_merge_states_args but those that all operands have in common (operand_checks.hpp). This runs in every call, so
// success allocates nothing; errors are put together only once something is wrong.
#include <limits>
#include <string>

#include "base/struct_size.hpp"
#include "problem/field_error.hpp"
#include "problem/merge_states_problem.hpp"
#include "problem/operand_checks.hpp"

namespace flashcore {
namespace {

using Args = flashcore_merge_states_args;
using Operands = std::array<ProblemOperand, merge::operand_count>;

constexpr uint32_t version1_size = 248;  // for ever; smaller structs were never published
static_assert(sizeof(Args) >= version1_size);

constexpr int64_t largest_size = std::numeric_limits<int32_t>::max();
constexpr int64_t largest_head_dim = 65536;

Status check_size(const char *field, int64_t size, int64_t least, int64_t most) {
  if (size >= least && size <= most) return success();
  return invalid_field(field, std::to_string(size), std::to_string(least) + " to " + std::to_string(most));
}

Status check_sizes(const Args &args, kernels::ProblemKey &sizes) {
  FLASHCORE_TRY(check_size("state_count", args.state_count, 1, FLASHCORE_MOST_STATES));
  FLASHCORE_TRY(check_size("batch", args.batch, 0, largest_size));
  FLASHCORE_TRY(check_size("seqlen_q", args.seqlen_q, 0, largest_size));
  FLASHCORE_TRY(check_size("heads_q", args.heads_q, 1, largest_size));
  FLASHCORE_TRY(check_size("head_dim_v", args.head_dim_v, 1, largest_head_dim));
  sizes.batch = args.batch;
  sizes.seqlen_q = args.seqlen_q;
  sizes.heads_q = args.heads_q;
  sizes.head_dim_v = args.head_dim_v;
  return success();
}

Status check_reserved(const Args &args) {
  struct Reserved {
    const char *field;
    int32_t value;
  };
  const Reserved fields[] = {{"output_states.reserved", args.output_states.reserved},
                             {"lse_states.reserved", args.lse_states.reserved},
                             {"output.reserved", args.output.reserved},
                             {"lse.reserved", args.lse.reserved},
                             {"reserved", args.reserved}};
  for (const Reserved &reserved : fields) {
    if (reserved.value != 0)
      return unsupported_field(reserved.field, std::to_string(reserved.value), "0 in this version of the interface");
  }
  return success();
}

bool is_merged_type(int32_t dtype) {
  return dtype == FLASHCORE_DTYPE_FLOAT16 || dtype == FLASHCORE_DTYPE_BFLOAT16 || dtype == FLASHCORE_DTYPE_FLOAT32;
}

Status check_types(const Args &args, MergeStatesProblem &problem) {
  static const char *const types =
      "FLASHCORE_DTYPE_FLOAT16 (1), FLASHCORE_DTYPE_BFLOAT16 (2) or FLASHCORE_DTYPE_FLOAT32 (3)";
  problem.sizes.dtype = args.output_states.dtype;
  problem.output_dtype = args.output.dtype == FLASHCORE_DTYPE_DEFAULT ? args.output_states.dtype : args.output.dtype;
  if (!is_merged_type(problem.sizes.dtype))
    return dtype_error(merge::operands[merge::output_states], problem.sizes.dtype, types);
  if (!is_merged_type(problem.output_dtype))
    return dtype_error(merge::operands[merge::output], problem.output_dtype,
                       std::string("0 for that of output_states, ") + types);
  for (const merge::Operand lse : {merge::lse_states, merge::lse}) {
    const int32_t dtype = given_tensor(merge::operands[lse], &args).dtype;
    if (dtype != FLASHCORE_DTYPE_DEFAULT && dtype != FLASHCORE_DTYPE_FLOAT32)
      return wrong_dtype_error(merge::operands[lse], dtype, problem.sizes.dtype);
  }
  return success();
}

// Strides of an lse that is absent would be ignored; where addresses may be left out, nobody knows whether it is.
Status check_absent_lse(const Args &args, AddressRule rule) {
  if (rule == AddressRule::optional) return success();
  for (int i = 0; i < 4; ++i) {
    if (args.lse.data == 0 && args.lse.stride[i] != 0)
      return invalid_field("lse.stride[" + std::to_string(i) + "]", std::to_string(args.lse.stride[i]),
                           "0 without lse.data, which is 0");
  }
  return success();
}

bool is_state_0(const ProblemOperand &output, const ProblemOperand &states) {
  const ProblemTensor &a = output.tensor, &b = states.tensor;
  return output.element_bytes == states.element_bytes && a.data != 0 && a.data == b.data &&
         a.stride_batch == b.stride_batch && a.stride_row == b.stride_row && a.stride_head == b.stride_head;
}

// The states behind the first one.
void remove_state_0(ProblemOperand &states) {
  if (--states.states.count == 0) {
    states.range = {};
    return;
  }
  const auto bytes = static_cast<uint64_t>(states.states.stride * states.element_bytes);
  states.tensor.data += bytes;
  states.range.begin += bytes;
}

// Each element of an output that is state 0 is written by who has read it there.
Status check_overlap(const MergeStatesProblem &problem) {
  Operands apart = problem.operands;
  if (problem.output_dtype == problem.sizes.dtype && is_state_0(apart[merge::output], apart[merge::output_states]))
    remove_state_0(apart[merge::output_states]);
  if (is_state_0(apart[merge::lse], apart[merge::lse_states])) remove_state_0(apart[merge::lse_states]);
  Status status = check_outputs_apart<merge::operands>(apart);
  if (status.ok()) return success();
  Error error = std::move(status.error());
  error.message += "; or state 0 itself, by its address, strides and type";
  return error;
}

Status check_args(const Args &args, AddressRule rule, MergeStatesProblem &problem) {
  FLASHCORE_TRY(check_reserved(args));
  FLASHCORE_TRY(check_sizes(args, problem.sizes));
  FLASHCORE_TRY(check_types(args, problem));
  if (args.lse_base != FLASHCORE_LSE_NATURAL && args.lse_base != FLASHCORE_LSE_BASE2)
    return invalid_field("lse_base", std::to_string(args.lse_base),
                         "FLASHCORE_LSE_NATURAL (0) or FLASHCORE_LSE_BASE2 (1)");
  problem.lse_base2 = args.lse_base == FLASHCORE_LSE_BASE2;
  FLASHCORE_TRY(check_absent_lse(args, rule));
  problem.operands = sized_operands<merge::operands>(problem.sizes);
  problem.operands[merge::output].element_bytes = kernels::element_bytes(problem.output_dtype);
  FLASHCORE_TRY(check_layouts<merge::operands>(&args, rule, problem.operands));
  problem.sizes.alignment_bytes = common_alignment<merge::operands>(problem.operands);
  return check_overlap(problem);
}

}  // namespace

Result<MergeStatesProblem> validate_merge_states(const flashcore_merge_states_args *given, AddressRule rule) {
  if (given == nullptr) return invalid_field("args", "NULL", "a pointer to flashcore_merge_states_args");
  Args args;
  if (Status status = copy_sized_struct(given, "args", version1_size, args); !status.ok()) return status.error();
  Result<MergeStatesProblem> result{MergeStatesProblem{}};
  if (Status status = check_args(args, rule, result.value()); !status.ok()) result = std::move(status.error());
  return result;
}

}  // namespace flashcore
