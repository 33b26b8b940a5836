// SPDX-License-Identifier: Apache-2.0
//
// How often this thread has asked operator new for memory. A program that links allocation_counter.cpp counts.
#pragma once

#include <cstdint>

namespace flashcore {

int64_t allocation_count();

}  // namespace flashcore
