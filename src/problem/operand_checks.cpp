// SPDX-License-Identifier: Apache-2.0
#include "problem/operand_checks.hpp"

#include <string>

#include "problem/field_error.hpp"

namespace flashcore {

static_assert(int{kernels::dtype_float16} == int{FLASHCORE_DTYPE_FLOAT16});
static_assert(int{kernels::dtype_bfloat16} == int{FLASHCORE_DTYPE_BFLOAT16});
static_assert(int{kernels::dtype_float32} == int{FLASHCORE_DTYPE_FLOAT32});
static_assert(int{kernels::dtype_float8_e4m3} == int{FLASHCORE_DTYPE_FLOAT8_E4M3});
static_assert(int{kernels::dtype_float8_e5m2} == int{FLASHCORE_DTYPE_FLOAT8_E5M2});
static_assert(int{kernels::dtype_int32} == int{FLASHCORE_DTYPE_INT32});
static_assert(int{kernels::dtype_int64} == int{FLASHCORE_DTYPE_INT64});
static_assert(like_query == int{FLASHCORE_DTYPE_DEFAULT});

Error dtype_error(const OperandRule &rule, int32_t dtype, std::string_view allowed) {
  const bool known = kernels::element_bytes(dtype) != 0;
  return field_error(known ? FLASHCORE_UNSUPPORTED : FLASHCORE_INVALID_ARGUMENT, std::string(rule.name) + ".dtype",
                     dtype_text(dtype), allowed);
}

Error wrong_dtype_error(const OperandRule &rule, int32_t dtype, int32_t query_dtype) {
  if (rule.element == like_query) return dtype_error(rule, dtype, "0 or the query's, " + dtype_text(query_dtype));
  if (rule.element == like_output)
    return dtype_error(rule, dtype,
                       "0 or the query's, " + dtype_text(query_dtype) + ", or " + dtype_text(FLASHCORE_DTYPE_FLOAT32));
  if (rule.element == any_float)
    return dtype_error(rule, dtype,
                       "0 for the query's, " + dtype_text(FLASHCORE_DTYPE_FLOAT16) + ", " +
                           dtype_text(FLASHCORE_DTYPE_BFLOAT16) + " or " + dtype_text(FLASHCORE_DTYPE_FLOAT32));
  if (rule.element == boolean) return dtype_error(rule, dtype, "0, it holds boolean bytes");
  return dtype_error(rule, dtype, "0 or " + dtype_text(rule.element));
}

Error overlap_error(const char *field, const AddressRange &range, const ProblemOperand &other) {
  return invalid_field(field, hex_text(range.begin),
                       std::string("memory apart from ") + other.rule->name + ", which lies at " +
                           hex_text(other.range.begin) + " to " + hex_text(other.range.end));
}

Status check_apart_from_operands(const char *field, const AddressRange &range,
                                 std::span<const ProblemOperand> operands) {
  for (const ProblemOperand &other : operands) {
    if (!ranges_meet(range, other.range) || !share_memory(plain_bytes(range), strided_bytes(other))) continue;
    return overlap_error(field, range, other);
  }
  return success();
}

}  // namespace flashcore
