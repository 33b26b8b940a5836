// SPDX-License-Identifier: Apache-2.0
//
// Blocks of 32 queries by 32 keys that a table allows, for each head. params: uint32_t [heads][blocks of queries], bit k for the k-th block of
// keys, of which there are 32 at most.
constexpr int32_t block = 32, query_blocks = 8;

bool visible(int32_t batch, int32_t head, int32_t query, int32_t key, const uint32_t *params) {
  return (params[head * query_blocks + query / block] >> (key / block) & 1) != 0;
}
