// SPDX-License-Identifier: Apache-2.0
//
// A temperature for each head, below which scores are sharper. params: float [heads], their inverses.
float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  return score * params[head];
}
