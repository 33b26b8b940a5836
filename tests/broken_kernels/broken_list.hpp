// SPDX-License-Identifier: Apache-2.0
//
// The classic mistakes, each as edits of a shipped kernel.
#pragma once

#include <string>
#include <vector>

#include "edited_kernel.hpp"

namespace flashcore {

struct Broken {
  const char *name;
  const char *kernel;
  const char *lesson;
  std::vector<Edit> edits;
  bool wrong_answer;               // the error is far above the gate; false: it may be right by luck
  int64_t shared_bytes_taken = 0;  // launch with this much less dynamic shared memory than the layout needs
};

const std::vector<Broken> &broken_kernels();

EditedKernel edited(const Broken &broken);

}  // namespace flashcore
