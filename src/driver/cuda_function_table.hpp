// SPDX-License-Identifier: Apache-2.0
//
// The resolved driver functions, one member per line of cuda_functions.inc. For the .cpp files of this room only: this
// is where cuda.h comes in, and it goes no further.
#pragma once

#include <cuda.h>
#include <cudaTypedefs.h>

#include "driver/cuda_driver.hpp"

namespace flashcore {

struct CudaFunctionTable {
#define X(member, name, symbol, type, version) type member = nullptr;
#include "driver/cuda_functions.inc"
#undef X
};

struct CudaDriver::Functions : CudaFunctionTable {};

}  // namespace flashcore
