// SPDX-License-Identifier: Apache-2.0
//
// How many scores a mask leaves, as a sum in closed form: the number of queries costs nothing.
#pragma once

#include <cstdint>

namespace flashcore::tools {

// Query i sees the keys i + first to i + last, as far as they exist.
struct Band {
  int64_t first = INT64_MIN, last = INT64_MAX;
};
double visible_scores(int64_t queries, int64_t keys, const Band &band);

// Of a causal mask (FLASHCORE_CAUSAL_...).
Band causal_band(int32_t causal, int64_t queries, int64_t keys);

}  // namespace flashcore::tools
