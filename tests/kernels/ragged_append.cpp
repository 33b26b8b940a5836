// SPDX-License-Identifier: Apache-2.0
//
// Ragged cases whose last keys the call appends, and whose queries and new keys it rotates. What the cache must hold after the call is known to
// the bit.
#include "kernels/ragged_tensor.hpp"

namespace flashcore::tests {
namespace {

constexpr uint16_t poison16 = 0xffff;  // a NaN in both types

}  // namespace

// Tables of any numbers, so that a wrong row or column shows.
struct RaggedOnDevice::Rotary {
  tools::Float16Type dtype;
  int64_t dim, table_rows;
  bool interleaved;
  std::vector<uint16_t> cos, sin;

  Rotary(const RaggedCase &one, int64_t rows, std::mt19937 &generator)
      : dtype(one.features.dtype), dim(one.rotary_dim), table_rows(rows), interleaved(one.interleaved) {
    std::uniform_real_distribution<double> number(-1, 1);
    for (std::vector<uint16_t> *table : {&cos, &sin})
      for (int64_t i = 0; i < rows * dim / 2; i++) table->push_back(tools::to_16bit(dtype, number(generator)));
  }
  // In place.
  void rotate(std::vector<uint16_t> &row, int64_t position) const {
    const int64_t table_row = std::clamp<int64_t>(position, 0, table_rows - 1);
    for (int64_t pair = 0; pair < dim / 2; pair++) {
      uint16_t &first = row[static_cast<size_t>(interleaved ? 2 * pair : pair)],
               &second = row[static_cast<size_t>(interleaved ? 2 * pair + 1 : pair + dim / 2)];
      const auto angle = static_cast<size_t>(table_row * dim / 2 + pair);
      const double x = tools::to_double(dtype, first), y = tools::to_double(dtype, second),
                   c = tools::to_double(dtype, cos[angle]), s = tools::to_double(dtype, sin[angle]);
      first = tools::to_16bit(dtype, static_cast<double>(static_cast<float>(x * c - y * s)));
      second = tools::to_16bit(dtype, static_cast<double>(static_cast<float>(y * c + x * s)));
    }
  }
};

void RaggedOnDevice::append_rows(std::mt19937 &generator) {
  const AttentionCase &features = case_.features;
  args_.seqlen_new = case_.seqlen_new;
  std::unique_ptr<Rotary> rotary;
  std::vector<int64_t> positions(case_.keys.size());
  for (size_t b = 0; b < positions.size(); b++) positions[b] = key_rows_[b] - case_.seqlen_new;
  if (case_.rotary_dim != 0) {
    args_.rotary_dim = case_.rotary_dim, args_.rotary_table_rows = case_.rotary_table_rows;
    if (case_.interleaved) args_.flags |= FLASHCORE_FLAG_ROTARY_INTERLEAVED;
    rotary = std::make_unique<Rotary>(case_, case_.rotary_table_rows != 0 ? case_.rotary_table_rows : args_.seqlen_kv,
                                      generator);
    args_.rotary_cos = put(rotary->cos), args_.rotary_sin = put(rotary->sin);
    if (case_.rotary_positions) {
      for (int64_t &position : positions)
        position = std::uniform_int_distribution<int64_t>(-5, rotary->table_rows + 5)(generator);
      args_.rotary_positions = put_indices(positions);
    }
    rotate_queries(*rotary, positions);
  }
  if (case_.seqlen_new == 0) return;

  std::normal_distribution<float> normal(0, features.input_std);
  const auto make = [&](int64_t columns) {
    auto tensor = std::make_unique<Tensor>(args_.batch, case_.seqlen_new, features.heads_kv, columns, case_.apart);
    tensor->first_row.assign(case_.keys.size(), 0);
    for (size_t b = 0; b < case_.keys.size(); b++) tensor->entry.push_back(static_cast<int64_t>(b));
    tensor->bits.assign(static_cast<size_t>(tensor->total()), poison16);
    return tensor;
  };
  new_key_ = make(features.head_dim), new_value_ = make(features.head_dim_v);
  std::vector<uint16_t> keys_before = key_->bits, values_before = value_->bits;
  for (size_t b = 0; b < case_.keys.size(); b++)
    for (int64_t n = 0; n < case_.seqlen_new; n++)
      for (int64_t head = 0; head < features.heads_kv; head++) {
        const int64_t row = case_.keys[b] - case_.seqlen_new + n;
        std::vector<uint16_t> line;
        for (int64_t column = 0; column < features.head_dim; column++) {
          line.push_back(tools::to_16bit(features.dtype, normal(generator)));
          new_key_->at(b, n, head, column) = line.back();
        }
        if (rotary) rotary->rotate(line, positions[b] + n);
        for (int64_t column = 0; column < features.head_dim; column++) {
          const uint16_t bits = line[static_cast<size_t>(column)];
          key_->at(b, row, head, column) = bits;
          keys_before[static_cast<size_t>(key_->index(b, row, head) + column)] = poison16;
          references_[b].key[static_cast<size_t>((row * features.heads_kv + head) * features.head_dim + column)] =
              static_cast<float>(tools::to_double(features.dtype, bits));
        }
        for (int64_t column = 0; column < features.head_dim_v; column++) {
          new_value_->at(b, n, head, column) = value_->at(b, row, head, column);
          values_before[static_cast<size_t>(value_->index(b, row, head) + column)] = poison16;
        }
      }
  for (Tensor *tensor : {new_key_.get(), new_value_.get()}) {
    tensor->buffer = std::make_unique<DeviceBuffer>(device_, tensor->total() * 2);
    tensor->buffer->write(tensor->bits.data());
  }
  new_key_->describe(args_.new_key, case_.apart), new_value_->describe(args_.new_value, case_.apart);
  key_->buffer->write(keys_before.data()), value_->buffer->write(values_before.data());
}

void RaggedOnDevice::rotate_queries(const Rotary &rotary, const std::vector<int64_t> &positions) {
  const AttentionCase &features = case_.features;
  const bool by_row = features.causal != tools::ReferenceCausal::none || features.window_left >= 0 ||
                      features.window_right >= 0 || features.attention_chunk != 0;
  for (size_t b = 0; b < case_.queries.size(); b++)
    for (int64_t row = 0; row < case_.queries[b]; row++)
      for (int64_t head = 0; head < features.heads_q; head++) {
        std::vector<uint16_t> line;
        for (int64_t column = 0; column < features.head_dim; column++) line.push_back(query_->at(b, row, head, column));
        rotary.rotate(line, positions[b] + (by_row ? row : 0));
        for (int64_t column = 0; column < features.head_dim; column++)
          references_[b].query[static_cast<size_t>((row * features.heads_q + head) * features.head_dim + column)] =
              static_cast<float>(tools::to_double(features.dtype, line[static_cast<size_t>(column)]));
      }
}

}  // namespace flashcore::tests
