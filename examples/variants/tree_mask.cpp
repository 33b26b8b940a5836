// SPDX-License-Identifier: Apache-2.0
//
// A tree of drafted tokens behind a context (speculative decoding): a draft sees the context and its own ancestors. Bit k of ancestors[query]
// is for the k-th draft, the query itself among them.
struct Tree {
  int64_t context;         // keys ahead of the drafts
  uint64_t ancestors[64];  // of each query
};

bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const Tree *params) {
  const int64_t draft = key - params->context;
  return draft < 0 || (params->ancestors[query] >> draft & 1) != 0;
}
