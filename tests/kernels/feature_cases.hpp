// SPDX-License-Identifier: Apache-2.0
//
// Cases of the grid with features: windows, chunks, capped scores, ALiBi, sinks, biases and mask tensors.
#pragma once

#include <random>
#include <vector>

#include "kernels/attention_case.hpp"

namespace flashcore::tests {

using Cases = std::vector<AttentionCase>;

// Which of those that change scores or join their sums a random case may have.
enum class ScoreFeatures {
  any,         // each by itself
  all_or_none  // for few modules that were compiled ahead
};

// A sweep for each feature.
void add_feature_sweeps(Cases &cases);
// Few with outputs of float32.
void add_few_float32_outputs(Cases &cases);
// Few with keys in pieces, shards of keys, and a limit of multiprocessors.
void add_few_calls(Cases &cases);
// Few cases of a bias alone, of a mask alone and of both, for as few modules.
void add_few_score_tensors(Cases &cases);

// Some of them to a random case, which becomes one of two head dimensions, because a module is compiled for each combination of features.
void add_features(std::mt19937 &generator, ScoreFeatures features, AttentionCase &one);

}  // namespace flashcore::tests
