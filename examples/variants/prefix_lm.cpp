// SPDX-License-Identifier: Apache-2.0
//
// A prefix that all queries see, and a causal mask behind it. params: the length of each batch entry's prefix.
KeyRange key_range(int32_t batch, int32_t head, int32_t query, const int32_t *params) {
  const int32_t prefix = params[batch];
  return {0, query < prefix ? prefix : query + 1};
}
