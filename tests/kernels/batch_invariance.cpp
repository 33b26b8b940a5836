// SPDX-License-Identifier: Apache-2.0
#include "kernels/batch_invariance.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <sstream>

#include "common/float16.hpp"

namespace flashcore::tests {
namespace {

// Sequences one behind the other in memory.
class Sequences {
 public:
  Sequences(const Device &device, const InvarianceCase &one)
      : one_(one),
        bounds_q_(bounds(one.queries)),
        bounds_kv_(bounds(one.keys)),
        query_(device, bounds_q_.back() * one.heads_q * one.head_dim * 2),
        key_(device, bounds_kv_.back() * one.heads_kv * one.head_dim * 2),
        value_(device, bounds_kv_.back() * one.heads_kv * one.head_dim * 2),
        output_(device, bounds_q_.back() * one.heads_q * one.head_dim * element_bytes()),
        lse_(device, bounds_q_.back() * one.heads_q * 4),
        cu_q_(device, static_cast<int64_t>(bounds_q_.size()) * 8),
        cu_kv_(device, static_cast<int64_t>(bounds_kv_.size()) * 8) {
    std::mt19937 generator(31);
    for (const DeviceBuffer *input : {&query_, &key_, &value_}) fill(*input, generator);
    cu_q_.write(bounds_q_.data()), cu_kv_.write(bounds_kv_.data());
  }

  flashcore_attention_args args(size_t first, size_t count) const {
    const auto at = [&](const DeviceBuffer &buffer, int64_t elements, int64_t bytes) {
      return buffer.address() + static_cast<uint64_t>(elements * bytes);
    };
    flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
    args.batch = static_cast<int64_t>(count);
    args.heads_q = one_.heads_q, args.heads_kv = one_.heads_kv, args.head_dim = one_.head_dim;
    args.causal = one_.causal;
    args.query.dtype = one_.bfloat16 ? FLASHCORE_DTYPE_BFLOAT16 : FLASHCORE_DTYPE_FLOAT16;
    if (one_.float32_output) args.output.dtype = FLASHCORE_DTYPE_FLOAT32;
    if (one_.window_left >= 0) args.flags |= FLASHCORE_FLAG_WINDOW_LEFT, args.window_left = one_.window_left;
    args.split_tokens = one_.split_tokens;
    if (one_.split_tokens == 0) args.flags |= FLASHCORE_FLAG_BATCH_INVARIANT;
    args.seqlen_q = *std::max_element(&one_.queries[first], &one_.queries[first] + count);
    args.seqlen_kv = *std::max_element(&one_.keys[first], &one_.keys[first] + count);
    const int64_t row_q = one_.ragged ? 0 : bounds_q_[first], row_kv = one_.ragged ? 0 : bounds_kv_[first];
    args.query.data = at(query_, row_q * one_.heads_q * one_.head_dim, 2);
    args.key.data = at(key_, row_kv * one_.heads_kv * one_.head_dim, 2);
    args.value.data = at(value_, row_kv * one_.heads_kv * one_.head_dim, 2);
    args.output.data = at(output_, row_q * one_.heads_q * one_.head_dim, element_bytes());
    args.lse.data = at(lse_, row_q * one_.heads_q, 4);
    // Rows of all heads, row by row, whatever the call's lengths are.
    const int64_t lse_strides[] = {args.seqlen_q * one_.heads_q, one_.heads_q, 1, 0};
    std::copy_n(lse_strides, 4, args.lse.stride);
    if (!one_.ragged) return args;
    args.index_dtype = FLASHCORE_DTYPE_INT64;
    args.cu_seqlens_q = at(cu_q_, static_cast<int64_t>(first), 8), args.total_q = bounds_q_.back();
    args.cu_seqlens_kv = at(cu_kv_, static_cast<int64_t>(first), 8), args.total_kv = bounds_kv_.back();
    return args;
  }

  void poison() const { output_.fill(0xff), lse_.fill(0xff); }
  // The bits of a sequence.
  std::vector<uint8_t> bits(size_t sequence) const {
    std::vector<uint8_t> result;
    const auto append = [&](const DeviceBuffer &buffer, int64_t row_bytes) {
      std::vector<uint8_t> all(static_cast<size_t>(buffer.bytes()));
      buffer.read(all.data());
      result.insert(result.end(), all.begin() + bounds_q_[sequence] * row_bytes,
                    all.begin() + bounds_q_[sequence + 1] * row_bytes);
    };
    append(output_, one_.heads_q * one_.head_dim * element_bytes());
    append(lse_, one_.heads_q * 4);
    return result;
  }

 private:
  int64_t element_bytes() const { return one_.float32_output ? 4 : 2; }
  static std::vector<int64_t> bounds(const std::vector<int64_t> &lengths) {
    std::vector<int64_t> result = {0};
    for (const int64_t length : lengths) result.push_back(result.back() + length);
    return result;
  }
  void fill(const DeviceBuffer &buffer, std::mt19937 &generator) const {
    std::normal_distribution<double> normal(0, 1);
    std::vector<uint16_t> halves(static_cast<size_t>(buffer.bytes() / 2));
    for (uint16_t &half : halves)
      half = tools::to_16bit(one_.bfloat16 ? tools::Float16Type::bfloat16 : tools::Float16Type::float16,
                             static_cast<float>(normal(generator)));
    if (!halves.empty()) buffer.write(halves.data());
  }

  const InvarianceCase &one_;
  std::vector<int64_t> bounds_q_, bounds_kv_;
  DeviceBuffer query_, key_, value_, output_, lse_, cu_q_, cu_kv_;
};

}  // namespace

std::string InvarianceCase::describe() const {
  std::ostringstream text;
  text << (ragged ? "ragged" : "dense");
  for (size_t i = 0; i < queries.size(); ++i) text << ' ' << queries[i] << 'x' << keys[i];
  text << " h" << heads_q << '/' << heads_kv << " d" << head_dim << (bfloat16 ? " bf16" : " fp16")
       << (float32_output ? " out32" : "") << " causal" << causal;
  if (window_left >= 0) text << " left" << window_left;
  if (split_tokens != 0) text << " piece-keys" << split_tokens;
  return text.str();
}

InvarianceOutcome check_invariance(const Device &device, const InvarianceCase &one, const Compute &compute) {
  const Sequences sequences(device, one);
  const size_t all = one.queries.size();
  InvarianceOutcome outcome;
  std::vector<std::vector<uint8_t>> alone;
  for (size_t count = 1; count <= all; count = count < 3 || count == all ? count + 1 : all) {
    for (size_t first = 0; first + count <= all; first += count == 1 ? 1 : (count + 1) / 2) {
      sequences.poison();
      flashcore_attention_args args = sequences.args(first, count);
      if (!compute(args)) return outcome;
      for (size_t i = first; i < first + count; ++i) {
        if (count == 1) {
          alone.push_back(sequences.bits(i));
          continue;
        }
        outcome.compared++;
        if (sequences.bits(i) == alone[i]) continue;
        outcome.problem = one.describe() + ": sequence " + std::to_string(i) + " has other bits in a call of " +
                          std::to_string(count) + " from " + std::to_string(first) + " on than alone";
        return outcome;
      }
    }
  }
  return outcome;
}

std::vector<InvarianceCase> invariance_cases() {
  std::vector<InvarianceCase> cases;
  for (const bool ragged : {false, true})
    for (const int64_t queries : {1, 4, 130})
      for (const int64_t tokens : {0, 96})
        for (const int64_t window : {-1, 400}) {
          InvarianceCase one;
          for (const int64_t keys : {300, 20, 1500, 700, 513}) {
            one.queries.push_back(ragged && queries > 4 ? queries - 20 * (keys % 4) : queries);
            one.keys.push_back(ragged ? keys : 1100);
          }
          one.ragged = ragged, one.split_tokens = tokens, one.window_left = window;
          one.bfloat16 = cases.size() % 2 == 0, one.float32_output = cases.size() % 5 == 4;
          one.head_dim = cases.size() % 3 == 2 ? 128 : 64;
          cases.push_back(one);
        }
  return cases;
}

}  // namespace flashcore::tests
