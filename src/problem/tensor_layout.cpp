// SPDX-License-Identifier: Apache-2.0
//
// Strides, extents and addresses of one tensor. Everything is 64-bit and checked for overflow here once, so that the
// floors above may multiply strides and sizes of a checked tensor without a second thought. Arithmetic first, words
// only for a tensor that failed: this runs five times in every call.
#include "problem/tensor_layout.hpp"

#include <limits>
#include <string>
#include <utility>

#include "problem/field_error.hpp"

namespace flashcore {
namespace {

// Index of a dimension in flashcore_tensor.stride.
enum Dimension : int { dimension_batch = 0, dimension_row = 1, dimension_head = 2, dimension_column = 3 };

enum class Fault {
  none,
  too_many_elements,
  negative_stride,
  column_stride,
  extent,
  shared_elements,
  missing,
  misaligned,
  wraps
};

struct Axis {
  int64_t size;
  int64_t stride;
  Dimension dimension;
};

bool is_contiguous_request(const TensorRule &rule, const flashcore_tensor &given) {
  const int64_t leading = given.stride[0] | given.stride[1] | given.stride[2];
  return leading == 0 && (given.stride[3] == 0 || rule.role == TensorRole::lse);
}

bool has_negative_stride(const TensorRule &rule, const flashcore_tensor &given) {
  const int64_t last = rule.role == TensorRole::lse ? 0 : given.stride[dimension_column];
  return (given.stride[0] | given.stride[1] | given.stride[2] | last) < 0;
}

// False where the shape's bytes overflow; else no product of its sizes can.
bool count_bytes(const TensorRule &rule, int64_t &bytes) {
  const TensorShape &shape = rule.shape;
  const int64_t rows = shape.batch * shape.rows;  // both below 2^31
  const int64_t row_bytes = shape.columns * rule.element_bytes;
  return !__builtin_mul_overflow(rows, shape.heads, &bytes) && !__builtin_mul_overflow(bytes, row_bytes, &bytes);
}

ProblemTensor contiguous_tensor(const TensorRule &rule) {
  const TensorShape &shape = rule.shape;
  ProblemTensor tensor;
  if (rule.role == TensorRole::lse) {
    tensor.stride_row = 1;
    tensor.stride_head = shape.rows;
  } else {
    tensor.stride_head = shape.columns;
    tensor.stride_row = shape.columns * shape.heads;
  }
  tensor.stride_batch = shape.columns * shape.heads * shape.rows;
  return tensor;
}

void clear_unused_strides(const TensorShape &shape, ProblemTensor &tensor) {
  if (shape.batch == 1) tensor.stride_batch = 0;
  if (shape.rows == 1) tensor.stride_row = 0;
  if (shape.heads == 1) tensor.stride_head = 0;
}

// Bytes from the first element to the end of the last; false on overflow.
bool extent_bytes(const TensorRule &rule, const ProblemTensor &tensor, int64_t &bytes) {
  const TensorShape &shape = rule.shape;
  int64_t batch_reach = 0, row_reach = 0, head_reach = 0;
  return !(__builtin_mul_overflow(shape.batch - 1, tensor.stride_batch, &batch_reach) ||
           __builtin_mul_overflow(shape.rows - 1, tensor.stride_row, &row_reach) ||
           __builtin_mul_overflow(shape.heads - 1, tensor.stride_head, &head_reach) ||
           __builtin_add_overflow(batch_reach, row_reach, &bytes) ||
           __builtin_add_overflow(bytes, head_reach, &bytes) || __builtin_add_overflow(bytes, shape.columns, &bytes) ||
           __builtin_mul_overflow(bytes, rule.element_bytes, &bytes));
}

struct SharedElements {
  Dimension dimension = dimension_batch;  // whose stride is too small
  int64_t needed = 0;                     // the smallest stride that would do; 0: no element shares memory
};

// Sound, and a little stricter than it must be: from the smallest stride up, each step must clear everything below it.
// Layouts whose elements interleave without such an order (strides 2 and 3 over sizes 2 and 2) are refused as well.
SharedElements find_shared_elements(const TensorRule &rule, const ProblemTensor &tensor) {
  Axis axes[] = {{rule.shape.heads, tensor.stride_head, dimension_head},
                 {rule.shape.rows, tensor.stride_row, dimension_row},
                 {rule.shape.batch, tensor.stride_batch, dimension_batch}};
  if (axes[1].stride < axes[0].stride) std::swap(axes[0], axes[1]);
  if (axes[2].stride < axes[1].stride) std::swap(axes[1], axes[2]);
  if (axes[1].stride < axes[0].stride) std::swap(axes[0], axes[1]);
  int64_t extent = rule.shape.columns;
  for (const Axis &axis : axes) {
    if (axis.size == 1) continue;
    if (axis.stride < extent) return {axis.dimension, extent};
    extent += (axis.size - 1) * axis.stride;
  }
  return {};
}

Fault place_tensor(const TensorRule &rule, const flashcore_tensor &given, AddressRule address_rule, int64_t extent,
                   ProblemTensor &checked, AddressRange &range) {
  if (given.data == 0) {
    return address_rule == AddressRule::optional || rule.role == TensorRole::lse ? Fault::none : Fault::missing;
  }
  if ((given.data & static_cast<uint64_t>(rule.element_bytes - 1)) != 0) return Fault::misaligned;
  if (static_cast<uint64_t>(extent) > std::numeric_limits<uint64_t>::max() - given.data) return Fault::wraps;
  checked.data = given.data;
  range = {given.data, given.data + static_cast<uint64_t>(extent)};
  return Fault::none;
}

Fault find_fault(const TensorRule &rule, const flashcore_tensor &given, AddressRule address_rule,
                 ProblemTensor &checked, AddressRange &range) {
  int64_t extent = 0;
  range = {};
  if (!count_bytes(rule, extent)) return Fault::too_many_elements;
  if (has_negative_stride(rule, given)) return Fault::negative_stride;
  const bool contiguous = is_contiguous_request(rule, given);
  if (!contiguous && rule.role != TensorRole::lse && given.stride[dimension_column] != 1) return Fault::column_stride;
  if (!rule.shape.has_elements()) return Fault::none;
  checked = contiguous ? contiguous_tensor(rule) : ProblemTensor{0, given.stride[0], given.stride[1], given.stride[2]};
  clear_unused_strides(rule.shape, checked);
  if (!contiguous) {
    if (!extent_bytes(rule, checked, extent)) return Fault::extent;
    if (rule.role != TensorRole::input && find_shared_elements(rule, checked).needed != 0)
      return Fault::shared_elements;
  }
  return place_tensor(rule, given, address_rule, extent, checked, range);
}

std::string stride_field(const TensorRule &rule, int dimension) {
  return std::string(rule.name) + ".stride[" + std::to_string(dimension) + "]";
}

Error count_error(const TensorRule &rule) {
  const TensorShape &shape = rule.shape;
  return invalid_field(rule.name,
                       "a tensor of " + std::to_string(shape.batch) + " * " + std::to_string(shape.rows) + " * " +
                           std::to_string(shape.heads) + " * " + std::to_string(shape.columns) + " elements",
                       "less than 2^63 bytes");
}

Error negative_stride_error(const TensorRule &rule, const flashcore_tensor &given) {
  int dimension = 0;
  while (given.stride[dimension] >= 0) ++dimension;
  return invalid_field(stride_field(rule, dimension), std::to_string(given.stride[dimension]), "0 or more");
}

// The stride that reaches farthest is the one to blame when a tensor does not fit into the address space.
Error extent_error(const TensorRule &rule, const ProblemTensor &tensor) {
  const Axis axes[] = {{rule.shape.batch, tensor.stride_batch, dimension_batch},
                       {rule.shape.rows, tensor.stride_row, dimension_row},
                       {rule.shape.heads, tensor.stride_head, dimension_head}};
  const auto reach = [](const Axis &axis) {
    return static_cast<long double>(axis.size - 1) * static_cast<long double>(axis.stride);
  };
  const Axis *farthest = &axes[0];
  for (const Axis &axis : axes) {
    if (reach(axis) > reach(*farthest)) farthest = &axis;
  }
  return invalid_field(stride_field(rule, farthest->dimension), std::to_string(farthest->stride),
                       "a stride that keeps " + std::to_string(farthest->size) + " steps below 2^63 bytes");
}

Error shared_elements_error(const TensorRule &rule, const ProblemTensor &tensor) {
  const SharedElements shared = find_shared_elements(rule, tensor);
  const int64_t strides[] = {tensor.stride_batch, tensor.stride_row, tensor.stride_head};
  return invalid_field(
      stride_field(rule, shared.dimension), std::to_string(strides[shared.dimension]),
      "at least " + std::to_string(shared.needed) + ", so that no two elements of an output share memory");
}

Error data_error(const TensorRule &rule, uint64_t address, const std::string &allowed) {
  return invalid_field(std::string(rule.name) + ".data", address == 0 ? "0" : hex_text(address), allowed);
}

Error fault_error(Fault fault, const TensorRule &rule, const flashcore_tensor &given, const ProblemTensor &tensor) {
  switch (fault) {
    case Fault::too_many_elements:
      return count_error(rule);
    case Fault::negative_stride:
      return negative_stride_error(rule, given);
    case Fault::column_stride:
      return invalid_field(stride_field(rule, dimension_column), std::to_string(given.stride[dimension_column]),
                           "1, or all four strides 0 for contiguous data");
    case Fault::extent:
      return extent_error(rule, tensor);
    case Fault::shared_elements:
      return shared_elements_error(rule, tensor);
    case Fault::missing:
      return data_error(rule, 0, "the address of the tensor's first element");
    case Fault::misaligned:
      return data_error(rule, given.data,
                        "a multiple of the element size, " + std::to_string(rule.element_bytes) + " bytes");
    case Fault::wraps:
      return data_error(rule, given.data, "an address from which the tensor ends inside the address space");
    case Fault::none:
      break;
  }
  return Error{FLASHCORE_INTERNAL, "an error was made for a tensor without fault", rule.name};
}

}  // namespace

Status check_tensor(const TensorRule &rule, const flashcore_tensor &given, AddressRule address_rule,
                    ProblemTensor &checked, AddressRange &range) {
  const Fault fault = find_fault(rule, given, address_rule, checked, range);
  if (fault != Fault::none) return fault_error(fault, rule, given, checked);
  return success();
}

AddressRange tensor_range(const ProblemTensor &tensor, int64_t batch, int64_t rows, int64_t heads, int64_t columns,
                          int64_t element_bytes) {
  const TensorShape shape{batch, rows, heads, columns};
  if (tensor.data == 0 || !shape.has_elements()) return {};
  const int64_t last = (batch - 1) * tensor.stride_batch + (rows - 1) * tensor.stride_row +
                       (heads - 1) * tensor.stride_head + columns - 1;
  return {tensor.data, tensor.data + static_cast<uint64_t>((last + 1) * element_bytes)};
}

}  // namespace flashcore
