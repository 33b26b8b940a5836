// SPDX-License-Identifier: Apache-2.0
#include "kernels/random_cases.hpp"

#include <iterator>
#include <random>

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

template <typename T, size_t count>
T pick(std::mt19937 &generator, const T (&choices)[count]) {
  return choices[generator() % count];
}

AttentionCase random_case(std::mt19937 &generator, int64_t longest) {
  AttentionCase result;
  const int64_t lengths[] = {1, 2, 17, 63, 64, 65, 127, 128, 129, 193, 255, 320, longest};
  const int32_t heads[][2] = {{1, 1}, {2, 2}, {4, 2}, {6, 1}, {6, 2}, {8, 2}};
  const int32_t dims[] = {64, 64, 64, 128, 128, 40, 80, 96, 256, 33};
  result.batch = 1 + generator() % 3;
  result.seqlen_q = pick(generator, lengths);
  result.seqlen_kv = pick(generator, lengths);
  const auto &pair = heads[generator() % std::size(heads)];
  result.heads_q = pair[0];
  result.heads_kv = pair[1];
  result.head_dim = result.head_dim_v = pick(generator, dims);
  result.dtype = pick(generator, both_types);
  result.causal = pick(generator, all_masks);
  result.layout = pick(generator, all_layouts);
  result.lse = static_cast<LseRequest>(generator() % 4);
  if (result.causal != ReferenceCausal::none && result.seqlen_kv >= 17)
    result.garbage = static_cast<Garbage>(generator() % 3);
  if (generator() % 4 == 0) result.input_std = 3;
  if (generator() % 4 == 0) result.scale = 0.25f;
  return result;
}

}  // namespace

void add_random(Cases &cases, int count, int64_t longest) {
  std::mt19937 generator(20240229);
  for (int n = 0; n < count; n++) cases.push_back(random_case(generator, longest));
}

void add_random_features(Cases &cases, int count, int64_t longest, ScoreFeatures features) {
  std::mt19937 generator(20261130);
  for (int n = 0; n < count; n++) {
    cases.push_back(random_case(generator, longest));
    add_features(generator, features, cases.back());
  }
}

}  // namespace flashcore::tests
