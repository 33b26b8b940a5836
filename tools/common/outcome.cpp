// SPDX-License-Identifier: Apache-2.0
//
// From the library's statuses to the tools' exit codes.
#include "outcome.hpp"

#include <fmt/format.h>

namespace flashcore::tools {
namespace {

ExitCode exit_code_of(flashcore_status status) {
  switch (status) {
    case FLASHCORE_INVALID_ARGUMENT:
    case FLASHCORE_UNSUPPORTED:
      return exit_usage;
    case FLASHCORE_NO_DRIVER:
    case FLASHCORE_DRIVER_TOO_OLD:
    case FLASHCORE_NO_DEVICE:
    case FLASHCORE_DEVICE_NOT_READY:
      return exit_no_device;
    case FLASHCORE_MODULE_CORRUPT:
    case FLASHCORE_IO_ERROR:
      return exit_bad_input;
    default:
      return exit_failed_check;
  }
}

}  // namespace

Failure library_failure(const std::string &action, const flashcore_error &error) {
  std::string text = error.message[0] != '\0' ? error.message : flashcore_status_sentence(error.status);
  std::string field = error.field[0] != '\0' ? fmt::format(", field {}", error.field) : std::string();
  return {exit_code_of(error.status),
          fmt::format("cannot {}: {} ({}{})", action, text, flashcore_status_name(error.status), field)};
}

}  // namespace flashcore::tools
