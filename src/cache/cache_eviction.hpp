// SPDX-License-Identifier: Apache-2.0
//
// Keeps the user cache below its size: the entries used longest ago go first, by the time of the file, which a hit
// renews at most once an hour. Also removes what killed writers left behind.
#pragma once

#include <cstdint>
#include <string>

#include "cache/module_folder.hpp"

namespace flashcore {

// Remove temporary files of this user in `folder` that are older than an hour: no writer takes that long.
void sweep_temporary_files(const ModuleFolder &folder);

// When the entries below `layout` (<root>/v1) are more than limit_bytes together, remove the oldest until nine tenths
// of it are left, so that the next write does not start over. `kept_name` stays. Does nothing while another process is
// at it.
void evict_modules(const ModuleFolder &layout, int64_t limit_bytes, const std::string &kept_name);

}  // namespace flashcore
