// SPDX-License-Identifier: Apache-2.0
//
// A CUresult as an Error: status, the driver's own name and number, what it means and what to do next. The one place
// where the numbers of the driver's errors are judged; the callers only say which call failed and in which stage.
#pragma once

#include <string>

#include "base/error.hpp"
#include "driver/cuda_function_table.hpp"

namespace flashcore {

enum class CudaStage {
  opening,  // finding and describing devices, getting a context: NO_DEVICE, DEVICE_NOT_READY and the like are possible
  working   // anything later: the same numbers no longer mean that the machine has no GPU
};

// `functions` may be nullptr where not even cuGetErrorName is known.
Error cuda_error(const CudaFunctionTable *functions, CUresult result, const char *call, CudaStage stage);

Error forked_error();

}  // namespace flashcore
