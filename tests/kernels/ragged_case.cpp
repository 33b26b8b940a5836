// SPDX-License-Identifier: Apache-2.0
#include "kernels/ragged_case.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>
#include <sstream>
#include <utility>

#include "common/accuracy.hpp"
#include "kernels/ragged_tensor.hpp"
#include "kernels/score_tensors.hpp"

namespace flashcore::tests {
namespace {

constexpr uint16_t poison16 = 0xffff;  // a NaN in both types
constexpr uint32_t poison32 = 0xffffffff;
constexpr int64_t rows_behind = 3;

int64_t largest(const std::vector<int64_t> &numbers) { return *std::max_element(numbers.begin(), numbers.end()); }
std::vector<int64_t> running_sums(const std::vector<int64_t> &numbers) {
  std::vector<int64_t> sums(numbers.size() + 1, 0);
  std::partial_sum(numbers.begin(), numbers.end(), sums.begin() + 1);
  return sums;
}

}  // namespace

std::string RaggedCase::describe() const {
  constexpr const char *query_words[] = {"batch", "used", "in-line", "in-line-used"},
                       *key_words[] = {"batch", "used", "in-line", "in-line-used", "cache", "pages"};
  std::ostringstream text;
  text << "ragged";
  for (size_t b = 0; b < queries.size(); b++) text << " " << queries[b] << "x" << keys[b];
  text << " queries-" << query_words[static_cast<int>(query_places)] << " keys-"
       << key_words[static_cast<int>(key_places)];
  if (key_places == KeyPlaces::pages) text << page_size << (value_pages ? " two-tables" : "");
  if (left_padding) text << " left-padding";
  if (long_indices) text << " int64";
  if (apart) text << " apart";
  if (spare_queries != 0) text << " spare-queries" << spare_queries;
  if (spare_keys != 0) text << " spare-keys" << spare_keys;
  if (seqlen_new != 0) text << " new" << seqlen_new;
  if (rotary_dim != 0) text << " rotary" << rotary_dim << (interleaved ? " interleaved" : "");
  if (rotary_positions) text << " positions";
  if (rotary_table_rows != 0) text << " table" << rotary_table_rows;
  if (seed != 0) text << " seed" << seed;
  return text.str() + "; " + features.describe();
}

RaggedOnDevice::~RaggedOnDevice() = default;

uint64_t RaggedOnDevice::put_indices(const std::vector<int64_t> &numbers) {
  if (case_.long_indices) return put(numbers);
  return put(std::vector<int32_t>(numbers.begin(), numbers.end()));
}

RaggedOnDevice::RaggedOnDevice(const Device &device, const RaggedCase &one, const std::string &kernel)
    : device_(device), case_(one), args_(FLASHCORE_ATTENTION_ARGS_INIT) {
  std::mt19937 generator(one.seed * 7919u + 17u);
  const AttentionCase &features = one.features;
  args_.batch = static_cast<int64_t>(one.queries.size());
  args_.seqlen_q = largest(one.queries) + one.spare_queries, args_.seqlen_kv = largest(one.keys) + one.spare_keys;
  args_.heads_q = features.heads_q, args_.heads_kv = features.heads_kv;
  args_.head_dim = features.head_dim, args_.head_dim_v = features.head_dim_v;
  args_.query.dtype =
      features.dtype == tools::Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  args_.index_dtype = one.long_indices ? FLASHCORE_DTYPE_INT64 : FLASHCORE_DTYPE_DEFAULT;
  if (features.scale) args_.softmax_scale = *features.scale, args_.flags |= FLASHCORE_FLAG_SOFTMAX_SCALE;
  args_.causal = static_cast<int32_t>(features.causal);
  args_.lse_base = features.lse == LseRequest::base2 ? FLASHCORE_LSE_BASE2 : FLASHCORE_LSE_NATURAL;
  if (features.window_left >= 0) args_.window_left = features.window_left, args_.flags |= FLASHCORE_FLAG_WINDOW_LEFT;
  if (features.window_right >= 0)
    args_.window_right = features.window_right, args_.flags |= FLASHCORE_FLAG_WINDOW_RIGHT;
  args_.attention_chunk = features.attention_chunk, args_.softcap = features.softcap;
  args_.split_count = features.split_count, args_.split_tokens = features.split_tokens;
  if (features.batch_invariant) args_.flags |= FLASHCORE_FLAG_BATCH_INVARIANT;
  args_.multiprocessor_limit = features.multiprocessor_limit;
  std::memcpy(args_.kernel, kernel.c_str(), std::min(kernel.size() + 1, sizeof(args_.kernel)));
  place_queries();
  place_keys(generator);
  fill_inputs(generator);
  append_rows(generator);
  set_features(generator);
  poison_outputs();
}

void RaggedOnDevice::place_queries() {
  const AttentionCase &features = case_.features;
  const size_t count = case_.queries.size();
  const bool in_line = case_.query_places >= QueryPlaces::in_line;
  std::vector<int64_t> first(count, 0), entry(count, 0), room = case_.queries;
  int64_t rows = args_.seqlen_q;
  if (in_line) {
    if (case_.query_places == QueryPlaces::in_line_used)
      for (size_t b = 0; b < count; b++) room[b] += static_cast<int64_t>(b % 3) * 5;
    const std::vector<int64_t> bounds = running_sums(room);
    args_.cu_seqlens_q = put_indices(bounds);
    std::copy(bounds.begin(), bounds.end() - 1, first.begin());
    rows = bounds.back() + rows_behind;
    args_.total_q = rows;
    // What seqused leaves out counts for the most that a sequence may have.
    args_.seqlen_q = largest(room) + case_.spare_queries;
  } else {
    std::iota(entry.begin(), entry.end(), 0);
  }
  if (case_.query_places == QueryPlaces::used || case_.query_places == QueryPlaces::in_line_used)
    args_.seqused_q = put_indices(case_.queries);
  const auto make = [&](int64_t columns, bool apart) {
    auto tensor = std::make_unique<Tensor>(in_line ? 1 : args_.batch, rows, features.heads_q, columns, apart);
    tensor->entry = entry, tensor->first_row = first;
    return tensor;
  };
  query_ = make(features.head_dim, case_.apart);
  output_ = make(features.head_dim_v, case_.apart);
  if (features.float32_output) output_->element_bytes = 4;
  lse_ = make(1, false);
  lse_->element_bytes = 4;
  // [entry, head, row]
  lse_->stride[1] = 1, lse_->stride[2] = rows + (case_.apart ? 3 : 0),
  lse_->stride[0] = features.heads_q * lse_->stride[2];
}

void RaggedOnDevice::place_keys(std::mt19937 &generator) {
  const AttentionCase &features = case_.features;
  const size_t count = case_.keys.size();
  std::vector<int64_t> first(count, 0), entry(count, 0), padding(count, 0), room = case_.keys;
  if (case_.left_padding)
    for (size_t b = 0; b < count; b++) padding[b] = static_cast<int64_t>(generator() % 20), room[b] += padding[b];
  if (case_.left_padding) args_.leftpad_kv = put_indices(padding);
  args_.seqlen_kv = largest(room) + case_.spare_keys;
  std::vector<int64_t> used = room;
  key_rows_ = room;
  int64_t entries = args_.batch, rows = args_.seqlen_kv;
  const bool in_line = case_.key_places == KeyPlaces::in_line || case_.key_places == KeyPlaces::in_line_used;
  if (in_line) {
    if (case_.key_places == KeyPlaces::in_line_used)
      for (size_t b = 0; b < count; b++) room[b] += static_cast<int64_t>((b + 1) % 3) * 7;
    const std::vector<int64_t> bounds = running_sums(room);
    args_.cu_seqlens_kv = put_indices(bounds);
    std::copy(bounds.begin(), bounds.end() - 1, first.begin());
    rows = bounds.back() + rows_behind, entries = 1;
    args_.total_kv = rows;
    args_.seqlen_kv = largest(room) + case_.spare_keys;
  } else {
    std::iota(entry.begin(), entry.end(), 0);
  }
  if (case_.key_places == KeyPlaces::cache) {
    entries = args_.batch + 2;
    std::vector<int64_t> all(static_cast<size_t>(entries));
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), generator);
    std::copy(all.begin(), all.begin() + static_cast<int64_t>(count), entry.begin());
    args_.kv_batch_index = put_indices(entry), args_.kv_batch_count = entries;
  }
  std::vector<int64_t> before = used;
  for (int64_t &rows : before) rows -= case_.seqlen_new;
  if (case_.key_places != KeyPlaces::batch && case_.key_places != KeyPlaces::in_line)
    args_.seqused_kv = put_indices(before);
  for (size_t b = 0; b < count; b++) first[b] += padding[b];
  const bool paged = case_.key_places == KeyPlaces::pages;
  if (paged) {
    rows = case_.page_size;
    entries = 5 + std::accumulate(used.begin(), used.end(), int64_t{0}, [&](int64_t sum, int64_t of) {
                return sum + (of + case_.page_size - 1) / case_.page_size;
              });
    std::fill(entry.begin(), entry.end(), 0);
  }
  const auto make = [&](int64_t columns) {
    auto tensor = std::make_unique<Tensor>(entries, rows, features.heads_kv, columns, case_.apart);
    tensor->entry = entry, tensor->first_row = first;
    return tensor;
  };
  key_ = make(features.head_dim), value_ = make(features.head_dim_v);
  if (paged) place_pages(generator);
}

// In any order. What no key needs leads nowhere.
void RaggedOnDevice::place_pages(std::mt19937 &generator) {
  const int64_t page_size = case_.page_size, columns = (args_.seqlen_kv + page_size - 1) / page_size,
                stride = columns + (case_.apart ? 3 : 0);
  args_.page_count = key_->entries, args_.page_size = static_cast<int32_t>(page_size);
  args_.page_table_stride = case_.apart ? stride : 0;
  std::vector<int32_t> all(static_cast<size_t>(key_->entries));
  std::iota(all.begin(), all.end(), 0);
  const auto table = [&](Tensor &tensor) {
    std::shuffle(all.begin(), all.end(), generator);
    std::vector<int32_t> pages(case_.keys.size() * static_cast<size_t>(stride), 0x7f0f0f0f);
    tensor.page_size = page_size;
    size_t next = 0;
    for (size_t b = 0; b < case_.keys.size(); b++) {
      const int64_t rows = tensor.first_row[b] + case_.keys[b];
      auto &of_sequence = tensor.pages.emplace_back();
      for (int64_t page = 0; page * page_size < rows; page++) {
        of_sequence.push_back(all[next]);
        pages[b * static_cast<size_t>(stride) + static_cast<size_t>(page)] = all[next++];
      }
    }
    return put(pages);
  };
  args_.page_table = table(*key_);
  if (case_.value_pages)
    args_.page_table_value = table(*value_);
  else
    value_->pages = key_->pages, value_->page_size = page_size;
}

void RaggedOnDevice::fill_inputs(std::mt19937 &generator) {
  const AttentionCase &features = case_.features;
  std::normal_distribution<float> normal(0, features.input_std);
  references_.resize(case_.queries.size());
  const auto fill = [&](Tensor &tensor, const std::vector<int64_t> &rows,
                        std::vector<float> tools::ReferenceAttention::*of) {
    tensor.bits.assign(static_cast<size_t>(tensor.total()), poison16);
    for (size_t b = 0; b < rows.size(); b++)
      for (int64_t row = 0; row < rows[b]; row++)
        for (int64_t head = 0; head < tensor.heads; head++)
          for (int64_t column = 0; column < tensor.columns; column++) {
            uint16_t &bits = tensor.bits[static_cast<size_t>(tensor.index(b, row, head) + column)];
            bits = tools::to_16bit(features.dtype, normal(generator));
            (references_[b].*of).push_back(static_cast<float>(tools::to_double(features.dtype, bits)));
          }
    tensor.buffer = std::make_unique<DeviceBuffer>(device_, tensor.total() * 2);
    tensor.buffer->write(tensor.bits.data());
  };
  fill(*query_, case_.queries, &tools::ReferenceAttention::query);
  fill(*key_, case_.keys, &tools::ReferenceAttention::key);
  if (features.layout == Layout::latent)
    take_values_of_keys();
  else
    fill(*value_, case_.keys, &tools::ReferenceAttention::value);
  output_->buffer = std::make_unique<DeviceBuffer>(device_, output_->total() * output_->element_bytes);
  if (features.float32_output) args_.output.dtype = FLASHCORE_DTYPE_FLOAT32;
  query_->describe(args_.query, case_.apart), key_->describe(args_.key, case_.apart);
  args_.value = args_.key;
  if (value_->buffer) value_->describe(args_.value, case_.apart);
  output_->describe(args_.output, case_.apart);
  lse_->buffer = std::make_unique<DeviceBuffer>(device_, lse_->total() * 4);
  if (features.lse != LseRequest::none) lse_->describe(args_.lse, case_.apart);
}

// The first columns of each key, where they are: a call needs strides for that.
void RaggedOnDevice::take_values_of_keys() {
  for (tools::ReferenceAttention &one : references_)
    for (size_t row = 0; row < one.key.size(); row += static_cast<size_t>(key_->columns))
      one.value.insert(one.value.end(), one.key.begin() + static_cast<int64_t>(row),
                       one.key.begin() + static_cast<int64_t>(row) + value_->columns);
}

void RaggedOnDevice::set_features(std::mt19937 &generator) {
  const AttentionCase &features = case_.features;
  std::vector<float> slopes, sinks;
  const bool by_batch = features.alibi == Alibi::by_batch_and_head;
  if (features.alibi != Alibi::none)
    for (int64_t n = 0; n < (by_batch ? args_.batch : 1) * features.heads_q; n++)
      slopes.push_back(0.01f * static_cast<float>(1 + n * 7 % 25));
  std::normal_distribution<float> normal(features.sinks.value_or(0), 1);
  if (features.sinks)
    for (int32_t head = 0; head < features.heads_q; head++) sinks.push_back(normal(generator));
  if (!slopes.empty()) args_.alibi_slopes = put(slopes), args_.alibi_batch_stride = by_batch ? features.heads_q : 0;
  if (!sinks.empty()) args_.sinks.data = put(sinks);
  for (size_t b = 0; b < references_.size(); b++) {
    tools::ReferenceAttention &one = references_[b];
    one.seqlen_q = case_.queries[b], one.seqlen_kv = case_.keys[b];
    one.heads_q = features.heads_q, one.heads_kv = features.heads_kv;
    one.head_dim = features.head_dim, one.head_dim_v = features.head_dim_v;
    one.scale = features.softmax_scale(), one.softcap = features.softcap, one.causal = features.causal;
    one.window_left = features.window_left, one.window_right = features.window_right;
    one.attention_chunk = features.attention_chunk, one.sinks = sinks;
    one.lse_base2 = features.lse == LseRequest::base2;
    const auto first = slopes.begin() + (by_batch ? static_cast<int64_t>(b) * features.heads_q : 0);
    if (!slopes.empty()) one.alibi_slopes.assign(first, first + features.heads_q);
  }
  place_score_tensors(generator);
}

// They are as long as the longest sequence may be; each has the beginning of its own entry.
void RaggedOnDevice::place_score_tensors(std::mt19937 &generator) {
  AttentionCase all = case_.features;
  all.batch = args_.batch, all.seqlen_q = args_.seqlen_q, all.seqlen_kv = args_.seqlen_kv;
  const std::vector<float> bias = bias_of(all, generator);
  const std::vector<uint8_t> mask = mask_of(all, generator);
  const auto place = [&](const ScoreTensorInMemory &memory, flashcore_tensor &tensor) {
    tensor.data = put(memory.bytes) + static_cast<uint64_t>(memory.first_byte), tensor.dtype = memory.dtype;
    std::copy(std::begin(memory.strides), std::end(memory.strides), tensor.stride);
  };
  if (!bias.empty()) place(laid_out(all, bias), args_.bias);
  if (!mask.empty()) place(laid_out(all, mask), args_.mask);
  for (size_t b = 0; b < references_.size(); b++)
    for (int64_t head = 0; head < all.heads_q; head++)
      for (int64_t row = 0; row < case_.queries[b]; row++) {
        const int64_t line = (static_cast<int64_t>(b) * all.heads_q + head) * all.seqlen_q + row;
        const auto append = [&](const auto &numbers, auto &of_sequence) {
          const auto first = numbers.begin() + line * all.seqlen_kv;
          of_sequence.insert(of_sequence.end(), first, first + case_.keys[b]);
        };
        if (!bias.empty()) append(bias, references_[b].bias);
        if (!mask.empty()) append(mask, references_[b].mask);
      }
}

void RaggedOnDevice::set_variant(const std::function<double(double, int64_t, int64_t, int64_t, int64_t)> &score,
                                 const std::function<bool(int64_t, int64_t, int64_t, int64_t)> &visible) {
  for (size_t b = 0; b < references_.size(); b++) {
    const auto sequence = static_cast<int64_t>(b);
    if (score)
      references_[b].variant_score = [=](double s, int64_t, int64_t head, int64_t i, int64_t j) {
        return score(s, sequence, head, i, j);
      };
    if (visible)
      references_[b].variant_visible = [=](int64_t, int64_t head, int64_t i, int64_t j) {
        return visible(sequence, head, i, j);
      };
  }
}

std::string RaggedOnDevice::changed_input() const {
  const std::pair<const char *, const Tensor *> tensors[] = {{"query", query_.get()},
                                                             {"key", key_.get()},
                                                             {"value", value_.get()},
                                                             {"new_key", new_key_.get()},
                                                             {"new_value", new_value_.get()}};
  for (const auto &[name, tensor] : tensors) {
    if (tensor == nullptr || !tensor->buffer)
      continue;  // values that are columns of the keys have no memory of their own
    if (const std::string changed = tensor->changed(name); !changed.empty()) return changed;
  }
  return {};
}

void RaggedOnDevice::poison_outputs() {
  output_->buffer->fill(0xff);
  lse_->buffer->fill(0xff);
}

std::vector<uint16_t> RaggedOnDevice::read_output() const {
  std::vector<uint16_t> bits(static_cast<size_t>(output_->total() * output_->element_bytes / 2));
  output_->buffer->read(bits.data());
  return bits;
}

std::vector<float> RaggedOnDevice::read_lse() const {
  std::vector<float> numbers(static_cast<size_t>(lse_->total()));
  lse_->buffer->read(numbers.data());
  return numbers;
}

CaseOutcome RaggedOnDevice::judge() const {
  const auto failed = [](const std::string &why) { return CaseOutcome{Verdict::failed, why}; };
  const AttentionCase &features = case_.features;
  std::vector<uint16_t> output = read_output();
  std::vector<float> lse = read_lse();
  std::vector<double> got, expected, yardstick, got_lse, expected_lse;
  const auto append = [](std::vector<double> &all, const std::vector<double> &more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  for (size_t b = 0; b < references_.size(); b++) {
    const tools::ReferenceAttention &one = references_[b];
    const auto exact = tools::reference_attention(one, tools::reference_threads());
    append(expected, exact.output), append(expected_lse, exact.lse);
    append(yardstick, tools::plain_16bit_attention(one, features.dtype, tools::reference_threads()).output);
    for (int64_t row = 0; row < one.seqlen_q; row++)
      for (int64_t head = 0; head < one.heads_q; head++)
        for (int64_t column = 0; column < one.head_dim_v; column++) {
          const auto at = static_cast<size_t>(output_->index(b, row, head) + column);
          if (features.float32_output) {
            float value;
            std::memcpy(&value, &output[at * 2], sizeof(value));
            std::memcpy(&output[at * 2], &poison32, sizeof(value));
            got.push_back(static_cast<double>(value));
          } else {
            got.push_back(tools::to_double(features.dtype, std::exchange(output[at], poison16)));
          }
        }
    for (int64_t head = 0; head < one.heads_q; head++)
      for (int64_t row = 0; row < one.seqlen_q; row++) {
        float &number = lse[static_cast<size_t>(lse_->index(b, row, head))];
        got_lse.push_back(static_cast<double>(number));
        std::memcpy(&number, &poison32, sizeof(number));
      }
  }
  if (std::any_of(output.begin(), output.end(), [](uint16_t bits) { return bits != poison16; }))
    return failed("output was written outside of the sequences");
  for (const float number : lse)
    if (std::memcmp(&number, &poison32, sizeof(number)) != 0) return failed("lse was written outside of the sequences");
  if (const std::string changed = changed_input(); !changed.empty()) return failed(changed);
  const auto gate = tools::output_gate(features.dtype, tools::measure_error(yardstick, expected), false);
  const auto error = tools::measure_error(got, expected);
  CaseOutcome outcome{Verdict::passed, "", error.max_abs, error.mean_abs, gate.max_abs};
  outcome.gate_share = gate.max_abs == 0 ? 0 : error.max_abs / gate.max_abs;
  if (features.lse != LseRequest::none) outcome.lse_share = tools::lse_gate_ratio(got_lse, expected_lse);
  if (!gate.passes(error)) return failed("output " + error.describe() + "; gate: " + gate.describe());
  if (!(outcome.lse_share <= 1))
    return failed("lse is " + std::to_string(outcome.lse_share) + " times as far off as its gate allows");
  return outcome;
}

CaseOutcome run_ragged_case(const Device &device, const std::string &kernel, const RaggedCase &one) {
  RaggedOnDevice run(device, one, kernel);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = run.launch(&error);
  if (status == FLASHCORE_UNSUPPORTED) return {Verdict::refused, std::string(error.field) + ": " + error.message};
  if (status != FLASHCORE_OK)
    return {Verdict::failed, std::string(flashcore_status_name(status)) + ": " + error.message};
  device.synchronize();
  return run.judge();
}

}  // namespace flashcore::tests
