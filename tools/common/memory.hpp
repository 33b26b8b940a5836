// SPDX-License-Identifier: Apache-2.0
//
// Is there memory for what is asked? Asked before it is taken: Linux grants more than it has, and ends the process later.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "outcome.hpp"

namespace flashcore::tools {

// What this process may still take: of the machine, of its control group, of its own limits. nullopt: the system does not say.
std::optional<int64_t> available_memory_bytes();

// What for, and how many bytes. Sizes may be beyond all bounds: they are added as real numbers.
using MemoryNeeds = std::vector<std::pair<std::string, double>>;
// A usage failure names the sum, its parts and what is available.
Step check_memory(const MemoryNeeds &needs);

}  // namespace flashcore::tools
