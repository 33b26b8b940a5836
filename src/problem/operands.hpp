// SPDX-License-Identifier: Apache-2.0
//
// The tensors that an operation reads and writes. Each operation has one table of them, a row for each operand
// (attention_fwd_operands.hpp), and whatever looks at every tensor of a call walks the table: types, strides, extents, overlap,
// addresses on either device, and what is remembered of a call. A new operand is a row, and the rules that are its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "contract/problem_key.h"
#include "flashcore/flashcore.h"

namespace flashcore {

struct TensorShape {
  int64_t batch, rows, heads, columns;

  bool has_elements() const { return batch > 0 && rows > 0 && heads > 0 && columns > 0; }
};

// A stride that no index uses (of a dimension of size 1) is 0; a tensor without elements is absent, whatever was given.
struct ProblemTensor {
  uint64_t data = 0;                                          // 0: absent
  int64_t stride_batch = 0, stride_row = 0, stride_head = 0;  // elements
  int64_t stride_column = 1;
};

// First and one-past-last byte; {0, 0}: none.
struct AddressRange {
  uint64_t begin = 0, end = 0;
};

enum class AddressRule {
  required,  // operands that are not optional must be given (as far as they have elements)
  optional   // prepare, explain, workspace: an address of 0 counts as 16-byte aligned
};

enum class OperandRole {
  input,  // batch, row and head strides may be zero or overlap: nothing is written
  optional_input,
  output,  // no two elements may share memory, nor any with another operand
  optional_output,
  cache  // an input, and an output as well in a call that appends to it
};
constexpr bool is_output(OperandRole role) {
  return role == OperandRole::output || role == OperandRole::optional_output;
}
constexpr bool may_be_output(OperandRole role) { return is_output(role) || role == OperandRole::cache; }
constexpr bool is_optional(OperandRole role) {
  return role == OperandRole::optional_input || role == OperandRole::optional_output;
}

enum class OperandOrder {
  rows,        // [batch, row, head, column] when contiguous; stride[3] is 1
  row_values,  // [batch, head, row] when contiguous: one column, whose stride[3] nobody looks at
  scores       // as rows, of a column for each key; stride[3] is as free as the others
};

// In place of a Dtype.
inline constexpr int32_t like_query = 0;   // the type that the problem's key names
inline constexpr int32_t like_index = -1;  // likewise of lengths and places
// The caller's choice of float16, bfloat16 and float32; the query's where nothing is said.
inline constexpr int32_t any_float = -2;
inline constexpr int32_t like_output = -4;  // the query's, or float32 where the problem's key says so
inline constexpr int32_t boolean = -3;      // bytes, for which the public enumeration has no number

// A dimension outside of a flashcore_tensor's four: so many tensors, and the elements from one to the next.
struct OperandStates {
  int64_t count = 1;
  int64_t stride = 0;
};

// A row of an operation's table.
struct OperandRule {
  const char *name;     // as the public header spells it
  const char *address;  // what errors call its address
  size_t offset;        // of the address in the public struct
  OperandRole role;
  OperandOrder order;
  int32_t element;    // the kernels::Dtype that it always has, or like_query, like_index, any_float, boolean
  bool rows_aligned;  // its rows count for ProblemKey::alignment_bytes
  TensorShape (*shape)(const kernels::ProblemKey &);
  // For an operand that the public struct gives as an address alone: the tensor that it means. nullptr: it is a flashcore_tensor,
  // whose first member the address is.
  flashcore_tensor (*given)(const void *args) = nullptr;
  const char *batch_stride = nullptr;  // the field of the one stride that such an operand has
  // For an operand of several states: how many, and how far from each other; 0: as contiguous ones are. nullptr: it is one tensor.
  OperandStates (*states)(const void *args) = nullptr;
  const char *state_stride = nullptr;  // the field of that distance
};

template <size_t count>
using OperandTable = std::array<OperandRule, count>;

// given: what the caller says of an operand of any_float.
constexpr int32_t dtype_of(const OperandRule &rule, const kernels::ProblemKey &key,
                           int32_t given = FLASHCORE_DTYPE_DEFAULT) {
  if (rule.element == like_output) return key.float32_output() ? int32_t{kernels::dtype_float32} : key.dtype;
  if (rule.element == any_float) return given != FLASHCORE_DTYPE_DEFAULT ? given : key.dtype;
  return rule.element == like_query ? key.dtype : rule.element == like_index ? key.index_dtype : rule.element;
}
constexpr int64_t element_bytes_of(const OperandRule &rule, const kernels::ProblemKey &key, int32_t given) {
  return rule.element == boolean ? 1 : kernels::element_bytes(dtype_of(rule, key, given));
}

// What the caller gave.
inline flashcore_tensor given_tensor(const OperandRule &rule, const void *args) {
  if (rule.given != nullptr) return rule.given(args);
  flashcore_tensor tensor;
  std::memcpy(&tensor, static_cast<const char *>(args) + rule.offset, sizeof(tensor));
  return tensor;
}

// An operand of one problem: its row with the problem's sizes put in, and where it lies.
struct ProblemOperand {
  const OperandRule *rule;
  TensorShape shape;
  int64_t element_bytes;
  ProblemTensor tensor{};
  AddressRange range{};  // what its elements span; none where it is absent
  OperandStates states{};
  bool written = false;  // by the call
};

// The walk over a table: `check` is called with the place of each row, as a compile-time constant, until it says no. So what a row says is
// in the code, and nothing of the table is read.
template <size_t place>
using Place = std::integral_constant<size_t, place>;
template <size_t count, typename Check>
constexpr bool all_operands(const Check &check) {
  return [&]<size_t... i>(std::index_sequence<i...>) { return (check(Place<i>()) && ...); }
  (std::make_index_sequence<count>());
}

// float_dtype: of the operand whose type is any_float.
template <const auto &table>
std::array<ProblemOperand, table.size()> sized_operands(const kernels::ProblemKey &key,
                                                        int32_t float_dtype = FLASHCORE_DTYPE_DEFAULT) {
  return [&]<size_t... i>(std::index_sequence<i...>) {
    const bool appends = key.seqlen_new != 0;
    return std::array<ProblemOperand, table.size()>{
        {{&table[i],
          table[i].shape(key),
          element_bytes_of(table[i], key, float_dtype),
          {},
          {},
          {},
          is_output(table[i].role) || (appends && table[i].role == OperandRole::cache)}...}};
  }
  (std::make_index_sequence<table.size()>());
}

inline AddressRange tensor_range(const ProblemTensor &tensor, const TensorShape &shape, int64_t element_bytes) {
  if (tensor.data == 0 || !shape.has_elements()) return {};
  const int64_t last = (shape.batch - 1) * tensor.stride_batch + (shape.rows - 1) * tensor.stride_row +
                       (shape.heads - 1) * tensor.stride_head + (shape.columns - 1) * tensor.stride_column;
  return {tensor.data, tensor.data + static_cast<uint64_t>((last + 1) * element_bytes)};
}

// The operands of a problem that was checked.
template <const auto &table>
std::array<ProblemOperand, table.size()> placed_operands(const kernels::ProblemKey &key,
                                                         const std::array<ProblemTensor, table.size()> &tensors,
                                                         int32_t float_dtype = FLASHCORE_DTYPE_DEFAULT) {
  auto operands = sized_operands<table>(key, float_dtype);
  all_operands<table.size()>([&](auto i) {
    operands[i].tensor = tensors[i];
    operands[i].range = tensor_range(tensors[i], operands[i].shape, operands[i].element_bytes);
    return true;
  });
  return operands;
}

}  // namespace flashcore
