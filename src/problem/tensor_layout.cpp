// SPDX-License-Identifier: Apache-2.0
//
// Strides, extents and addresses of one tensor. Everything is 64-bit and checked for overflow here once, so that the
// floors above may multiply strides and sizes of a checked tensor without a second thought. Arithmetic first, words
// only for a tensor that failed: this runs for each operand of every call.
#include "problem/tensor_layout.hpp"

#include <limits>
#include <string>
#include <utility>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

// Index of a dimension in flashcore_tensor.stride.
enum Dimension : int { dimension_batch = 0, dimension_row = 1, dimension_head = 2, dimension_column = 3 };

struct Axis {
  int64_t size;
  int64_t stride;
  Dimension dimension;
};

bool has_column_stride(const ProblemOperand &operand) { return operand.rule->order != OperandOrder::row_values; }

bool is_contiguous_request(const ProblemOperand &operand, const flashcore_tensor &given) {
  const int64_t leading = given.stride[0] | given.stride[1] | given.stride[2];
  return leading == 0 && (given.stride[3] == 0 || !has_column_stride(operand));
}

bool has_negative_stride(const ProblemOperand &operand, const flashcore_tensor &given) {
  const int64_t last = has_column_stride(operand) ? given.stride[dimension_column] : 0;
  return (given.stride[0] | given.stride[1] | given.stride[2] | last) < 0;
}

// False where the shape's bytes overflow; else no product of its sizes can.
bool count_bytes(const ProblemOperand &operand, int64_t &bytes) {
  const TensorShape &shape = operand.shape;
  const int64_t rows = shape.batch * shape.rows;  // both below 2^31
  const int64_t row_bytes = shape.columns * operand.element_bytes;
  return !__builtin_mul_overflow(rows, shape.heads, &bytes) && !__builtin_mul_overflow(bytes, row_bytes, &bytes) &&
         !__builtin_mul_overflow(bytes, operand.states.count, &bytes);
}

ProblemTensor contiguous_tensor(const ProblemOperand &operand) {
  const TensorShape &shape = operand.shape;
  ProblemTensor tensor;
  if (operand.rule->order == OperandOrder::row_values) {
    tensor.stride_row = 1;
    tensor.stride_head = shape.rows;
  } else {
    tensor.stride_head = shape.columns;
    tensor.stride_row = shape.columns * shape.heads;
  }
  tensor.stride_batch = shape.columns * shape.heads * shape.rows;
  return tensor;
}

// Of strided states the distance is nobody's to guess.
bool has_state_stride_fault(const ProblemOperand &operand, bool contiguous) {
  const OperandStates &states = operand.states;
  return states.stride < 0 || (states.count > 1 && states.stride == 0 && !contiguous);
}

void place_states(ProblemOperand &operand) {
  const TensorShape &shape = operand.shape;
  if (operand.states.count == 1)
    operand.states.stride = 0;
  else if (operand.states.stride == 0)
    operand.states.stride = shape.batch * shape.rows * shape.heads * shape.columns;
}

void clear_unused_strides(const TensorShape &shape, ProblemTensor &tensor) {
  if (shape.batch == 1) tensor.stride_batch = 0;
  if (shape.rows == 1) tensor.stride_row = 0;
  if (shape.heads == 1) tensor.stride_head = 0;
  if (shape.columns == 1) tensor.stride_column = 1;
}

// Bytes from the first element to the end of the last; false on overflow.
bool extent_bytes(const ProblemOperand &operand, int64_t &bytes) {
  const TensorShape &shape = operand.shape;
  const ProblemTensor &tensor = operand.tensor;
  int64_t state_reach = 0, batch_reach = 0, row_reach = 0, head_reach = 0, column_reach = 0;
  return !(__builtin_mul_overflow(operand.states.count - 1, operand.states.stride, &state_reach) ||
           __builtin_mul_overflow(shape.batch - 1, tensor.stride_batch, &batch_reach) ||
           __builtin_mul_overflow(shape.rows - 1, tensor.stride_row, &row_reach) ||
           __builtin_mul_overflow(shape.heads - 1, tensor.stride_head, &head_reach) ||
           __builtin_mul_overflow(shape.columns - 1, tensor.stride_column, &column_reach) ||
           __builtin_add_overflow(batch_reach, row_reach, &bytes) ||
           __builtin_add_overflow(bytes, head_reach, &bytes) || __builtin_add_overflow(bytes, state_reach, &bytes) ||
           __builtin_add_overflow(bytes, column_reach, &bytes) || __builtin_add_overflow(bytes, 1, &bytes) ||
           __builtin_mul_overflow(bytes, operand.element_bytes, &bytes));
}

struct SharedElements {
  Dimension dimension = dimension_batch;  // whose stride is too small
  int64_t needed = 0;                     // the smallest stride that would do; 0: no element shares memory
};

// Sound, and a little stricter than it must be: from the smallest stride up, each step must clear everything below it.
// Layouts whose elements interleave without such an order (strides 2 and 3 over sizes 2 and 2) are refused as well.
SharedElements find_shared_elements(const ProblemOperand &operand) {
  Axis axes[] = {{operand.shape.heads, operand.tensor.stride_head, dimension_head},
                 {operand.shape.rows, operand.tensor.stride_row, dimension_row},
                 {operand.shape.batch, operand.tensor.stride_batch, dimension_batch}};
  if (axes[1].stride < axes[0].stride) std::swap(axes[0], axes[1]);
  if (axes[2].stride < axes[1].stride) std::swap(axes[1], axes[2]);
  if (axes[1].stride < axes[0].stride) std::swap(axes[0], axes[1]);
  int64_t extent = operand.shape.columns;
  for (const Axis &axis : axes) {
    if (axis.size == 1) continue;
    if (axis.stride < extent) return {axis.dimension, extent};
    extent += (axis.size - 1) * axis.stride;
  }
  return {};
}

TensorFault place_tensor(const flashcore_tensor &given, AddressRule address_rule, int64_t extent,
                         ProblemOperand &operand) {
  if (given.data == 0) {
    const bool may_be_absent = address_rule == AddressRule::optional || is_optional(operand.rule->role);
    return may_be_absent ? TensorFault::none : TensorFault::missing;
  }
  if ((given.data & static_cast<uint64_t>(operand.element_bytes - 1)) != 0) return TensorFault::misaligned;
  if (static_cast<uint64_t>(extent) > std::numeric_limits<uint64_t>::max() - given.data) return TensorFault::wraps;
  operand.tensor.data = given.data;
  operand.range = {given.data, given.data + static_cast<uint64_t>(extent)};
  return TensorFault::none;
}

std::string stride_field(const ProblemOperand &operand, int dimension) {
  if (operand.rule->batch_stride != nullptr) return operand.rule->batch_stride;
  return std::string(operand.rule->name) + ".stride[" + std::to_string(dimension) + "]";
}

Error count_error(const ProblemOperand &operand) {
  const TensorShape &shape = operand.shape;
  return invalid_field(operand.rule->name,
                       "a tensor of " + std::to_string(shape.batch) + " * " + std::to_string(shape.rows) + " * " +
                           std::to_string(shape.heads) + " * " + std::to_string(shape.columns) + " elements",
                       "less than 2^63 bytes");
}

Error negative_stride_error(const ProblemOperand &operand, const flashcore_tensor &given) {
  int dimension = 0;
  while (given.stride[dimension] >= 0) ++dimension;
  return invalid_field(stride_field(operand, dimension), std::to_string(given.stride[dimension]), "0 or more");
}

Error state_stride_error(const ProblemOperand &operand) {
  const bool negative = operand.states.stride < 0;
  return invalid_field(operand.rule->state_stride, std::to_string(operand.states.stride),
                       negative ? "0 or more"
                                : "more than 0 where " + std::string(operand.rule->name) +
                                      " has strides and there is more than one state");
}

// The stride that reaches farthest is the one to blame when a tensor does not fit into the address space.
Error extent_error(const ProblemOperand &operand) {
  const Axis axes[] = {{operand.shape.batch, operand.tensor.stride_batch, dimension_batch},
                       {operand.shape.rows, operand.tensor.stride_row, dimension_row},
                       {operand.shape.heads, operand.tensor.stride_head, dimension_head},
                       {operand.shape.columns, operand.tensor.stride_column, dimension_column}};
  const auto reach = [](const Axis &axis) {
    return static_cast<long double>(axis.size - 1) * static_cast<long double>(axis.stride);
  };
  const Axis *farthest = &axes[0];
  for (const Axis &axis : axes) {
    if (reach(axis) > reach(*farthest)) farthest = &axis;
  }
  const Axis states = {operand.states.count, operand.states.stride, dimension_batch};
  const bool by_states = reach(states) > reach(*farthest);
  const Axis &blamed = by_states ? states : *farthest;
  return invalid_field(by_states ? operand.rule->state_stride : stride_field(operand, blamed.dimension),
                       std::to_string(blamed.stride),
                       "a stride that keeps " + std::to_string(blamed.size) + " steps below 2^63 bytes");
}

Error shared_elements_error(const ProblemOperand &operand) {
  const SharedElements shared = find_shared_elements(operand);
  const ProblemTensor &tensor = operand.tensor;
  const int64_t strides[] = {tensor.stride_batch, tensor.stride_row, tensor.stride_head};
  return invalid_field(
      stride_field(operand, shared.dimension), std::to_string(strides[shared.dimension]),
      "at least " + std::to_string(shared.needed) + ", so that no two elements of an output share memory");
}

Error address_error(const ProblemOperand &operand, uint64_t address, const std::string &allowed) {
  return invalid_field(operand.rule->address, address == 0 ? "0" : hex_text(address), allowed);
}

}  // namespace

TensorFault find_fault(const flashcore_tensor &given, AddressRule address_rule, ProblemOperand &operand) {
  int64_t extent = 0;
  const bool absent = is_optional(operand.rule->role) && given.data == 0;
  if (!count_bytes(operand, extent)) return absent ? TensorFault::none : TensorFault::too_many_elements;
  if (has_negative_stride(operand, given)) return TensorFault::negative_stride;
  const bool contiguous = is_contiguous_request(operand, given);
  if (!contiguous && operand.rule->order == OperandOrder::rows && given.stride[dimension_column] != 1)
    return TensorFault::column_stride;
  if (has_state_stride_fault(operand, contiguous)) return TensorFault::state_stride;
  if (!operand.shape.has_elements()) return TensorFault::none;
  operand.tensor =
      contiguous ? contiguous_tensor(operand) : ProblemTensor{0, given.stride[0], given.stride[1], given.stride[2]};
  if (!contiguous && operand.rule->order == OperandOrder::scores)
    operand.tensor.stride_column = given.stride[dimension_column];
  const bool contiguous_states = operand.states.stride == 0 || operand.states.count == 1;
  place_states(operand);
  clear_unused_strides(operand.shape, operand.tensor);
  if (!contiguous || !contiguous_states) {
    if (!extent_bytes(operand, extent)) return TensorFault::extent;
    if (operand.written && find_shared_elements(operand).needed != 0) return TensorFault::shared_elements;
  }
  return place_tensor(given, address_rule, extent, operand);
}

Error fault_error(TensorFault fault, const ProblemOperand &operand, const flashcore_tensor &given) {
  switch (fault) {
    case TensorFault::too_many_elements:
      return count_error(operand);
    case TensorFault::negative_stride:
      return negative_stride_error(operand, given);
    case TensorFault::column_stride:
      return invalid_field(stride_field(operand, dimension_column), std::to_string(given.stride[dimension_column]),
                           "1, or all four strides 0 for contiguous data");
    case TensorFault::state_stride:
      return state_stride_error(operand);
    case TensorFault::extent:
      return extent_error(operand);
    case TensorFault::shared_elements:
      return shared_elements_error(operand);
    case TensorFault::missing:
      return address_error(operand, 0, "the address of the tensor's first element");
    case TensorFault::misaligned:
      return address_error(operand, given.data,
                           "a multiple of the element size, " + std::to_string(operand.element_bytes) + " bytes");
    case TensorFault::wraps:
      return address_error(operand, given.data, "an address from which the tensor ends inside the address space");
    case TensorFault::none:
      break;
  }
  return Error{FLASHCORE_INTERNAL, "an error was made for a tensor without fault", operand.rule->name};
}

}  // namespace flashcore
