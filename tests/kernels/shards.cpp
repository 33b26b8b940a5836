// SPDX-License-Identifier: Apache-2.0
#include "kernels/shards.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <sstream>
#include <utility>

#include "common/float16.hpp"

namespace flashcore::tests {
namespace {

constexpr int64_t batch = 2, queries = 9, heads = 3, columns = 64;
constexpr int64_t rows = batch * queries * heads;

std::vector<uint16_t> random_halves(int64_t count, tools::Float16Type type, std::mt19937 &random) {
  std::normal_distribution<double> normal(0, 1);
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  for (uint16_t &half : halves) half = tools::to_16bit(type, static_cast<float>(normal(random)));
  return halves;
}

template <typename T>
std::vector<T> read(const DeviceBuffer &buffer) {
  std::vector<T> values(static_cast<size_t>(buffer.bytes()) / sizeof(T));
  buffer.read(values.data());
  return values;
}

// What hides keys, or changes scores by where they are.
enum class Hiding { nothing, causal, window, chunks, alibi };

struct Attention {
  const Device &device;
  tools::Float16Type type;
  int64_t keys;
  Hiding hiding;
  int64_t query_position;  // of query 0, where something is hidden
  DeviceBuffer query, key, value, sinks, slopes;

  Attention(const Device &on, tools::Float16Type dtype, int64_t key_count, Hiding what, std::mt19937 &random)
      : device(on),
        type(dtype),
        keys(key_count),
        hiding(what),
        query_position(std::uniform_int_distribution<int64_t>(0, key_count + 4)(random)),
        query(on, rows * columns * 2),
        key(on, batch * key_count * heads * columns * 2),
        value(on, batch * key_count * heads * columns * 2),
        sinks(on, heads * 4),
        slopes(on, heads * 4) {
    query.write(random_halves(rows * columns, type, random).data());
    key.write(random_halves(batch * keys * heads * columns, type, random).data());
    value.write(random_halves(batch * keys * heads * columns, type, random).data());
    const float logits[heads] = {0.5f, 3.0f, -2.0f}, of_distance[heads] = {0.01f, 0.1f, 0.5f};
    sinks.write(logits), slopes.write(of_distance);
  }
  int32_t dtype() const {
    return type == tools::Float16Type::bfloat16 ? FLASHCORE_DTYPE_BFLOAT16 : FLASHCORE_DTYPE_FLOAT16;
  }
  // False where it is refused.
  bool run(const ComputeShard &compute, int64_t first_key, int64_t key_count, bool with_sinks, uint64_t output,
           uint64_t lse) const {
    flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
    args.batch = batch, args.seqlen_q = queries, args.seqlen_kv = key_count;
    args.heads_q = heads, args.head_dim = columns;
    args.query.dtype = dtype();
    args.query.data = query.address(), args.output.data = output, args.lse.data = lse;
    args.output.dtype = FLASHCORE_DTYPE_FLOAT32;
    args.key.data = key.address() + static_cast<uint64_t>(first_key * heads * columns * 2);
    args.value.data = value.address() + static_cast<uint64_t>(first_key * heads * columns * 2);
    for (flashcore_tensor *tensor : {&args.key, &args.value}) {
      const int64_t strides[] = {keys * heads * columns, heads * columns, columns, 1};
      std::copy_n(strides, 4, tensor->stride);
    }
    if (with_sinks) args.sinks.data = sinks.address();
    if (hiding != Hiding::nothing) {
      args.flags = FLASHCORE_FLAG_POSITIONS;
      args.query_position = query_position, args.key_position = first_key;
      args.causal = hiding == Hiding::alibi ? FLASHCORE_CAUSAL_NONE : FLASHCORE_CAUSAL_BOTTOM_RIGHT;
    }
    if (hiding == Hiding::window) args.flags |= FLASHCORE_FLAG_WINDOW_LEFT, args.window_left = 40;
    if (hiding == Hiding::chunks) args.attention_chunk = 48;
    if (hiding == Hiding::alibi) args.alibi_slopes = slopes.address();
    return compute(args);
  }
};

// Borders of 1 to 8 shards, some of them empty, in the order in which they are merged.
std::vector<std::pair<int64_t, int64_t>> random_shards(int64_t keys, std::mt19937 &random) {
  std::vector<int64_t> borders(std::uniform_int_distribution<size_t>(0, 7)(random));
  for (int64_t &border : borders) border = std::uniform_int_distribution<int64_t>(0, keys)(random);
  if (borders.size() > 2) borders[1] = borders[0];  // an empty one
  borders.insert(borders.end(), {0, keys});
  std::sort(borders.begin(), borders.end());
  std::vector<std::pair<int64_t, int64_t>> shards;
  for (size_t i = 0; i + 1 < borders.size(); ++i) shards.emplace_back(borders[i], borders[i + 1] - borders[i]);
  std::shuffle(shards.begin(), shards.end(), random);
  return shards;
}

// Empty, or how far the merged result is from the whole.
std::string difference(const Attention &attention, const DeviceBuffer &whole, const DeviceBuffer &whole_lse,
                       const DeviceBuffer &merged, const DeviceBuffer &merged_lse) {
  const auto expected = read<float>(whole), got = read<float>(merged);
  double largest_value = 0, largest_error = 0, largest_lse_error = 0;
  for (const uint16_t value : read<uint16_t>(attention.value))
    largest_value = std::max(largest_value, std::fabs(tools::to_double(attention.type, value)));
  for (size_t i = 0; i < got.size(); ++i)
    largest_error = std::max(largest_error, std::fabs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
  const auto expected_lse = read<float>(whole_lse), got_lse = read<float>(merged_lse);
  for (size_t i = 0; i < got_lse.size(); ++i) {
    if (expected_lse[i] == got_lse[i]) continue;  // -infinity, where a row sees no key
    const double error = std::fabs(static_cast<double>(got_lse[i]) - static_cast<double>(expected_lse[i]));
    largest_lse_error = error <= 1e9 ? std::max(largest_lse_error, error) : 1e9;
  }
  // Probabilities are rounded to references of their own in each shard; nothing else is.
  if (largest_error <= 2 * tools::unit_roundoff(attention.type) * largest_value && largest_lse_error <= 1e-5) return "";
  std::ostringstream text;
  text << "output is off by " << largest_error << ", lse by " << largest_lse_error;
  return text.str();
}

}  // namespace

ShardsOutcome check_shards(const Device &device, int rounds, const ComputeShard &compute) {
  std::mt19937 random(11);
  ShardsOutcome outcome;
  for (int round = 0; round < rounds; ++round) {
    const bool with_sinks = round % 3 == 0;
    const Attention attention(device, round % 2 == 0 ? tools::Float16Type::float16 : tools::Float16Type::bfloat16,
                              std::uniform_int_distribution<int64_t>(1, 300)(random), static_cast<Hiding>(round % 5),
                              random);
    const auto shards = random_shards(attention.keys, random);
    const auto count = static_cast<int64_t>(shards.size());
    const auto with_sink = std::uniform_int_distribution<int64_t>(0, count - 1)(random);
    const DeviceBuffer whole(device, rows * columns * 4), whole_lse(device, rows * 4),
        states(device, count * rows * columns * 4), lse_states(device, count * rows * 4),
        merged(device, rows * columns * 4), merged_lse(device, rows * 4);
    bool computed = attention.run(compute, 0, attention.keys, with_sinks, whole.address(), whole_lse.address());
    for (int64_t i = 0; i < count && computed; ++i)
      computed =
          attention.run(compute, shards[static_cast<size_t>(i)].first, shards[static_cast<size_t>(i)].second,
                        with_sinks && i == with_sink, states.address() + static_cast<uint64_t>(i * rows * columns * 4),
                        lse_states.address() + static_cast<uint64_t>(i * rows * 4));
    if (!computed) continue;
    flashcore_merge_states_args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
    args.state_count = static_cast<int32_t>(count);
    args.batch = batch, args.seqlen_q = queries, args.heads_q = heads, args.head_dim_v = columns;
    args.output_states.data = states.address(), args.output_states.dtype = FLASHCORE_DTYPE_FLOAT32;
    args.lse_states.data = lse_states.address();
    args.output.data = merged.address(), args.lse.data = merged_lse.address();
    flashcore_error error = FLASHCORE_ERROR_INIT;
    BOOST_REQUIRE_MESSAGE(flashcore_merge_states(device.context(), &args, nullptr, &error) == FLASHCORE_OK,
                          error.message);
    device.synchronize();
    outcome.merged++;
    if (const std::string wrong = difference(attention, whole, whole_lse, merged, merged_lse); !wrong.empty())
      outcome.problem = "round " + std::to_string(round) + ", " + std::to_string(count) + " shards of " +
                        std::to_string(attention.keys) + " keys: " + wrong;
  }
  return outcome;
}

}  // namespace flashcore::tests
