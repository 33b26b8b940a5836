// SPDX-License-Identifier: Apache-2.0
//
// A tensor of a ragged batch on the device: entries of rows of heads, in which a sequence's rows are in one entry, or in pages.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "kernels/device.hpp"
#include "kernels/ragged_case.hpp"

namespace flashcore::tests {

struct RaggedOnDevice::Tensor {
  static constexpr int64_t guard_elements = 64;

  int64_t entries, rows, heads, columns;
  int64_t stride[3];                        // entry, row, head
  std::vector<int64_t> entry, first_row;    // of each sequence
  std::vector<std::vector<int64_t>> pages;  // of each sequence; empty: none
  int64_t page_size = 0;
  int64_t element_bytes = 2;
  std::vector<uint16_t> bits;  // of inputs; of what is appended to as it is after the call
  std::unique_ptr<DeviceBuffer> buffer;

  Tensor(int64_t entries, int64_t rows, int64_t heads, int64_t columns, bool apart)
      : entries(entries), rows(rows), heads(heads), columns(columns) {
    stride[2] = columns + (apart ? 8 : 0);
    stride[1] = heads * stride[2] + (apart ? 16 : 0);
    stride[0] = rows * stride[1] + (apart ? 32 : 0);
  }
  int64_t total() const { return 2 * guard_elements + std::max<int64_t>(1, entries) * std::max<int64_t>(1, stride[0]); }
  int64_t index(size_t sequence, int64_t row, int64_t head) const {
    int64_t in_entry = first_row[sequence] + row, of = entry[sequence];
    if (!pages.empty()) {
      of = pages[sequence][static_cast<size_t>(in_entry / page_size)];
      in_entry %= page_size;
    }
    return guard_elements + of * stride[0] + in_entry * stride[1] + head * stride[2];
  }
  uint16_t &at(size_t sequence, int64_t row, int64_t head, int64_t column) {
    return bits[static_cast<size_t>(index(sequence, row, head) + column)];
  }
  void describe(flashcore_tensor &tensor, bool apart) const {
    tensor.data = buffer->address() + static_cast<uint64_t>(guard_elements * element_bytes);
    if (!apart) return;
    tensor.stride[0] = stride[0], tensor.stride[1] = stride[1], tensor.stride[2] = stride[2];
    tensor.stride[3] = columns == 1 ? 0 : 1;  // the lse has none
  }
  // Empty, or that the device holds something else than `bits`.
  std::string changed(const char *name) const {
    std::vector<uint16_t> found(static_cast<size_t>(total()));
    buffer->read(found.data());
    for (size_t i = 0; i < found.size(); i++)
      if (found[i] != bits[i])
        return std::string(name) + " holds " + std::to_string(found[i]) + " in place of " + std::to_string(bits[i]) +
               " at element " + std::to_string(static_cast<int64_t>(i) - guard_elements);
    return {};
  }
};

template <typename T>
uint64_t RaggedOnDevice::put(const std::vector<T> &numbers) {
  numbers_.push_back(std::make_unique<DeviceBuffer>(device_, static_cast<int64_t>(numbers.size() * sizeof(T))));
  numbers_.back()->write(numbers.data());
  return numbers_.back()->address();
}

}  // namespace flashcore::tests
