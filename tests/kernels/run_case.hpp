// SPDX-License-Identifier: Apache-2.0
//
// One case on one device and kernel, through the public interface: the tensors are laid out between guards, the call is
// made, and everything is looked at: output and LSE against the float64 reference, the guards and gaps, the inputs.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/attention_case.hpp"
#include "kernels/device.hpp"
#include "kernels/placement.hpp"
#include "kernels/score_tensors.hpp"

namespace flashcore::tests {

enum class Verdict { passed, refused, failed };

struct CaseOutcome {
  Verdict verdict = Verdict::failed;
  std::string message;  // what failed, or the library's refusal
  double max_error = 0, mean_error = 0;
  double max_error_gate = 0;
  double gate_share = 0;  // how much of its gate the output used up: above 1 it failed
  double lse_share = 0;   // the same for LSE
  std::string module;     // which it was, where it ran on the emulator
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
  // After a launch: the raw buffers, guards and gaps included; of a float32 output two halves for each element.
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

  // Of the yardstick, on rows of a hard distribution. Kernels that are kept to learn from sum all keys of a row in the tensor cores' accumulators,
  // which cut bits off: 1.8 times it at 32768 keys, 4 times at 131072.
  double hard_gate_factor() const;

  struct Input;

 private:
  int64_t halves() const { return case_.float32_output ? 2 : 1; }  // of 16 bits, in an element of the output
  struct KeyRange {
    int64_t begin, end;
  };
  void set_features(std::mt19937 &generator);
  void set_score_tensor(flashcore_tensor &tensor, const ScoreTensorInMemory &memory);
  uint64_t place_numbers(const std::vector<float> &values, int64_t batches, int64_t head_stride, int64_t batch_stride);
  KeyRange garbage_keys() const;
  bool row_sees_garbage(int64_t batch, int64_t head, int64_t position) const;
  void plant_garbage(Input &key, Input &value);

  const Device &device_;
  AttentionCase case_;
  tools::ReferenceAttention reference_;
  flashcore_attention_args args_;
  std::vector<Input> inputs_;                           // query, key, value
  std::vector<std::unique_ptr<DeviceBuffer>> numbers_;  // slopes of ALiBi, sinks, bias, mask
  Placement output_place_, lse_place_;
  std::unique_ptr<DeviceBuffer> output_, lse_;
};

// After a launch that ended well.
CaseOutcome judge_result(const CaseOnDevice &run, const AttentionCase &one);

CaseOutcome run_case(const Device &device, const std::string &kernel, const AttentionCase &one);

}  // namespace flashcore::tests
