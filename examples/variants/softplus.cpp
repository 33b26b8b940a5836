// SPDX-License-Identifier: Apache-2.0
//
// A score s becomes log(1 + e^s), so that no key counts for less than e^0.
float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const void *params) {
  return score > 15.0f ? score : logf(1.0f + expf(score));
}
