// SPDX-License-Identifier: Apache-2.0
//
// No score is further from 0 than a cap. params: float, the cap.
float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  return *params * tanhf(score / *params);
}
