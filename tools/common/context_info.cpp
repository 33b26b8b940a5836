// SPDX-License-Identifier: Apache-2.0
#include "context_info.hpp"

namespace flashcore::tools {

Outcome<ContextInfo> describe_context(flashcore_context context) {
  ContextInfo info{};
  info.struct_size = sizeof(flashcore_context_info);
  info.device.struct_size = sizeof(info.device);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_context_describe(context, &info, &error) != FLASHCORE_OK ||
      flashcore_context_describe_device(context, &info.device, &error) != FLASHCORE_OK)
    return library_failure("describe the device", error);
  return info;
}

}  // namespace flashcore::tools
