// SPDX-License-Identifier: Apache-2.0
#include "visible_scores.hpp"

#include <flashcore/flashcore.h>

#include <algorithm>

namespace flashcore::tools {
namespace {

__extension__ using Wide = __int128;  // sums of 2^31 queries times 2^63 keys

// The sum over i in [0, count) of i + offset, held between 0 and limit.
Wide sum_of_held(Wide count, Wide offset, Wide limit) {
  const Wide rising = std::clamp<Wide>(-offset, 0, count);            // zero before it
  const Wide full = std::clamp<Wide>(limit - offset, rising, count);  // the limit from it on
  const Wide steps = full - rising;
  return steps * offset + (rising + full - 1) * steps / 2 + (count - full) * limit;
}

}  // namespace

double visible_scores(int64_t queries, int64_t keys, const Band &band) {
  if (band.last < band.first) return 0;
  return static_cast<double>(sum_of_held(queries, Wide{band.last} + 1, keys) - sum_of_held(queries, band.first, keys));
}

Band causal_band(int32_t causal, int64_t queries, int64_t keys) {
  if (causal == FLASHCORE_CAUSAL_TOP_LEFT) return {INT64_MIN, 0};
  if (causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT) return {INT64_MIN, keys - queries};
  return {};
}

}  // namespace flashcore::tools
