// SPDX-License-Identifier: Apache-2.0
//
// The host's clock, one for all processes of a run: the parent of a start and its child measure on the same axis.
#include <time.h>

#include "measuring.hpp"

namespace flashcore::tools {

double clock_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

}  // namespace flashcore::tools
