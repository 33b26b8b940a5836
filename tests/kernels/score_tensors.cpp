// SPDX-License-Identifier: Apache-2.0
#include "kernels/score_tensors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/float16.hpp"
#include "flashcore/flashcore.h"

namespace flashcore::tests {
namespace {

using tools::Float16Type;

// Of an index by batch, query, head and key, those parts that make a difference; the others are 0.
struct Place {
  int64_t batch, query, head, key;
};
Place distinct(ScoreLayout layout, Place place) {
  if (layout == ScoreLayout::by_head || layout == ScoreLayout::by_key) place.batch = 0;
  if (layout == ScoreLayout::by_key || layout == ScoreLayout::by_batch_and_key) place.query = place.head = 0;
  if (layout == ScoreLayout::by_query) place.key = 0;
  return place;
}

template <typename Function>
void for_each_place(const AttentionCase &one, Function function) {
  for (int64_t batch = 0; batch < one.batch; ++batch)
    for (int64_t head = 0; head < one.heads_q; ++head)
      for (int64_t query = 0; query < one.seqlen_q; ++query)
        for (int64_t key = 0; key < one.seqlen_kv; ++key) function(Place{batch, query, head, key});
}

// The same for the same place, whatever was asked before.
uint32_t hashed(uint32_t seed, const Place &place) {
  uint64_t x = seed;
  for (const int64_t part : {place.batch, place.query, place.head, place.key})
    x = (x ^ static_cast<uint64_t>(part)) * 0x9e3779b97f4a7c15u, x ^= x >> 29;
  return static_cast<uint32_t>(x >> 16);
}

bool is_hidden(const AttentionCase &one, ScoreLayout layout, uint32_t seed, const Place &place) {
  const Place of = distinct(layout, place);
  const auto share = [&](const Place &which) { return hashed(seed, which) % 1000; };
  switch (one.hidden) {
    case Hidden::nothing:
      return false;
    case Hidden::some:
      return share(of) < 300;
    case Hidden::most:
      return share(of) < 980;
    case Hidden::all:
      return true;
    case Hidden::last_keys:  // of each batch entry another number
      return of.key >= one.seqlen_kv - (one.seqlen_kv / 3 + of.batch * 7) % one.seqlen_kv;
    case Hidden::first_keys:
      return of.key < (one.seqlen_kv * 2 / 3 + of.batch * 7) % one.seqlen_kv;
    case Hidden::other_documents: {  // three, whose borders queries and keys have at the same shares
      const auto document = [](int64_t index, int64_t size) { return index * 3 / std::max<int64_t>(size, 1); };
      return document(of.query, one.seqlen_q) != document(of.key, one.seqlen_kv);
    }
    case Hidden::rows:  // every other query sees nothing, the others all
      return of.query % 2 == 1;
  }
  return false;
}

double rounded(BiasType type, Float16Type of_query, double value) {
  if (type == BiasType::float32) return static_cast<double>(static_cast<float>(value));
  const bool half = type == BiasType::float16 || (type == BiasType::of_query && of_query == Float16Type::float16);
  const Float16Type of_bias = half ? Float16Type::float16 : Float16Type::bfloat16;
  return tools::to_double(of_bias, tools::to_16bit(of_bias, value));
}
double lowest(BiasType type, Float16Type of_query) {
  const bool half = type == BiasType::float16 || (type == BiasType::of_query && of_query == Float16Type::float16);
  return half ? -65504.0
              : rounded(type, of_query, -static_cast<double>(std::numeric_limits<float>::max()) * (1 - 0x1p-8));
}

// Strides [batch, query, head, key] of a layout, in elements, with odd gaps where the case's tensors have them.
void set_strides(const AttentionCase &one, ScoreLayout layout, int64_t (&strides)[4]) {
  const bool odd = one.layout == Layout::odd;
  const int64_t keys = layout == ScoreLayout::transposed ? one.seqlen_q + (odd ? 3 : 0) : 1;
  const int64_t row = layout == ScoreLayout::transposed ? 1 : one.seqlen_kv + (odd ? 2 : 0);
  const int64_t head = layout == ScoreLayout::transposed ? keys * one.seqlen_kv : row * one.seqlen_q;
  const bool by_key = layout == ScoreLayout::by_key || layout == ScoreLayout::by_batch_and_key;
  const bool one_batch = layout == ScoreLayout::by_head || layout == ScoreLayout::by_key;
  strides[0] = one_batch ? 0 : by_key ? one.seqlen_kv + 5 : head * one.heads_q + (odd ? 1 : 0);
  strides[1] = by_key ? 0 : row;
  strides[2] = by_key ? 0 : head;
  strides[3] = layout == ScoreLayout::by_query ? 0 : keys;
  if (layout != ScoreLayout::packed) return;
  strides[3] = 1, strides[2] = one.seqlen_kv, strides[1] = strides[2] * one.heads_q;
  strides[0] = strides[1] * one.seqlen_q;
}

template <typename Number>
ScoreTensorInMemory in_memory(const AttentionCase &one, ScoreLayout layout, int64_t element_bytes, uint8_t garbage,
                              const std::vector<Number> &numbers,
                              void (*store)(const AttentionCase &, Number, uint8_t *)) {
  ScoreTensorInMemory memory;
  set_strides(one, layout, memory.strides);
  memory.first_byte = 64 + (one.layout == Layout::odd ? element_bytes : 0);
  const auto byte_of = [&](const Place &place) {
    return static_cast<size_t>(memory.first_byte +
                               element_bytes * (place.batch * memory.strides[0] + place.query * memory.strides[1] +
                                                place.head * memory.strides[2] + place.key * memory.strides[3]));
  };
  size_t index = 0;
  for_each_place(one, [&](const Place &place) {
    memory.bytes.resize(std::max(memory.bytes.size(), byte_of(place) + static_cast<size_t>(element_bytes)), garbage);
    store(one, numbers[index++], memory.bytes.data() + byte_of(place));
  });
  if (layout == ScoreLayout::packed) std::fill(std::begin(memory.strides), std::end(memory.strides), 0);
  return memory;
}

}  // namespace

std::vector<float> bias_of(const AttentionCase &one, std::mt19937 &generator) {
  std::vector<float> bias;
  if (one.bias == ScoreLayout::none) return bias;
  const uint32_t seed = generator();
  for_each_place(one, [&](const Place &place) {
    // Of two uniform numbers one normal one.
    const Place of = distinct(one.bias, place);
    const double u = (hashed(seed, of) + 1.0) / 0x1p32, v = hashed(seed + 1, of) / 0x1p32;
    double value = std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v) * static_cast<double>(one.bias_std);
    if (one.hidden_by_bias && is_hidden(one, one.bias, seed + 2, place))
      value = one.hidden_by_lowest ? lowest(one.bias_type, one.dtype) : -std::numeric_limits<double>::infinity();
    bias.push_back(static_cast<float>(rounded(one.bias_type, one.dtype, value)));
  });
  return bias;
}

std::vector<uint8_t> mask_of(const AttentionCase &one, std::mt19937 &generator) {
  std::vector<uint8_t> mask;
  if (one.mask == ScoreLayout::none) return mask;
  const uint32_t seed = generator();
  for_each_place(one, [&](const Place &place) {
    constexpr uint8_t shown[] = {1, 0x80, 0xff};  // any that is not 0
    const uint32_t which = hashed(seed, distinct(one.mask, place)) % 3;
    mask.push_back(is_hidden(one, one.mask, seed, place) ? 0 : shown[which]);
  });
  return mask;
}

ScoreTensorInMemory laid_out(const AttentionCase &one, const std::vector<float> &bias) {
  const bool wide = one.bias_type == BiasType::float32;
  ScoreTensorInMemory memory = in_memory<float>(
      one, one.bias, wide ? 4 : 2, 0xff, bias, [](const AttentionCase &of, float value, uint8_t *place) {
        if (of.bias_type == BiasType::float32) {
          std::memcpy(place, &value, sizeof(value));
          return;
        }
        const bool half = of.bias_type == BiasType::float16 ||
                          (of.bias_type == BiasType::of_query && of.dtype == Float16Type::float16);
        const uint16_t bits =
            tools::to_16bit(half ? Float16Type::float16 : Float16Type::bfloat16, static_cast<double>(value));
        std::memcpy(place, &bits, sizeof(bits));
      });
  const int32_t types[] = {FLASHCORE_DTYPE_DEFAULT, FLASHCORE_DTYPE_FLOAT16, FLASHCORE_DTYPE_BFLOAT16,
                           FLASHCORE_DTYPE_FLOAT32};
  memory.dtype = types[static_cast<int>(one.bias_type)];
  return memory;
}

ScoreTensorInMemory laid_out(const AttentionCase &one, const std::vector<uint8_t> &mask) {
  return in_memory<uint8_t>(one, one.mask, 1, 1, mask,
                            [](const AttentionCase &, uint8_t value, uint8_t *place) { *place = value; });
}

}  // namespace flashcore::tests
