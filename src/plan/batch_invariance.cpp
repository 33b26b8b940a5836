// SPDX-License-Identifier: Apache-2.0
#include "plan/batch_invariance.hpp"

namespace flashcore {

kernels::ProblemKey under_load(const kernels::ProblemKey &key, int64_t key_heads) {
  kernels::ProblemKey loaded = key;
  loaded.heads_q = key.heads_q / key.heads_kv;
  loaded.heads_kv = 1;
  loaded.batch = key_heads;
  loaded.kv_batches = key_heads;
  loaded.multiprocessor_limit = 0;
  if (key.rows == kernels::rows_dense) return loaded;
  constexpr int64_t many_queries = 1024, keys = 4096;
  loaded.seqlen_q = key.seqlen_q <= kernels::few_queries ? 1 : many_queries;
  loaded.seqlen_kv = keys;
  if (key.total_q != kernels::no_total) loaded.total_q = loaded.seqlen_q * key_heads;
  if (key.total_kv != kernels::no_total) loaded.total_kv = keys * key_heads;
  return loaded;
}

kernels::DeviceLimits like_all_of_arch(const kernels::DeviceLimits &device) {
  constexpr int32_t multiprocessors = 128;
  kernels::DeviceLimits common = device;
  common.multiprocessors = multiprocessors;
  common.l2_cache_bytes = 0;
  common.key_parts = 0;
  return common;
}

}  // namespace flashcore
