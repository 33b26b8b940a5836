// SPDX-License-Identifier: Apache-2.0
//
// The texts of examples/variants, each with a shape, a block of parameters and what it means in float64. Whoever runs one (a GPU, the CPU
// device, the emulator) makes the variant; the tensors and the judgement are here.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/ragged_case.hpp"

namespace flashcore::tests {

struct VariantCase {
  std::string name;  // of the file, without its suffix
  AttentionCase shape;
  std::vector<uint8_t> params;  // bytes, a multiple of 8
  std::function<double(double score, int64_t batch, int64_t head, int64_t query, int64_t key)> score;
  std::function<bool(int64_t batch, int64_t head, int64_t query, int64_t key)> visible;
  // NaN and infinity in these keys and values, which some rows do not see; others are not compared. Empty where begin is end.
  int64_t garbage_begin = 0, garbage_end = 0;

  std::string describe() const { return name + ": " + shape.describe(); }
};

// One for each text, and for some in further shapes: other masks, grouped heads, sinks, hidden garbage.
std::vector<VariantCase> variant_cases();

// The same for ragged batches, where batch is the sequence.
struct RaggedVariantCase {
  VariantCase variant;  // its shape does not count
  RaggedCase rows;
};
std::vector<RaggedVariantCase> ragged_variant_cases();

// The text of a file of examples/variants.
std::string variant_text(const std::string &name);

class VariantRun {
 public:
  // The arguments lack the variant.
  VariantRun(const Device &device, const VariantCase &one, const std::string &kernel);
  CaseOnDevice &run() { return run_; }
  // After a launch that ended well.
  CaseOutcome judge() const;

 private:
  void plant_garbage(const Device &device);
  std::vector<uint8_t> rows_compared(int64_t elements_of_row) const;

  const VariantCase &one_;
  CaseOnDevice run_;
  DeviceBuffer params_;
};

}  // namespace flashcore::tests
