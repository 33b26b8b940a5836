// SPDX-License-Identifier: Apache-2.0
//
// The stand-in libcuda.so.1, fourth part: what an attention kernel would leave in memory, for tests of tools that check results.
// Device memory is host memory, so the kernel's own parameters say where everything is. Masks and types are compiled into a
// kernel and not among them: float16, without a mask.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "attention_fwd/params.h"
#include "cpu/float_convert.hpp"
#include "fake_state.hpp"

namespace fake {
namespace {

using flashcore::kernels::AttentionFwdParams;
using flashcore::kernels::TensorView;

const uint16_t *row(const TensorView &tensor, int64_t batch, int64_t position, int64_t head) {
  return reinterpret_cast<const uint16_t *>(static_cast<uintptr_t>(tensor.data)) + batch * tensor.stride_batch +
         position * tensor.stride_row + head * tensor.stride_head;
}

void attend_row(const AttentionFwdParams &p, int32_t batch, int32_t head, int32_t position) {
  const uint16_t *query = row(p.query, batch, position, head);
  const int32_t head_kv = head / p.heads_per_kv;
  std::vector<double> scores(static_cast<size_t>(p.seqlen_kv)), sums(static_cast<size_t>(p.head_dim_v));
  double largest = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int32_t j = 0; j < p.seqlen_kv; ++j) {
    const uint16_t *key = row(p.key, batch, j, head_kv);
    double score = 0;
    for (int32_t d = 0; d < p.head_dim; ++d)
      score += static_cast<double>(flashcore::float16_to_float(query[d])) *
               static_cast<double>(flashcore::float16_to_float(key[d]));
    scores[static_cast<size_t>(j)] = score * static_cast<double>(p.scale_log2) * (p.negate_query != 0 ? -1 : 1);
    largest = std::fmax(largest, scores[static_cast<size_t>(j)]);
  }
  for (int32_t j = 0; j < p.seqlen_kv; ++j) {
    const double weight = std::exp2(scores[static_cast<size_t>(j)] - largest);
    const uint16_t *value = row(p.value, batch, j, head_kv);
    sum += weight;
    for (int32_t d = 0; d < p.head_dim_v; ++d)
      sums[static_cast<size_t>(d)] += weight * static_cast<double>(flashcore::float16_to_float(value[d]));
  }
  auto *output = const_cast<uint16_t *>(row(p.output, batch, position, head));
  for (int32_t d = 0; d < p.head_dim_v; ++d)
    output[d] = flashcore::float_to_float16(static_cast<float>(sums[static_cast<size_t>(d)] / sum));
  if (p.lse.data == 0) return;
  auto *lse = reinterpret_cast<float *>(static_cast<uintptr_t>(p.lse.data));
  lse[batch * p.lse.stride_batch + position * p.lse.stride_row + head * p.lse.stride_head] =
      static_cast<float>((largest + std::log2(sum)) * static_cast<double>(p.lse_factor));
}

}  // namespace

void attend(const void *bytes) {
  AttentionFwdParams params;
  std::memcpy(&params, bytes, sizeof(params));
  for (int32_t batch = 0; batch < params.batch; ++batch)
    for (int32_t head = 0; head < params.heads_q; ++head)
      for (int32_t position = 0; position < params.seqlen_q; ++position) attend_row(params, batch, head, position);
}

}  // namespace fake
