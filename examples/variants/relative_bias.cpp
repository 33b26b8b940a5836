// SPDX-License-Identifier: Apache-2.0
//
// A learned bias by the distance of key and query, for each head. params: float [heads][2 * reach + 1], the middle one for a distance of 0;
// further away the outermost numbers hold.
constexpr int32_t reach = 16;

float score(float score, int32_t batch, int32_t head, int32_t query, int32_t key, const float *params) {
  const int32_t distance = key - query, held = distance < -reach ? -reach : distance > reach ? reach : distance;
  return score + params[head * (2 * reach + 1) + reach + held];
}
