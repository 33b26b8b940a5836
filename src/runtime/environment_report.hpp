// SPDX-License-Identifier: Apache-2.0
//
// What the process would use, in words: driver, devices, compiler, module folders, user cache; and what to do next where
// one is missing.
#pragma once

#include <string>

#include "runtime/settings.hpp"

namespace flashcore {

std::string environment_report(const Settings &settings);

}  // namespace flashcore
