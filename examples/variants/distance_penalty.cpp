// SPDX-License-Identifier: Apache-2.0
//
// Keys count less the further they are from the query, by a slope for each head and the logarithm of the distance. params: float [heads].
float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  const float distance = query < key ? float(key - query) : float(query - key);
  return score - params[head] * logf(1.0f + distance);
}
