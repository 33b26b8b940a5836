// SPDX-License-Identifier: Apache-2.0
//
// TensorMaps: those of one call, in the parameters of a kernel that has its tensors copied by Hopper's copy engine. Most kernels
// have none. A map holds an address where the driver alone can find it, so it is encoded anew when a tensor has moved, and only then.
#pragma once

#include <array>
#include <cstdint>

#include "contract/passport.h"
#include "driver/cuda_driver.hpp"
#include "problem/attention_problem.hpp"

namespace flashcore {

class TensorMaps {
 public:
  TensorMaps() = default;
  // For a problem that the kernel serves.
  TensorMaps(const kernels::Passport &passport, const kernels::Specialization &specialization,
             const AttentionProblem &problem);

  // `addresses` by kernels::AttentionOperand; `parameters` are always the same ones, or copies of them. A map that could not be
  // encoded is encoded in the next call.
  Status encode(const CudaDriver &driver, const uint64_t *addresses, void *parameters) {
    return count_ == 0 ? success() : encode_moved(driver, addresses, parameters);
  }

 private:
  struct Map {
    kernels::TensorMapRule rule;
    TensorMapLayout layout;
    uint64_t address;  // that it was encoded for; 0: not yet
  };
  Status encode_moved(const CudaDriver &driver, const uint64_t *addresses, void *parameters);

  int32_t count_ = 0;
  std::array<Map, kernels::most_tensor_maps> maps_;
};

}  // namespace flashcore
