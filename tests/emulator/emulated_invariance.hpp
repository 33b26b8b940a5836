// SPDX-License-Identifier: Apache-2.0
//
// Batch invariance of a kernel's own source (tests/kernels/batch_invariance.hpp): one module for all batches, as the selector would have it.
#pragma once

#include <string>

namespace emulator {

void check_batch_invariance(const std::string &kernel);
// Float32 results over shards of the keys, merged by the CPU device (tests/kernels/shards.hpp).
void check_shards_of_keys(const std::string &kernel);

}  // namespace emulator
