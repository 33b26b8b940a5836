// SPDX-License-Identifier: Apache-2.0
//
// An attention problem in host memory, with random inputs, as the CPU backend takes it and as the reference takes it.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "common/reference_attention.hpp"
#include "problem/attention_problem.hpp"

namespace flashcore::tests {

struct HostShape {
  int64_t batch = 1, seqlen_q = 64, seqlen_kv = 64;
  int32_t heads_q = 2, heads_kv = 2, head_dim = 64, head_dim_v = 64;
  tools::Float16Type dtype = tools::Float16Type::float16;
  tools::ReferenceCausal causal = tools::ReferenceCausal::none;
  float scale = 0.125f;
  float input_std = 1;
};

class HostProblem {
 public:
  explicit HostProblem(const HostShape &shape) {
    reference.batch = shape.batch;
    reference.seqlen_q = shape.seqlen_q;
    reference.seqlen_kv = shape.seqlen_kv;
    reference.heads_q = shape.heads_q;
    reference.heads_kv = shape.heads_kv;
    reference.head_dim = shape.head_dim;
    reference.head_dim_v = shape.head_dim_v;
    reference.scale = shape.scale;
    reference.causal = shape.causal;
    std::mt19937 generator(5);
    std::normal_distribution<float> normal(0, shape.input_std);
    const auto fill = [&](std::vector<uint16_t> &bits, std::vector<float> &values, int64_t count) {
      for (int64_t n = 0; n < count; n++) {
        bits.push_back(tools::to_16bit(shape.dtype, normal(generator)));
        values.push_back(static_cast<float>(tools::to_double(shape.dtype, bits.back())));
      }
    };
    fill(query, reference.query, shape.batch * shape.seqlen_q * shape.heads_q * shape.head_dim);
    fill(key, reference.key, shape.batch * shape.seqlen_kv * shape.heads_kv * shape.head_dim);
    fill(value, reference.value, shape.batch * shape.seqlen_kv * shape.heads_kv * shape.head_dim_v);
    output.assign(static_cast<size_t>(shape.batch * shape.seqlen_q * shape.heads_q * shape.head_dim_v), 0xffff);  // NaN
    lse.assign(static_cast<size_t>(shape.batch * shape.seqlen_q * shape.heads_q), NAN);

    problem.key = {shape.batch,
                   shape.seqlen_q,
                   shape.seqlen_kv,
                   shape.heads_q,
                   shape.heads_kv,
                   shape.head_dim,
                   shape.head_dim_v,
                   shape.dtype == tools::Float16Type::float16 ? kernels::dtype_float16 : kernels::dtype_bfloat16,
                   static_cast<int32_t>(shape.causal),  // same numbers
                   2,
                   -1};
    problem.key.kv_batches = shape.batch;
    problem.tensors[fwd::query] = contiguous(query, shape.seqlen_q, shape.heads_q, shape.head_dim);
    problem.tensors[fwd::key] = contiguous(key, shape.seqlen_kv, shape.heads_kv, shape.head_dim);
    problem.tensors[fwd::value] = contiguous(value, shape.seqlen_kv, shape.heads_kv, shape.head_dim_v);
    problem.tensors[fwd::output] = contiguous(output, shape.seqlen_q, shape.heads_q, shape.head_dim_v);
    problem.tensors[fwd::lse] = {reinterpret_cast<uint64_t>(lse.data()), shape.heads_q * shape.seqlen_q, 1,
                                 shape.seqlen_q};
    problem.softmax_scale = shape.scale;
    dtype = shape.dtype;
  }
  HostProblem(const HostProblem &) = delete;
  HostProblem &operator=(const HostProblem &) = delete;

  std::vector<double> output_values() const {
    std::vector<double> values;
    for (uint16_t bits : output) values.push_back(tools::to_double(dtype, bits));
    return values;
  }
  std::vector<double> lse_values() const { return {lse.begin(), lse.end()}; }

  tools::Float16Type dtype;
  tools::ReferenceAttention reference;
  std::vector<uint16_t> query, key, value, output;
  std::vector<float> lse;
  AttentionProblem problem;

 private:
  static ProblemTensor contiguous(const std::vector<uint16_t> &data, int64_t rows, int64_t heads, int64_t columns) {
    return {reinterpret_cast<uint64_t>(data.data()), rows * heads * columns, heads * columns, columns};
  }
};

}  // namespace flashcore::tests
