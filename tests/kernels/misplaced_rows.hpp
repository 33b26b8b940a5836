// SPDX-License-Identifier: Apache-2.0
//
// New rows that have no place: lengths, entries and pages on the device that lead nowhere. Nothing of the cache may change but the rows
// that do have one, and nothing around it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/device.hpp"

namespace flashcore::tests {

struct Place {
  int64_t entry, row;  // of the cache
};

// Two sequences, of seven new rows each. Numbers are int64 on the device, pages int32; an array that is empty is not given.
struct MisplacedRows {
  std::string name;
  std::vector<int64_t> seqused, entries, bounds;
  std::vector<int32_t> pages, value_pages;  // four of each sequence, of four rows
  std::vector<std::vector<Place>> keys;     // where each sequence's new keys go, from its first on; entry -1: nowhere
  std::vector<std::vector<Place>> values;   // empty: where the keys go
};

std::vector<MisplacedRows> misplaced_rows();

class MisplacedOnDevice {
 public:
  MisplacedOnDevice(const Device &device, const MisplacedRows &one);
  flashcore_attention_args &args() { return args_; }
  flashcore_status launch(flashcore_error *error) {
    return flashcore_attention_fwd(device_.context(), &args_, nullptr, error);
  }
  // After a launch: empty, or what is wrong with the cache.
  std::string judge() const;

 private:
  uint64_t put(const void *bytes, int64_t count);

  const Device &device_;
  const MisplacedRows case_;
  flashcore_attention_args args_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
  const DeviceBuffer *key_ = nullptr, *value_ = nullptr;
};

}  // namespace flashcore::tests
