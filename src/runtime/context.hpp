// SPDX-License-Identifier: Apache-2.0
//
// Context: what its options and the environment said, and the device that they ask for. All state of the library below the driver
// tables lives in one.
#pragma once

#include <memory>

#include "base/error.hpp"
#include "flashcore/flashcore.h"
#include "runtime/device.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

struct Context {
  Settings settings;
  DeviceHold device;  // may refer to the settings
};

Result<std::unique_ptr<Context>> create_context(const flashcore_context_options *options);
void fill_context_info(const Context &context, flashcore_context_info *info);

}  // namespace flashcore
