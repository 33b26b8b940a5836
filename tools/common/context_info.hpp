// SPDX-License-Identifier: Apache-2.0
//
// What a context says of itself and of its device, as one thing to pass around.
#pragma once

#include <flashcore/flashcore.h>

#include "outcome.hpp"

namespace flashcore::tools {

struct ContextInfo : flashcore_context_info {
  flashcore_device_info device{};
};

Outcome<ContextInfo> describe_context(flashcore_context context);

}  // namespace flashcore::tools
