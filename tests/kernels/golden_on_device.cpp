// SPDX-License-Identifier: Apache-2.0
#include "kernels/golden_on_device.hpp"

#include <algorithm>
#include <cstdio>

#include "common/accuracy.hpp"

namespace flashcore::tests {

using tools::Float16Type;

// Fields of the features that a case uses beyond sizes, types, causal masks and scale.
std::vector<std::string> feature_fields(const tools::ReferenceAttention &problem) {
  std::vector<std::string> fields;
  if (problem.window_left >= 0 || problem.window_right >= 0) fields = {"flags", "window_left", "window_right"};
  if (problem.attention_chunk != 0) fields.push_back("attention_chunk");
  if (problem.softcap != 0) fields.push_back("softcap");
  if (!problem.alibi_slopes.empty()) fields.push_back("alibi_slopes");
  if (!problem.bias.empty()) fields.push_back("bias");
  if (!problem.mask.empty()) fields.push_back("mask");
  if (!problem.sinks.empty()) fields.push_back("sinks");
  return fields;
}

GoldenOnDevice::GoldenOnDevice(const Device &device, const GoldenCase &golden, const std::string &kernel)
    : device_(device), golden_(golden), args_(FLASHCORE_ATTENTION_ARGS_INIT) {
  const tools::ReferenceAttention &problem = golden.problem;
  args_.batch = problem.batch, args_.seqlen_q = problem.seqlen_q, args_.seqlen_kv = problem.seqlen_kv;
  args_.heads_q = static_cast<int32_t>(problem.heads_q), args_.heads_kv = static_cast<int32_t>(problem.heads_kv);
  args_.head_dim = static_cast<int32_t>(problem.head_dim), args_.head_dim_v = static_cast<int32_t>(problem.head_dim_v);
  args_.query.dtype = golden.dtype == Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  args_.causal = static_cast<int32_t>(problem.causal);  // same numbers
  args_.flags = FLASHCORE_FLAG_SOFTMAX_SCALE;
  args_.softmax_scale = static_cast<float>(problem.scale);
  args_.query.data = upload_16bit(problem.query);
  args_.key.data = upload_16bit(problem.key);
  args_.value.data = upload_16bit(problem.value);
  set_features(problem);
  output_ =
      std::make_unique<DeviceBuffer>(device, static_cast<int64_t>(golden.expected.output.size() * sizeof(uint16_t)));
  lse_ = std::make_unique<DeviceBuffer>(device, static_cast<int64_t>(golden.expected.lse.size() * sizeof(float)));
  output_->fill(0xff);  // NaN: what is not written fails
  lse_->fill(0xff);
  args_.output.data = output_->address();
  args_.lse.data = lse_->address();
  std::snprintf(args_.kernel, sizeof(args_.kernel), "%s", kernel.c_str());
}

flashcore_status GoldenOnDevice::launch(flashcore_error *error) {
  return flashcore_attention_fwd(device_.context(), &args_, nullptr, error);
}

std::vector<double> GoldenOnDevice::output() const {
  std::vector<uint16_t> bits(golden_.expected.output.size());
  output_->read(bits.data());
  std::vector<double> values;
  for (uint16_t one : bits) values.push_back(tools::to_double(golden_.dtype, one));
  return values;
}

std::vector<double> GoldenOnDevice::lse() const {
  std::vector<float> values(golden_.expected.lse.size());
  lse_->read(values.data());
  return {values.begin(), values.end()};
}

uint64_t GoldenOnDevice::upload(const void *data, size_t bytes) {
  inputs_.push_back(std::make_unique<DeviceBuffer>(device_, static_cast<int64_t>(bytes)));
  inputs_.back()->write(data);
  return inputs_.back()->address();
}

uint64_t GoldenOnDevice::upload_16bit(const std::vector<float> &values) {
  std::vector<uint16_t> bits;
  for (float value : values) bits.push_back(tools::to_16bit(golden_.dtype, value));
  return upload(bits.data(), bits.size() * sizeof(uint16_t));
}

uint64_t GoldenOnDevice::upload_floats(const std::vector<float> &values) {
  return upload(values.data(), values.size() * sizeof(float));
}

void GoldenOnDevice::set_features(const tools::ReferenceAttention &problem) {
  if (problem.window_left >= 0) args_.flags |= FLASHCORE_FLAG_WINDOW_LEFT, args_.window_left = problem.window_left;
  if (problem.window_right >= 0) args_.flags |= FLASHCORE_FLAG_WINDOW_RIGHT, args_.window_right = problem.window_right;
  args_.attention_chunk = problem.attention_chunk;
  args_.softcap = static_cast<float>(problem.softcap);
  if (!problem.alibi_slopes.empty()) args_.alibi_slopes = upload_floats(problem.alibi_slopes);
  if (!problem.bias.empty()) {
    args_.bias.data = upload_floats(problem.bias);
    args_.bias.dtype = FLASHCORE_DTYPE_FLOAT32;
    const int64_t row = problem.seqlen_kv;
    const int64_t strides[4] = {0, row, problem.seqlen_q * row, 1};
    std::copy(std::begin(strides), std::end(strides), args_.bias.stride);
  }
  if (!problem.mask.empty()) {
    args_.mask.data = upload(problem.mask.data(), problem.mask.size());
    const int64_t row = problem.seqlen_kv, head = row * problem.seqlen_q;
    const int64_t strides[4] = {head * problem.heads_q, row, head, 1};
    std::copy(std::begin(strides), std::end(strides), args_.mask.stride);
  }
  if (!problem.sinks.empty()) {
    args_.sinks.data = upload_floats(problem.sinks);
    args_.sinks.dtype = FLASHCORE_DTYPE_FLOAT32;
  }
}

std::string GoldenOnDevice::problem() const {
  const auto plain = tools::plain_16bit_attention(golden_.problem, golden_.dtype, tools::reference_threads());
  const auto gate =
      tools::output_gate(golden_.dtype, tools::measure_error(plain.output, golden_.expected.output), false);
  const auto error = tools::measure_error(output(), golden_.expected.output);
  if (!gate.passes(error)) return error.describe() + "; gate: " + gate.describe();
  const double lse_share = tools::lse_gate_ratio(lse(), golden_.expected.lse);
  return lse_share <= 1 ? "" : "lse is " + std::to_string(lse_share) + " times as far off as its gate allows";
}

}  // namespace flashcore::tests
