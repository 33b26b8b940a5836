// SPDX-License-Identifier: Apache-2.0
#include "kernels/variant_cases.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "common/accuracy.hpp"

namespace flashcore::tests {
namespace {

template <typename T>
std::vector<uint8_t> bytes_of(const std::vector<T> &values) {
  std::vector<uint8_t> bytes((values.size() * sizeof(T) + 7) / 8 * 8);
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), values.size() * sizeof(T));
  return bytes;
}

struct KeyRange {
  int32_t begin, end;
};

// Documents of unequal length, one of them of no query's at all: its keys belong to nobody.
VariantCase document_mask(AttentionCase shape) {
  shape.seqlen_q = shape.seqlen_kv = 300;
  const std::vector<KeyRange> documents = {{0, 70}, {70, 71}, {71, 190}, {190, 190}, {200, 300}};
  std::vector<KeyRange> of_query;
  for (int32_t query = 0; query < 300; ++query) {
    KeyRange own = {0, 0};  // queries 190 .. 199 see no key
    for (const KeyRange &one : documents)
      if (query >= one.begin && query < one.end) own = one;
    of_query.push_back(own);
  }
  VariantCase one{"document_mask", shape, bytes_of(of_query), {}, {}};
  one.visible = [of_query](int64_t, int64_t, int64_t query, int64_t key) {
    const KeyRange &own = of_query[static_cast<size_t>(query)];
    return key >= own.begin && key < own.end;
  };
  one.garbage_begin = 80, one.garbage_end = 100;
  return one;
}

VariantCase prefix_lm(AttentionCase shape) {
  shape.batch = 2, shape.seqlen_q = shape.seqlen_kv = 150;
  const std::vector<int32_t> prefix = {37, 0};
  VariantCase one{"prefix_lm", shape, bytes_of(prefix), {}, {}};
  one.visible = [prefix](int64_t batch, int64_t, int64_t query, int64_t key) {
    return key <= query || (query < prefix[static_cast<size_t>(batch)] && key < prefix[static_cast<size_t>(batch)]);
  };
  one.garbage_begin = 120, one.garbage_end = 150;
  return one;
}

// Each draft's parent is drawn; the first ones hang on the context.
VariantCase tree_mask(AttentionCase shape) {
  constexpr int64_t drafts = 24, context = 100;
  shape.seqlen_q = drafts, shape.seqlen_kv = context + drafts;
  std::vector<uint64_t> params = {context};
  uint32_t drawn = 5;
  for (int64_t i = 0; i < drafts; ++i) {
    drawn = drawn * 1664525 + 1013904223;
    const auto parent = i < 3 ? int64_t{-1} : static_cast<int64_t>(drawn >> 8) % i;
    params.push_back((parent < 0 ? 0 : params[static_cast<size_t>(parent + 1)]) | uint64_t{1} << i);
  }
  params.resize(65);
  VariantCase one{"tree_mask", shape, bytes_of(params), {}, {}};
  one.visible = [params](int64_t, int64_t, int64_t query, int64_t key) {
    return key < context || (params[static_cast<size_t>(query + 1)] >> (key - context) & 1) != 0;
  };
  one.garbage_begin = context + 9, one.garbage_end = context + 14;
  return one;
}

VariantCase relative_bias(AttentionCase shape) {
  static constexpr int64_t reach = 16, width = 2 * reach + 1;
  std::vector<float> table;
  for (int64_t i = 0; i < shape.heads_q * width; ++i) table.push_back(0.25f * static_cast<float>(i * 7 % 11 - 5));
  VariantCase one{"relative_bias", shape, bytes_of(table), {}, {}};
  one.score = [table](double score, int64_t, int64_t head, int64_t query, int64_t key) {
    const int64_t held = std::clamp(key - query, -reach, reach);
    return score + static_cast<double>(table[static_cast<size_t>(head * width + reach + held)]);
  };
  return one;
}

VariantCase tanh_cap(AttentionCase shape) {
  VariantCase one{"tanh_cap", shape, bytes_of(std::vector<float>{0.75f}), {}, {}};
  one.score = [](double score, int64_t, int64_t, int64_t, int64_t) { return 0.75 * std::tanh(score / 0.75); };
  return one;
}

VariantCase dilated_window(AttentionCase shape) {
  VariantCase one{"dilated_window", shape, {}, {}, {}};
  one.visible = [](int64_t, int64_t, int64_t query, int64_t key) {
    return key <= query && query - key <= 48 && (query - key) % 3 == 0;
  };
  one.garbage_begin = 40, one.garbage_end = 41;
  return one;
}

VariantCase block_sparse(AttentionCase shape) {
  shape.seqlen_q = 140, shape.seqlen_kv = 270;
  std::vector<uint32_t> table;
  for (int32_t head = 0; head < shape.heads_q; ++head)
    for (uint32_t row = 0; row < 8; ++row)
      table.push_back((0x41u << row | 0x100u >> row) & (row == 3 ? 0u : ~(1u << static_cast<uint32_t>(head))));
  VariantCase one{"block_sparse", shape, bytes_of(table), {}, {}};
  one.visible = [table](int64_t, int64_t head, int64_t query, int64_t key) {
    return (table[static_cast<size_t>(head * 8 + query / 32)] >> (key / 32) & 1) != 0;
  };
  one.garbage_begin = 70, one.garbage_end = 80;
  return one;
}

VariantCase distance_penalty(AttentionCase shape) {
  std::vector<float> slopes;
  for (int32_t head = 0; head < shape.heads_q; ++head) slopes.push_back(0.3f * static_cast<float>(head + 1));
  VariantCase one{"distance_penalty", shape, bytes_of(slopes), {}, {}};
  one.score = [slopes](double score, int64_t, int64_t head, int64_t query, int64_t key) {
    return score - static_cast<double>(slopes[static_cast<size_t>(head)]) *
                       std::log1p(static_cast<double>(std::abs(query - key)));
  };
  return one;
}

VariantCase softplus(AttentionCase shape) {
  VariantCase one{"softplus", shape, {}, {}, {}};
  one.score = [](double score, int64_t, int64_t, int64_t, int64_t) { return std::log1p(std::exp(score)); };
  return one;
}

VariantCase head_temperature(AttentionCase shape) {
  std::vector<float> inverse;
  for (int32_t head = 0; head < shape.heads_q; ++head) inverse.push_back(0.5f + static_cast<float>(head));
  VariantCase one{"head_temperature", shape, bytes_of(inverse), {}, {}};
  one.score = [inverse](double score, int64_t, int64_t head, int64_t, int64_t) {
    return score * static_cast<double>(inverse[static_cast<size_t>(head)]);
  };
  return one;
}

}  // namespace

std::vector<VariantCase> variant_cases() {
  using tools::ReferenceCausal;
  constexpr auto bf16 = tools::Float16Type::bfloat16;
  const AttentionCase plain = {.seqlen_q = 130, .seqlen_kv = 150, .heads_q = 4, .heads_kv = 2},
                      causal = {.seqlen_q = 130,
                                .seqlen_kv = 150,
                                .heads_q = 4,
                                .heads_kv = 2,
                                .dtype = bf16,
                                .causal = ReferenceCausal::bottom_right,
                                .softcap = 2.0f,
                                .alibi = Alibi::by_head,
                                .sinks = 1.0f},
                      few = {.seqlen_q = 3, .seqlen_kv = 300, .heads_q = 8, .heads_kv = 2};
  return {document_mask(plain),
          document_mask(causal),
          prefix_lm(plain),
          tree_mask(plain),
          relative_bias(plain),
          relative_bias(few),
          tanh_cap(plain),
          dilated_window(plain),
          dilated_window({.batch = 2, .seqlen_q = 100, .seqlen_kv = 100, .scale = -0.2f, .window_left = 20}),
          block_sparse(plain),
          distance_penalty(plain),
          distance_penalty(causal),
          softplus(plain),
          head_temperature(plain),
          head_temperature(few)};
}

std::vector<RaggedVariantCase> ragged_variant_cases() {
  const std::vector<int32_t> prefix = {37, 0, 5, 0};
  VariantCase variant{"prefix_lm", {}, bytes_of(prefix), {}, {}};
  variant.visible = [prefix](int64_t sequence, int64_t, int64_t query, int64_t key) {
    const int32_t own = prefix[static_cast<size_t>(sequence)];
    return key <= query || (query < own && key < own);
  };
  std::vector<RaggedVariantCase> cases;
  for (const KeyPlaces places : {KeyPlaces::in_line, KeyPlaces::cache, KeyPlaces::pages}) {
    RaggedCase rows{.queries = {70, 1, 0, 129}, .keys = {100, 65, 33, 0}, .key_places = places};
    rows.left_padding = places == KeyPlaces::cache;
    rows.features.heads_q = 4, rows.features.lse = LseRequest::natural;
    cases.push_back({variant, rows});
  }
  return cases;
}

std::string variant_text(const std::string &name) {
  std::ifstream file(std::string(FLASHCORE_VARIANT_EXAMPLES) + "/" + name + ".cpp");
  if (!file) throw std::runtime_error("examples/variants has no " + name + ".cpp");
  return {std::istreambuf_iterator<char>(file), {}};
}

VariantRun::VariantRun(const Device &device, const VariantCase &one, const std::string &kernel)
    : one_(one), run_(device, one.shape, kernel), params_(device, static_cast<int64_t>(one.params.size())) {
  if (!one.params.empty()) params_.write(one.params.data());
  run_.args().variant_params = params_.address();
  plant_garbage(device);
}

void VariantRun::plant_garbage(const Device &device) {
  const uint16_t infinity = one_.shape.dtype == tools::Float16Type::float16 ? 0x7c00 : 0x7f80;
  const auto fill = [&](const flashcore_tensor &tensor, int64_t row_elements) {
    std::vector<uint16_t> row(static_cast<size_t>(row_elements));
    for (size_t i = 0; i < row.size(); ++i) row[i] = i % 3 == 0 ? 0xffff : i % 3 == 1 ? infinity : infinity | 0x8000;
    for (int64_t batch = 0; batch < one_.shape.batch; ++batch)
      for (int64_t key = one_.garbage_begin; key < one_.garbage_end; ++key) {
        const uint64_t at =
            tensor.data + static_cast<uint64_t>((batch * one_.shape.seqlen_kv + key) * row_elements * 2);
        flashcore_error error = FLASHCORE_ERROR_INIT;
        if (flashcore_copy_to_device(device.context(), at, row.data(), row_elements * 2, nullptr, &error) !=
            FLASHCORE_OK)
          throw std::runtime_error(error.message);
      }
  };
  fill(run_.args().key, one_.shape.heads_kv * one_.shape.head_dim);
  fill(run_.args().value, one_.shape.heads_kv * one_.shape.head_dim_v);
}

// In the order of LSE's rows, [batch, heads_q, seqlen_q], or of the output's, [batch, seqlen_q, heads_q, columns].
std::vector<uint8_t> VariantRun::rows_compared(int64_t elements_of_row) const {
  const AttentionCase &shape = one_.shape;
  const bool is_lse = elements_of_row == 1;
  std::vector<uint8_t> compared;
  for (int64_t batch = 0; batch < shape.batch; ++batch)
    for (int64_t i = 0; i < shape.seqlen_q * shape.heads_q; ++i) {
      const int64_t head = is_lse ? i / shape.seqlen_q : i % shape.heads_q,
                    query = is_lse ? i % shape.seqlen_q : i / shape.heads_q;
      bool sees_garbage = false;
      for (int64_t key = one_.garbage_begin; key < one_.garbage_end; ++key)
        sees_garbage = sees_garbage ||
                       (one_.visible(batch, head, query, key) && tools::key_is_visible(run_.reference(), query, key));
      compared.insert(compared.end(), static_cast<size_t>(elements_of_row), !sees_garbage);
    }
  return compared;
}

CaseOutcome VariantRun::judge() const {
  const auto output = run_.read_output();
  const auto lse = run_.read_lse();
  if (const std::string problem = run_.guard_problem(output, lse); !problem.empty())
    return {Verdict::failed, one_.describe() + ": " + problem};
  tools::ReferenceAttention problem = run_.reference();
  problem.variant_score = one_.score, problem.variant_visible = one_.visible;
  const int threads = tools::reference_threads();
  const auto expected = tools::reference_attention(problem, threads);
  const auto rounded = tools::plain_16bit_attention(problem, one_.shape.dtype, threads);
  const auto compared = rows_compared(one_.shape.head_dim_v);
  const auto gate =
      tools::output_gate(one_.shape.dtype, tools::measure_error(rounded.output, expected.output, compared), false);
  const auto error = tools::measure_error(run_.output_values(output), expected.output, compared);
  CaseOutcome outcome{Verdict::passed, "", error.max_abs, error.mean_abs, gate.max_abs};
  outcome.lse_share = tools::lse_gate_ratio(run_.lse_values(lse), expected.lse, rows_compared(1));
  if (error.compared == 0 || !gate.passes(error))
    outcome = {Verdict::failed, one_.describe() + ": output " + error.describe() + "; gate: " + gate.describe()};
  else if (!(outcome.lse_share <= 1))
    outcome = {Verdict::failed, one_.describe() + ": lse is " + std::to_string(outcome.lse_share) + " times its gate"};
  return outcome;
}

}  // namespace flashcore::tests
