// SPDX-License-Identifier: Apache-2.0
//
// A golden case on a device: copies of its inputs, the arguments that describe them, and the verdict on what was computed.
#pragma once

#include <flashcore/flashcore.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "golden/golden_cases.hpp"
#include "kernels/device.hpp"

namespace flashcore::tests {

// Fields of the features that a case uses beyond sizes, types, causal masks and scale.
std::vector<std::string> feature_fields(const tools::ReferenceAttention &problem);

class GoldenOnDevice {
 public:
  GoldenOnDevice(const Device &device, const GoldenCase &golden, const std::string &kernel);

  const flashcore_attention_args &args() const { return args_; }
  flashcore_status launch(flashcore_error *error);
  // Of output and LSE, after a launch: empty, or what is not within its gate.
  std::string problem() const;

 private:
  uint64_t upload(const void *data, size_t bytes);
  uint64_t upload_16bit(const std::vector<float> &values);
  uint64_t upload_floats(const std::vector<float> &values);
  void set_features(const tools::ReferenceAttention &problem);
  std::vector<double> output() const;
  std::vector<double> lse() const;

  const Device &device_;
  const GoldenCase &golden_;
  flashcore_attention_args args_;
  std::vector<std::unique_ptr<DeviceBuffer>> inputs_;
  std::unique_ptr<DeviceBuffer> output_, lse_;
};

}  // namespace flashcore::tests
