// SPDX-License-Identifier: Apache-2.0
//
// Are the caller's addresses memory that kernels of the context reach? A kernel that touches other memory ends the CUDA context of the
// whole process. The driver is asked before the launch; it is asked for nothing that a capture forbids.
#pragma once

#include <span>

#include "base/error.hpp"
#include "driver/cuda_driver.hpp"
#include "problem/operands.hpp"

namespace flashcore {

// What an error calls it, and where it lies; begin == end: it is absent.
struct NamedRange {
  const char *field;
  AddressRange range;
};

// For a shape that is new: does the driver know where each range begins? One question per range.
Status check_known_addresses(const CudaDriver &driver, std::span<const NamedRange> ranges);

// FLASHCORE_ADDRESS_CHECKS_ALWAYS: each range from its first byte to its last. Two questions per range. The GPU's
// context is current. INVALID_ARGUMENT names the field, the address and what is wrong. Device, managed and page-locked memory, memory of
// pools and of virtual ranges, and that of other devices which this one reaches, are all right.
// `ordinal`: that of the GPU.
Status check_addresses(const CudaDriver &driver, int32_t ordinal, std::span<const NamedRange> ranges);

}  // namespace flashcore
