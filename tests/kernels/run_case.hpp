// SPDX-License-Identifier: Apache-2.0
//
// One case on one device and kernel, through the public interface: the tensors are laid out between guards, the call is
// made, and everything is looked at: output and LSE against the float64 reference, the guards and gaps, the inputs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/attention_case.hpp"
#include "kernels/device.hpp"

namespace flashcore::tests {

enum class Verdict { passed, refused, failed };

struct CaseOutcome {
  Verdict verdict = Verdict::failed;
  std::string message;  // what failed, or the library's refusal
  double max_error = 0, mean_error = 0;
  double gate_share = 0;  // how much of its gate the output used up: above 1 it failed
  double lse_share = 0;   // the same for LSE
};

// Where a tensor's elements are in its buffer, in elements.
struct Placement {
  int64_t size[4];  // batch, rows, heads, columns
  int64_t stride[4];
  bool given_as_zeros;  // the strides are left to the library
  int64_t base;         // of element [0,0,0,0]
  int64_t total;        // of the buffer

  int64_t index(int64_t b, int64_t row, int64_t head, int64_t column) const {
    return base + b * stride[0] + row * stride[1] + head * stride[2] + column * stride[3];
  }
  template <typename Function>
  void for_each(Function function) const {  // in contiguous order
    for (int64_t b = 0; b < size[0]; b++)
      for (int64_t row = 0; row < size[1]; row++)
        for (int64_t head = 0; head < size[2]; head++)
          for (int64_t column = 0; column < size[3]; column++) function(index(b, row, head, column));
  }
};

// A prepared case: inputs on the device, outputs poisoned, arguments filled in. It can be launched any number of times.
class CaseOnDevice {
 public:
  CaseOnDevice(const Device &device, const AttentionCase &one, const std::string &kernel);
  ~CaseOnDevice();

  const tools::ReferenceAttention &reference() const { return reference_; }
  flashcore_attention_args &args() { return args_; }

  void poison_outputs();
  flashcore_status launch(flashcore_error *error);
  // After a launch: the raw buffers, guards and gaps included.
  std::vector<uint16_t> read_output() const;
  std::vector<float> read_lse() const;  // empty where none was asked for

  // Elements in the order of the reference's result.
  std::vector<double> output_values(const std::vector<uint16_t> &buffer) const;
  std::vector<double> lse_values(const std::vector<float> &buffer) const;
  // Which of them count: rows that see planted garbage do not.
  std::vector<uint8_t> output_mask() const;
  std::vector<uint8_t> lse_mask() const;

  // Empty, or what was written that should not have been.
  std::string guard_problem(const std::vector<uint16_t> &output, const std::vector<float> &lse) const;
  std::string untouched_problem(const std::vector<uint16_t> &output, const std::vector<float> &lse) const;
  std::string input_problem() const;

  struct Input;

 private:
  int64_t first_garbage_key() const;
  bool row_sees_garbage(int64_t position) const;
  void plant_garbage(Input &key, Input &value);

  const Device &device_;
  AttentionCase case_;
  tools::ReferenceAttention reference_;
  flashcore_attention_args args_;
  std::vector<Input> inputs_;  // query, key, value
  Placement output_place_, lse_place_;
  std::unique_ptr<DeviceBuffer> output_, lse_;
};

CaseOutcome run_case(const Device &device, const std::string &kernel, const AttentionCase &one);

}  // namespace flashcore::tests
