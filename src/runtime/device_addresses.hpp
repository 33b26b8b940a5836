// SPDX-License-Identifier: Apache-2.0
//
// Are the caller's addresses memory that kernels of the context reach? A kernel that touches other memory ends the CUDA context of the
// whole process. The driver is asked before the launch; it is asked for nothing that a capture forbids.
#pragma once

#include "base/error.hpp"
#include "driver/cuda_driver.hpp"
#include "problem/attention_problem.hpp"

namespace flashcore {

// For a shape that is new: does the driver know where each tensor begins? One question per tensor.
Status check_known_addresses(const CudaDriver &driver, const AttentionProblem &problem);

// FLASHCORE_ADDRESS_CHECKS_ALWAYS: each tensor, and the workspace, from its first byte to its last. Two questions per tensor. The GPU's
// context is current. INVALID_ARGUMENT names the field, the address and what is wrong. Device, managed and page-locked memory, memory of
// pools and of virtual ranges, and that of other devices which this one reaches, are all right.
// `ordinal`: that of the GPU.
Status check_addresses(const CudaDriver &driver, int32_t ordinal, const AttentionProblem &problem);

}  // namespace flashcore
