// SPDX-License-Identifier: Apache-2.0
//
// The device of a run, opened and entered in the results; and what the selector says of a shape and a kernel on it.
#pragma once

#include <string>
#include <vector>

#include "../common/device.hpp"
#include "bench.hpp"

namespace flashcore::tools {

struct OpenedDevice {
  Context context;
  ContextInfo info;
  bool on_gpu() const { return info.device.kind == FLASHCORE_DEVICE_CUDA; }
};

Outcome<OpenedDevice> open_device(const Request &request, Results &results);

struct Explained {
  bool supported = false;
  std::string kernel, module;
  std::string reason;  // why not; otherwise empty
};
Explained explain_kernel(const Context &context, const Shape &shape, const std::string &kernel);

std::string kernel_word(const std::string &kernel);  // "auto" for ""
// Names of the kernel table, in its order.
Outcome<Words> known_kernels();

}  // namespace flashcore::tools
