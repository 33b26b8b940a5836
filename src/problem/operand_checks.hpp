// SPDX-License-Identifier: Apache-2.0
//
// What every operand of a call is checked for, whatever the operation. `args` is the operation's public struct, from which
// the rows of its table say where to read. This runs in every call that is new to the library, so success allocates nothing and the
// walks are templates over the table; words are put together elsewhere, once something is wrong.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.hpp"
#include "problem/operands.hpp"
#include "problem/shared_memory.hpp"
#include "problem/tensor_layout.hpp"

namespace flashcore {

// INVALID_ARGUMENT for a number that is no type, UNSUPPORTED for a type that is not allowed here.
Error dtype_error(const OperandRule &rule, int32_t dtype, std::string_view allowed);
Error wrong_dtype_error(const OperandRule &rule, int32_t dtype, int32_t query_dtype);
Error overlap_error(const char *field, const AddressRange &range, const ProblemOperand &other);

constexpr bool may_have_dtype(const OperandRule &rule, int32_t dtype, int32_t query_dtype) {
  if (rule.element == any_float)
    return dtype == kernels::dtype_float16 || dtype == kernels::dtype_bfloat16 || dtype == kernels::dtype_float32;
  if (rule.element == like_output) return dtype == query_dtype || dtype == kernels::dtype_float32;
  return rule.element > like_index && dtype == (rule.element == like_query ? query_dtype : rule.element);
}

// Each operand has the type of its row, where it names one. The query's own is the operation's business.
template <const auto &table>
Status check_dtypes(const void *args, int32_t query_dtype) {
  size_t wrong = 0;
  const bool right = all_operands<table.size()>([&](auto i) {
    wrong = i;
    const int32_t dtype = given_tensor(table[i], args).dtype;
    return dtype == FLASHCORE_DTYPE_DEFAULT || may_have_dtype(table[i], dtype, query_dtype);
  });
  if (right) return success();
  return wrong_dtype_error(table[wrong], given_tensor(table[wrong], args).dtype, query_dtype);
}

// Strides and addresses, one operand after the other (tensor_layout.hpp).
template <const auto &table>
Status check_layouts(const void *args, AddressRule rule, std::array<ProblemOperand, table.size()> &operands) {
  size_t wrong = 0;
  TensorFault fault = TensorFault::none;
  const bool right = all_operands<table.size()>([&](auto i) {
    wrong = i;
    if constexpr (table[i].states != nullptr) operands[i].states = table[i].states(args);
    fault = find_fault(given_tensor(table[i], args), rule, operands[i]);
    return fault == TensorFault::none;
  });
  if (right) return success();
  return fault_error(fault, operands[wrong], given_tensor(table[wrong], args));
}

inline bool meet(const ProblemOperand &a, const ProblemOperand &b) {
  return ranges_meet(a.range, b.range) && share_memory(strided_bytes(a), strided_bytes(b));
}

// Outputs share no memory with inputs and with each other.
template <const auto &table>
Status check_outputs_apart(const std::array<ProblemOperand, table.size()> &operands) {
  size_t output = 0, other = 0;
  const bool apart = all_operands<table.size()>([&](auto i) {
    output = i;
    return !may_be_output(table[i].role) || !operands[i].written || all_operands<table.size()>([&](auto j) {
      other = j;
      // Of two outputs the later one is told to keep away.
      return i == j || (may_be_output(table[j].role) && operands[j].written && j > i) ||
             !meet(operands[i], operands[j]);
    });
  });
  if (apart) return success();
  return overlap_error(table[output].address, operands[output].range, operands[other]);
}

// The same for memory that is no operand: `field` is what errors call it.
Status check_apart_from_operands(const char *field, const AddressRange &range,
                                 std::span<const ProblemOperand> operands);

// ProblemKey::alignment_bytes: 16 where every row of the operands that count for it begins at a multiple of 16 bytes, else 2. Kernels
// exist for these two, so nothing between is told apart.
template <const auto &table>
int32_t common_alignment(const std::array<ProblemOperand, table.size()> &operands) {
  uint64_t bits = 0;
  all_operands<table.size()>([&](auto i) {
    if constexpr (!table[i].rows_aligned) return true;
    const ProblemTensor &tensor = operands[i].tensor;
    const auto elements = static_cast<uint64_t>(operands[i].shape.columns | tensor.stride_batch | tensor.stride_row |
                                                tensor.stride_head | operands[i].states.stride);
    bits |= elements * static_cast<uint64_t>(operands[i].element_bytes) | tensor.data;
    return true;
  });
  return (bits & 15) == 0 ? 16 : 2;
}

}  // namespace flashcore
