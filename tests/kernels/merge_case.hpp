// SPDX-License-Identifier: Apache-2.0
//
// One merge of states and its truth in float64: what is merged, how the tensors lie in memory, what the logarithms are like. Whatever lies
// between and around the elements is NaN in inputs and poison in outputs.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/device.hpp"

namespace flashcore::tests {

enum class MergeLayout {
  contiguous,  // all strides given as 0, the states' own too
  padded,  // gaps between heads, rows and batch entries that keep rows at multiples of 16 bytes; states between rows
  odd,     // odd strides from an odd element
};

enum class Logarithms {
  normal,      // N(0, 3)
  spread,      // differences of hundreds
  extreme,     // up to 1e30 of either sign
  equal,       // of all states
  some_empty,  // -infinity in every other state, whose output is NaN, and in all states of some rows
  infinite,    // +infinity in some states of some rows
  nan,         // NaN in some states of some rows
};

enum class InPlace { no, output, lse, both };  // the result is state 0

struct MergeCase {
  int32_t states = 3;
  int64_t batch = 2, rows = 5;
  int32_t heads = 3, columns = 64;
  int32_t dtype = FLASHCORE_DTYPE_FLOAT16, output_dtype = FLASHCORE_DTYPE_FLOAT16;
  MergeLayout layout = MergeLayout::contiguous;
  Logarithms logarithms = Logarithms::normal;
  InPlace in_place = InPlace::no;
  bool base2 = false, with_lse = true;

  std::string describe() const;
};

// Cases of all that a merge may be; every pair of types is among them.
std::vector<MergeCase> merge_cases();

class MergeOnDevice {
 public:
  MergeOnDevice(const Device &device, const MergeCase &one, uint32_t seed);

  const flashcore_merge_states_args &args() const { return args_; }
  flashcore_status launch(flashcore_error *error) const;
  // What is wrong with what lies there now; empty: nothing.
  std::string judge() const;
  // The bytes of output and lse.
  std::vector<unsigned char> results() const;
  double largest_share() const { return largest_share_; }  // of what the last judge() allows

 private:
  struct Place;   // of a tensor's elements in its buffer
  struct Tensor;  // buffer, place, and its values
  struct Truth {
    std::vector<double> output, lse;  // [batch][row][head][column], [batch][row][head]
    double largest_output = 0;        // of the states that count
  };
  Truth truth() const;
  std::string judge_tensor(const char *name, const Tensor &tensor, const std::vector<double> &expected) const;
  double allowed_error(bool of_lse, double expected) const;

  const Device &device_;
  MergeCase case_;
  flashcore_merge_states_args args_ = FLASHCORE_MERGE_STATES_ARGS_INIT;
  std::shared_ptr<Tensor> output_states_, lse_states_, output_, lse_;
  Truth truth_;
  mutable double largest_share_ = 0;
};

}  // namespace flashcore::tests
