// SPDX-License-Identifier: Apache-2.0
//
// Another program, run to its end, with what it said. Who it is and what that means is the caller's business.
#pragma once

#include <string>
#include <vector>

#include "outcome.hpp"

namespace flashcore::tools {

struct FinishedProcess {
  double started_us = 0;   // clock_us() right before it was started
  int exit_code = 0;       // 128 + signal where a signal ended it
  bool timed_out = false;  // it was killed
  std::string out, err;
};

// A program without '/' is looked for in PATH. stdin is empty. A failure where it could not be started.
Outcome<FinishedProcess> run_process(const std::vector<std::string> &words, int timeout_seconds);

}  // namespace flashcore::tools
