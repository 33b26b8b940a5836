// SPDX-License-Identifier: Apache-2.0
//
// --check: the result against the float64 reference. What error is allowed stands in tools/common/accuracy.hpp.
#include <fmt/format.h>

#include <algorithm>

#include "../common/reference_attention.hpp"
#include "run.hpp"

namespace flashcore::tools {
namespace {

// 16-bit numbers in the layout of the files as numbers in the reference's order [batch, sequence, head, dimension].
template <typename T>
std::vector<T> reordered(const std::vector<uint16_t> &bits, const RunRequest &request, int64_t batch, int64_t seqlen,
                         int64_t heads, int64_t head_dim) {
  const Strides strides = array_strides(request.layout, seqlen, heads, head_dim);
  std::vector<T> values;
  values.reserve(bits.size());
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t s = 0; s < seqlen; ++s)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t d = 0; d < head_dim; ++d)
          values.push_back(static_cast<T>(to_double(
              request.dtype,
              bits[static_cast<size_t>(b * strides.stride[0] + s * strides.stride[1] + h * strides.stride[2] + d)])));
  return values;
}

std::vector<float> floats_of(const NpyArray &array) {
  const std::vector<double> values = values_of(array);
  return {values.begin(), values.end()};
}

// A bias or mask [batch, heads, queries, keys], of which leading ones may be missing or 1 for "the same for all", in full.
template <typename Number>
std::vector<Number> in_full(const NpyArray &array, const Sizes &sizes) {
  std::vector<double> given = values_of(array);
  if (array.type == NpyType::uint16)
    for (double &bits : given) bits = bfloat16_to_double(static_cast<uint16_t>(bits));
  std::vector<int64_t> shape(4 - array.shape.size(), 1);
  shape.insert(shape.end(), array.shape.begin(), array.shape.end());
  const auto at = [&](size_t dimension, int64_t index) { return shape[dimension] == 1 ? 0 : index; };
  std::vector<Number> all;
  all.reserve(static_cast<size_t>(sizes.batch * sizes.heads_q * sizes.seqlen_q * sizes.seqlen_kv));
  for (int64_t batch = 0; batch < sizes.batch; ++batch)
    for (int64_t head = 0; head < sizes.heads_q; ++head)
      for (int64_t row = 0; row < sizes.seqlen_q; ++row) {
        const int64_t first = ((at(0, batch) * shape[1] + at(1, head)) * shape[2] + at(2, row)) * sizes.seqlen_kv;
        all.insert(all.end(), given.begin() + first, given.begin() + first + sizes.seqlen_kv);
      }
  return all;
}

double softmax_scale(const RunRequest &request, const Sizes &sizes) {
  if ((request.args.flags & FLASHCORE_FLAG_SOFTMAX_SCALE) != 0) return static_cast<double>(request.args.softmax_scale);
  return 1 / std::sqrt(static_cast<double>(sizes.head_dim));
}

ReferenceAttention reference_problem(const RunRequest &request, const Inputs &inputs) {
  const Sizes &sizes = inputs.sizes;
  const Args &args = request.args;
  ReferenceAttention problem;
  problem.batch = sizes.batch;
  problem.seqlen_q = sizes.seqlen_q;
  problem.seqlen_kv = sizes.seqlen_kv;
  problem.heads_q = sizes.heads_q;
  problem.heads_kv = sizes.heads_kv;
  problem.head_dim = sizes.head_dim;
  problem.head_dim_v = sizes.head_dim_v;
  problem.query = reordered<float>(inputs.query, request, sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim);
  problem.key = reordered<float>(inputs.key, request, sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim);
  problem.value =
      reordered<float>(inputs.value, request, sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim_v);
  problem.scale = softmax_scale(request, sizes);
  problem.softcap = static_cast<double>(args.softcap);
  problem.causal = args.causal == FLASHCORE_CAUSAL_TOP_LEFT       ? ReferenceCausal::top_left
                   : args.causal == FLASHCORE_CAUSAL_BOTTOM_RIGHT ? ReferenceCausal::bottom_right
                                                                  : ReferenceCausal::none;
  if ((args.flags & FLASHCORE_FLAG_WINDOW_LEFT) != 0) problem.window_left = args.window_left;
  if ((args.flags & FLASHCORE_FLAG_WINDOW_RIGHT) != 0) problem.window_right = args.window_right;
  problem.attention_chunk = args.attention_chunk;
  if ((args.flags & FLASHCORE_FLAG_POSITIONS) != 0)
    problem.query_position = args.query_position, problem.key_position = args.key_position;
  problem.lse_base2 = args.lse_base == FLASHCORE_LSE_BASE2;
  for (const ExtraArray &extra : inputs.extras) {
    if (extra.option == "alibi") problem.alibi_slopes = floats_of(extra.array);
    if (extra.option == "sinks") problem.sinks = floats_of(extra.array);
    if (extra.option == "bias") problem.bias = in_full<float>(extra.array, sizes);
    if (extra.option == "mask") problem.mask = in_full<uint8_t>(extra.array, sizes);
  }
  return problem;
}

// The fixed bounds of accuracy.hpp hold for normal inputs and plain attention over many keys.
bool is_plain_and_long(const RunRequest &request, const Inputs &inputs) {
  const Args &args = request.args;
  return request.random_seed && args.flags == 0 && args.softcap == 0 && args.causal == FLASHCORE_CAUSAL_NONE &&
         args.attention_chunk == 0 && inputs.extras.empty() && inputs.sizes.seqlen_kv >= 512;
}

}  // namespace

Step check_is_possible(const Inputs &inputs) {
  for (const ExtraArray &extra : inputs.extras) {
    const bool known =
        extra.option == "alibi" || extra.option == "sinks" || extra.option == "bias" || extra.option == "mask";
    if (!known)
      return usage_failure(fmt::format("option --check has no reference for --{} of {}; leave one of them out",
                                       extra.option, extra.array.describe()));
  }
  return Done{};
}

CheckResult check_result(const RunRequest &request, const Inputs &inputs, const Execution &execution,
                         const Console &console) {
  const Sizes &sizes = inputs.sizes;
  const int threads = reference_threads();
  Progress progress(console, "computing the float64 reference");
  const ReferenceAttention problem = reference_problem(request, inputs);
  const ReferenceResult truth = reference_attention(problem, threads);
  progress.update(1, 2);
  const ReferenceResult plain = plain_16bit_attention(problem, request.dtype, threads);
  const std::vector<double> output =
      reordered<double>(execution.output, request, sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v);
  const std::vector<double> lse(execution.lse.begin(), execution.lse.end());
  CheckResult check;
  check.error = measure_error(output, truth.output);
  check.gate =
      output_gate(request.dtype, measure_error(plain.output, truth.output), is_plain_and_long(request, inputs));
  check.lse_ratio = lse_gate_ratio(lse, truth.lse);
  return check;
}

}  // namespace flashcore::tools
