// SPDX-License-Identifier: Apache-2.0
//
// Random combinations of what the sweeps of the grid change one at a time, the same on every run.
#pragma once

#include "kernels/feature_cases.hpp"

namespace flashcore::tests {

// longest: of queries and of keys.
void add_random(Cases &cases, int count, int64_t longest);
// The same with features.
void add_random_features(Cases &cases, int count, int64_t longest, ScoreFeatures features);

}  // namespace flashcore::tests
