// SPDX-License-Identifier: Apache-2.0
#include "kernels/run_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <utility>

namespace flashcore::tests {
namespace {

using tools::Float16Type;
using tools::ReferenceCausal;

constexpr uint8_t poison_byte = 0xff;  // 0xffff is a NaN in both 16-bit types, 0xffffffff in float32
constexpr uint16_t poison16 = 0xffff;
constexpr uint32_t poison32 = 0xffffffff;

void describe_tensor(flashcore_tensor &tensor, const Placement &place, uint64_t buffer, int64_t element_bytes) {
  tensor.data = buffer + static_cast<uint64_t>(place.base * element_bytes);
  if (!place.given_as_zeros) std::copy(std::begin(place.stride), std::end(place.stride), tensor.stride);
}

// Is every element that belongs to the tensor / that does not, still poison? `parts`: numbers of the buffer for each element.
template <typename T>
std::string poison_problem(const Placement &place, const std::vector<T> &buffer, bool elements_too, const char *name,
                           int64_t parts = 1) {
  std::vector<uint8_t> belongs(buffer.size(), 0);
  if (!elements_too)
    place.for_each([&](int64_t index) {
      for (int64_t i = 0; i < parts; i++) belongs[static_cast<size_t>(index * parts + i)] = 1;
    });
  const T poison = static_cast<T>(poison32);
  for (size_t n = 0; n < buffer.size(); n++)
    if (!belongs[n] && buffer[n] != poison)
      return std::string(name) + ": element " + std::to_string(static_cast<int64_t>(n) / parts - place.base) +
             (elements_too ? " was written by a call that refused" : " was written, which is outside the tensor");
  return "";
}

std::vector<uint32_t> as_bits(const std::vector<float> &values) {
  std::vector<uint32_t> bits(values.size());
  if (!bits.empty()) std::memcpy(bits.data(), values.data(), bits.size() * sizeof(uint32_t));
  return bits;
}

}  // namespace

// --- Preparation ---------------------------------------------------------------------------------------------------

struct CaseOnDevice::Input {
  const char *name;
  Placement place;
  std::vector<uint16_t> bits;  // what was written to the device
  std::unique_ptr<DeviceBuffer> buffer;

  Input(const char *name, const Placement &place, const AttentionCase &one, std::mt19937 &generator)
      : name(name), place(place), bits(static_cast<size_t>(place.total), poison16) {
    std::normal_distribution<float> normal(0, one.input_std);
    place.for_each(
        [&](int64_t index) { bits[static_cast<size_t>(index)] = tools::to_16bit(one.dtype, normal(generator)); });
  }
  std::vector<float> values(Float16Type type) const {
    std::vector<float> result;
    place.for_each([&](int64_t index) {
      result.push_back(static_cast<float>(tools::to_double(type, bits[static_cast<size_t>(index)])));
    });
    return result;
  }
};

// What random normal numbers become where the case asks for more (attention_case.hpp). Scores are set along one direction, in which every
// query has the same component; at right angles to it queries and keys stay random.
class InputShaper {
 public:
  explicit InputShaper(const AttentionCase &one) : one_(one) {}

  void shape(CaseOnDevice::Input &query, CaseOnDevice::Input &key, CaseOnDevice::Input &value) {
    if (one_.sink != 1) scale_first_keys(key);
    if (one_.scores == Scores::diagonal)
      point_at_keys(query, key);
    else if (one_.scores != Scores::normal)
      set_scores(query, key);
    if (one_.values != Values::around_0)
      for_each_element(value, [&](int64_t, int64_t, double x) {
        return one_.values == Values::around_8 ? 8 + x : 1.125 + 0.125 * std::tanh(x);
      });
    if (one_.extreme != Extreme::none) make_extreme(query, key);
  }

 private:
  static constexpr double query_component = 4;

  double direction(int64_t column) const {
    return (column * 37 % 11 < 5 ? 1 : -1) / std::sqrt(static_cast<double>(one_.head_dim));
  }

  double get(const CaseOnDevice::Input &input, int64_t index) const {
    return tools::to_double(one_.dtype, input.bits[static_cast<size_t>(index)]);
  }
  void set(CaseOnDevice::Input &input, int64_t index, double x) const {
    input.bits[static_cast<size_t>(index)] = tools::to_16bit(one_.dtype, static_cast<float>(x));
  }
  // function(b, row, head) for every row of the tensor.
  template <typename Function>
  static void for_each_row(const CaseOnDevice::Input &input, Function function) {
    for (int64_t b = 0; b < input.place.size[0]; b++)
      for (int64_t row = 0; row < input.place.size[1]; row++)
        for (int64_t head = 0; head < input.place.size[2]; head++) function(b, row, head);
  }
  // Every element x of row r and column c becomes function(r, c, x).
  template <typename Function>
  void for_each_element(CaseOnDevice::Input &input, Function function) {
    for_each_row(input, [&](int64_t b, int64_t row, int64_t head) {
      for (int64_t c = 0; c < input.place.size[3]; c++) {
        const int64_t index = input.place.index(b, row, head, c);
        set(input, index, function(row, c, get(input, index)));
      }
    });
  }

  void scale_first_keys(CaseOnDevice::Input &key) {
    for_each_element(key, [&](int64_t row, int64_t, double x) { return row < 3 ? x * one_.sink : x; });
  }

  // The score of key j, less what chance adds.
  double wanted_score(int64_t j) const {
    const int64_t keys = one_.seqlen_kv;
    const int64_t last = keys - 1, places[] = {0, last, std::max<int64_t>(0, last - 199), keys / 2};
    switch (one_.scores) {
      case Scores::one_first:
      case Scores::one_last:
      case Scores::one_before_end:
      case Scores::one_middle:
        return j == places[static_cast<int>(one_.scores) - static_cast<int>(Scores::one_first)]
                   ? std::log(static_cast<double>(last) / one_.many)
                   : 0;
      case Scores::sink:
        return j < 4 ? 7 : 0;
      case Scores::rising:
        return 14.0 * static_cast<double>(j) / static_cast<double>(keys);
      case Scores::falling:
        return 14.0 - 14.0 * static_cast<double>(j) / static_cast<double>(keys);
      default:
        return 0;
    }
  }

  void set_component(CaseOnDevice::Input &input, int64_t b, int64_t row, int64_t head, double noise,
                     double component) const {
    double along = 0;
    for (int64_t c = 0; c < one_.head_dim; c++) along += get(input, input.place.index(b, row, head, c)) * direction(c);
    for (int64_t c = 0; c < one_.head_dim; c++) {
      const int64_t index = input.place.index(b, row, head, c);
      set(input, index, noise * (get(input, index) - along * direction(c)) + component * direction(c));
    }
  }
  void set_scores(CaseOnDevice::Input &query, CaseOnDevice::Input &key) const {
    const bool one_against_many = one_.scores <= Scores::one_middle;
    for_each_row(query,
                 [&](int64_t b, int64_t row, int64_t head) { set_component(query, b, row, head, 1, query_component); });
    for_each_row(key, [&](int64_t b, int64_t row, int64_t head) {
      set_component(key, b, row, head, one_against_many ? 0.05 : 1,
                    wanted_score(row) / (query_component * one_.softmax_scale()));
    });
  }

  // A query is a sum of the keys at and beside its own position.
  void point_at_keys(CaseOnDevice::Input &query, const CaseOnDevice::Input &key) {
    const int64_t heads_per_kv = std::max<int64_t>(1, query.place.size[2] / std::max<int64_t>(1, key.place.size[2]));
    for_each_row(query, [&](int64_t b, int64_t row, int64_t head) {
      for (int64_t c = 0; c < one_.head_dim; c++) {
        double sum = 0;
        for (const auto &[offset, weight] : {std::pair{0, 1.3}, {-1, 1.0}, {1, 0.9}}) {
          const int64_t j = std::clamp<int64_t>(row + one_.seqlen_kv - one_.seqlen_q + offset, 0, one_.seqlen_kv - 1);
          sum += weight * get(key, key.place.index(b, j, head / heads_per_kv, c));
        }
        set(query, query.place.index(b, row, head, c), sum);
      }
    });
  }

  void make_extreme(CaseOnDevice::Input &query, CaseOnDevice::Input &key) {
    const bool fp16 = one_.dtype == Float16Type::float16;
    const double infinity = std::numeric_limits<double>::infinity(), large = fp16 ? 60000 : 133120;
    const int64_t keys = one_.seqlen_kv;
    for_each_element(query, [&](int64_t row, int64_t c, double x) {
      if (one_.extreme == Extreme::large || one_.extreme == Extreme::two_large) return large;
      if (one_.extreme == Extreme::overflow) return 3e19;
      if (one_.extreme == Extreme::not_a_number && row % 3 == 0 && c == 0)
        return std::numeric_limits<double>::quiet_NaN();
      return std::fabs(x) + 0.125;
    });
    for_each_element(key, [&](int64_t row, int64_t, double x) {
      switch (one_.extreme) {
        case Extreme::minus_infinity_first:
          return row < keys * 2 / 3 ? -infinity : x;
        case Extreme::minus_infinity_last:
          return row >= keys / 3 ? -infinity : x;
        case Extreme::minus_infinity_but_one:
          return row > 0 ? -infinity : x;
        case Extreme::minus_infinity:
          return -infinity;
        case Extreme::overflow:
          return row < keys * 2 / 3 ? -3e19 : x * 1e-20;
        case Extreme::large:
          return large;
        case Extreme::two_large:
          return row % 2 == 0 ? large : -large;
        default:
          return x;
      }
    });
  }

  const AttentionCase &one_;
};

CaseOnDevice::CaseOnDevice(const Device &device, const AttentionCase &one, const std::string &kernel)
    : device_(device), case_(one), args_(FLASHCORE_ATTENTION_ARGS_INIT) {
  std::mt19937 generator(static_cast<uint32_t>(std::hash<std::string>()(one.describe())));
  inputs_.emplace_back("query", place(one.layout, one.batch, one.seqlen_q, one.heads_q, one.head_dim, false, 3), one,
                       generator);
  inputs_.emplace_back("key", place(one.layout, one.batch, one.seqlen_kv, one.heads_kv, one.head_dim, true, 5), one,
                       generator);
  inputs_.emplace_back("value", place(one.layout, one.batch, one.seqlen_kv, one.heads_kv, one.head_dim_v, true, 5), one,
                       generator);

  InputShaper(one).shape(inputs_[0], inputs_[1], inputs_[2]);
  const bool latent = one.layout == Layout::latent;
  if (latent) {
    inputs_[2].place = inputs_[1].place, inputs_[2].bits = inputs_[1].bits;
    inputs_[2].place.size[3] = one.head_dim_v;
  }
  reference_.batch = one.batch, reference_.seqlen_q = one.seqlen_q, reference_.seqlen_kv = one.seqlen_kv;
  reference_.heads_q = one.heads_q, reference_.heads_kv = one.heads_kv;
  reference_.head_dim = one.head_dim, reference_.head_dim_v = one.head_dim_v;
  reference_.query = inputs_[0].values(one.dtype);
  reference_.key = inputs_[1].values(one.dtype);
  reference_.value = inputs_[2].values(one.dtype);
  reference_.scale = one.softmax_scale();
  reference_.causal = one.causal;
  reference_.lse_base2 = one.lse == LseRequest::base2;
  set_features(generator);
  plant_garbage(inputs_[1], inputs_[2]);  // after the reference took its copy: it knows only what may be seen

  args_.batch = one.batch, args_.seqlen_q = one.seqlen_q, args_.seqlen_kv = one.seqlen_kv;
  args_.heads_q = one.heads_q, args_.heads_kv = one.heads_kv, args_.head_dim = one.head_dim,
  args_.head_dim_v = one.head_dim_v;
  args_.query.dtype = one.dtype == Float16Type::float16 ? FLASHCORE_DTYPE_FLOAT16 : FLASHCORE_DTYPE_BFLOAT16;
  args_.causal = static_cast<int32_t>(one.causal);  // same numbers
  if (one.scale) args_.flags |= FLASHCORE_FLAG_SOFTMAX_SCALE, args_.softmax_scale = *one.scale;
  std::snprintf(args_.kernel, sizeof(args_.kernel), "%s", kernel.c_str());
  flashcore_tensor *tensors[] = {&args_.query, &args_.key, &args_.value};
  for (size_t n = 0; n < inputs_.size(); n++) {
    Input &input = inputs_[n];
    input.buffer = std::make_unique<DeviceBuffer>(device, input.place.total * static_cast<int64_t>(sizeof(uint16_t)));
    input.buffer->write(input.bits.data());
    describe_tensor(*tensors[n], input.place, input.buffer->address(), sizeof(uint16_t));
  }
  if (latent) args_.value = args_.key;
  output_place_ = place(one.layout, one.batch, one.seqlen_q, one.heads_q, one.head_dim_v, false, 3);
  const int64_t output_bytes = halves() * static_cast<int64_t>(sizeof(uint16_t));
  output_ = std::make_unique<DeviceBuffer>(device, output_place_.total * output_bytes);
  describe_tensor(args_.output, output_place_, output_->address(), output_bytes);
  if (one.float32_output) args_.output.dtype = FLASHCORE_DTYPE_FLOAT32;
  if (one.lse != LseRequest::none) {
    lse_place_ = place_lse(one);
    lse_ = std::make_unique<DeviceBuffer>(device, lse_place_.total * static_cast<int64_t>(sizeof(float)));
    describe_tensor(args_.lse, lse_place_, lse_->address(), sizeof(float));
    std::swap(args_.lse.stride[1], args_.lse.stride[2]);
    args_.lse_base = one.lse == LseRequest::base2 ? FLASHCORE_LSE_BASE2 : FLASHCORE_LSE_NATURAL;
  }
  poison_outputs();
}

CaseOnDevice::~CaseOnDevice() = default;

// Numbers by batch and head lie between NaN: one before them, two behind each batch entry, and where heads have a stride one between.
uint64_t CaseOnDevice::place_numbers(const std::vector<float> &values, int64_t batches, int64_t head_stride,
                                     int64_t batch_stride) {
  std::vector<float> all(static_cast<size_t>(1 + batches * batch_stride), std::numeric_limits<float>::quiet_NaN());
  const int64_t heads = static_cast<int64_t>(values.size()) / std::max<int64_t>(1, batches);
  for (int64_t b = 0; b < batches; b++)
    for (int64_t head = 0; head < heads; head++)
      all[static_cast<size_t>(1 + b * batch_stride + head * head_stride)] =
          values[static_cast<size_t>(b * heads + head)];
  numbers_.push_back(std::make_unique<DeviceBuffer>(device_, static_cast<int64_t>(all.size() * sizeof(float))));
  numbers_.back()->write(all.data());
  return numbers_.back()->address() + sizeof(float);
}

void CaseOnDevice::set_features(std::mt19937 &generator) {
  if (case_.window_left >= 0) args_.flags |= FLASHCORE_FLAG_WINDOW_LEFT, args_.window_left = case_.window_left;
  if (case_.window_right >= 0) args_.flags |= FLASHCORE_FLAG_WINDOW_RIGHT, args_.window_right = case_.window_right;
  args_.attention_chunk = reference_.attention_chunk = case_.attention_chunk;
  reference_.window_left = case_.window_left, reference_.window_right = case_.window_right;
  args_.split_count = case_.split_count, args_.split_tokens = case_.split_tokens;
  if (case_.batch_invariant) args_.flags |= FLASHCORE_FLAG_BATCH_INVARIANT;
  args_.multiprocessor_limit = case_.multiprocessor_limit;
  reference_.query_position = case_.query_position, reference_.key_position = case_.key_position;
  if (case_.query_position >= 0) {
    args_.flags |= FLASHCORE_FLAG_POSITIONS;
    args_.query_position = case_.query_position, args_.key_position = case_.key_position;
  }
  args_.softcap = case_.softcap;
  reference_.softcap = static_cast<double>(case_.softcap);
  if (case_.alibi != Alibi::none) {
    const int64_t batches = case_.alibi == Alibi::by_head ? 1 : case_.batch;
    for (int64_t n = 0; n < batches * case_.heads_q; n++)
      reference_.alibi_slopes.push_back(0.01f * static_cast<float>(1 + n * 7 % 25));
    args_.alibi_slopes = place_numbers(reference_.alibi_slopes, batches, 1, case_.heads_q + 2);
    if (case_.alibi == Alibi::by_batch_and_head) args_.alibi_batch_stride = case_.heads_q + 2;
  }
  if (case_.sinks) {
    std::normal_distribution<float> normal(*case_.sinks, 1);
    for (int32_t head = 0; head < case_.heads_q; head++) reference_.sinks.push_back(normal(generator));
    const bool apart = case_.layout != Layout::contiguous;
    args_.sinks.data = place_numbers(reference_.sinks, 1, apart ? 2 : 1, case_.heads_q * 2 + 2);
    if (apart) args_.sinks.stride[2] = 2;
  }
  reference_.bias = bias_of(case_, generator);
  reference_.mask = mask_of(case_, generator);
  if (case_.bias != ScoreLayout::none) set_score_tensor(args_.bias, laid_out(case_, reference_.bias));
  if (case_.mask != ScoreLayout::none) set_score_tensor(args_.mask, laid_out(case_, reference_.mask));
}

void CaseOnDevice::set_score_tensor(flashcore_tensor &tensor, const ScoreTensorInMemory &memory) {
  numbers_.push_back(std::make_unique<DeviceBuffer>(device_, static_cast<int64_t>(memory.bytes.size())));
  if (memory.bytes.empty()) return;
  numbers_.back()->write(memory.bytes.data());
  tensor.data = numbers_.back()->address() + static_cast<uint64_t>(memory.first_byte);
  tensor.dtype = memory.dtype;
  std::copy(std::begin(memory.strides), std::end(memory.strides), tensor.stride);
}

// Two of the middle; or the last or the first third of the keys, less what the first or the second half of the queries sees: something must be left to compare.
CaseOnDevice::KeyRange CaseOnDevice::garbage_keys() const {
  const int64_t keys = case_.seqlen_kv, middle = (case_.seqlen_q - 1) / 2;
  if (case_.garbage == Garbage::none) return {0, 0};
  if (case_.garbage == Garbage::middle_keys || case_.garbage == Garbage::middle_values)
    return {keys / 2, std::min(keys, keys / 2 + 2)};
  if (case_.garbage == Garbage::later_keys || case_.garbage == Garbage::later_values) {
    int64_t first = keys - keys / 3;
    for (int64_t j = first; j < keys; j++)
      if (tools::key_is_visible(reference_, middle, j)) first = j + 1;
    return {first, keys};
  }
  int64_t end = keys / 3;
  for (int64_t j = end - 1; j >= 0; j--)
    if (tools::key_is_visible(reference_, middle, j)) end = j;
  return {0, end};
}

// In every batch and head. Infinities as well as NaN: 0 times either is NaN.
void CaseOnDevice::plant_garbage(Input &key, Input &value) {
  const uint16_t infinity = case_.dtype == Float16Type::float16 ? 0x7c00 : 0x7f80;
  const uint16_t kinds[] = {poison16, infinity, static_cast<uint16_t>(infinity | 0x8000)};
  const bool in_keys = case_.garbage == Garbage::later_keys || case_.garbage == Garbage::earlier_keys ||
                       case_.garbage == Garbage::middle_keys;
  Input &target = in_keys ? key : value;
  const Placement &place = target.place;
  const KeyRange garbage = garbage_keys();
  for (int64_t b = 0; b < place.size[0]; b++)
    for (int64_t row = garbage.begin; row < garbage.end; row++)
      for (int64_t head = 0; head < place.size[2]; head++)
        for (int64_t column = 0; column < place.size[3]; column++)
          target.bits[static_cast<size_t>(place.index(b, row, head, column))] = kinds[(row + column) % 3];
}

bool CaseOnDevice::row_sees_garbage(int64_t batch, int64_t head, int64_t position) const {
  const KeyRange garbage = garbage_keys();
  for (int64_t j = garbage.begin; j < garbage.end; j++)
    if (tools::key_is_visible(reference_, position, j) && tools::key_is_shown(reference_, batch, head, position, j))
      return true;
  return false;
}

// --- Launch and look -----------------------------------------------------------------------------------------------

void CaseOnDevice::poison_outputs() {
  output_->fill(poison_byte);
  if (lse_) lse_->fill(poison_byte);
}

flashcore_status CaseOnDevice::launch(flashcore_error *error) {
  return flashcore_attention_fwd(device_.context(), &args_, nullptr, error);
}

std::vector<uint16_t> CaseOnDevice::read_output() const {
  std::vector<uint16_t> buffer(static_cast<size_t>(output_place_.total * halves()));
  output_->read(buffer.data());
  return buffer;
}

std::vector<float> CaseOnDevice::read_lse() const {
  std::vector<float> buffer(lse_ ? static_cast<size_t>(lse_place_.total) : 0);
  if (lse_) lse_->read(buffer.data());
  return buffer;
}

std::vector<double> CaseOnDevice::output_values(const std::vector<uint16_t> &buffer) const {
  std::vector<double> values;
  output_place_.for_each([&](int64_t index) {
    if (case_.float32_output) {
      float value;
      std::memcpy(&value, &buffer[static_cast<size_t>(index) * 2], sizeof(value));
      values.push_back(static_cast<double>(value));
    } else {
      values.push_back(tools::to_double(case_.dtype, buffer[static_cast<size_t>(index)]));
    }
  });
  return values;
}

std::vector<double> CaseOnDevice::lse_values(const std::vector<float> &buffer) const {
  std::vector<double> values;
  lse_place_.for_each([&](int64_t index) { values.push_back(buffer[static_cast<size_t>(index)]); });
  return values;
}

std::vector<uint8_t> CaseOnDevice::output_mask() const {
  std::vector<uint8_t> mask;
  for (int64_t b = 0; b < case_.batch; b++)
    for (int64_t position = 0; position < case_.seqlen_q; position++)
      for (int64_t head = 0; head < case_.heads_q; head++)
        mask.insert(mask.end(), static_cast<size_t>(case_.head_dim_v), !row_sees_garbage(b, head, position));
  return mask;
}

std::vector<uint8_t> CaseOnDevice::lse_mask() const {
  std::vector<uint8_t> mask;
  for (int64_t head = 0; head < case_.batch * case_.heads_q; head++)
    for (int64_t position = 0; position < case_.seqlen_q; position++)
      mask.push_back(!row_sees_garbage(head / case_.heads_q, head % case_.heads_q, position));
  return mask;
}

std::string CaseOnDevice::guard_problem(const std::vector<uint16_t> &output, const std::vector<float> &lse) const {
  const std::string problem = poison_problem(output_place_, output, false, "output", halves());
  return problem.empty() && lse_ ? poison_problem(lse_place_, as_bits(lse), false, "lse") : problem;
}

std::string CaseOnDevice::untouched_problem(const std::vector<uint16_t> &output, const std::vector<float> &lse) const {
  const std::string problem = poison_problem(output_place_, output, true, "output", halves());
  return problem.empty() && lse_ ? poison_problem(lse_place_, as_bits(lse), true, "lse") : problem;
}

std::string CaseOnDevice::input_problem() const {
  for (const Input &input : inputs_) {
    std::vector<uint16_t> now(input.bits.size());
    input.buffer->read(now.data());
    if (now != input.bits) return std::string(input.name) + " was changed, an input";
  }
  return "";
}

double CaseOnDevice::hard_gate_factor() const {
  const std::string module = args_.kernel, name = module.substr(0, module.find('-'));
  const auto kernels = list_kernels();
  const bool by_name_only = std::any_of(kernels.begin(), kernels.end(), [&](const flashcore_kernel_info &kernel) {
    return kernel.name == name && kernel.by_name_only != 0;
  });
  return by_name_only ? std::max(1.25, static_cast<double>(case_.seqlen_kv) / 16384) : 1.25;
}

// --- Verdict -------------------------------------------------------------------------------------------------------

namespace {

CaseOutcome failed(const std::string &why) { return {Verdict::failed, why}; }

CaseOutcome judge_refusal(const CaseOnDevice &run, const flashcore_error &error) {
  if (error.field[0] == '\0' || error.message[0] == '\0') return failed("UNSUPPORTED without a field or a message");
  const std::string problem = run.untouched_problem(run.read_output(), run.read_lse());
  if (!problem.empty()) return failed(problem);
  return {Verdict::refused, std::string(error.field) + ": " + error.message};
}

}  // namespace

CaseOutcome run_case(const Device &device, const std::string &kernel, const AttentionCase &one) {
  CaseOnDevice run(device, one, kernel);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  const flashcore_status status = run.launch(&error);
  if (status == FLASHCORE_UNSUPPORTED) return judge_refusal(run, error);
  if (status != FLASHCORE_OK) return failed(std::string(flashcore_status_name(status)) + ": " + error.message);
  flashcore_error late = FLASHCORE_ERROR_INIT;
  const flashcore_status done = flashcore_stream_synchronize(device.context(), nullptr, &late);
  if (done != FLASHCORE_OK) return failed(std::string("the launch failed later: ") + late.message);
  return judge_result(run, one);
}

}  // namespace flashcore::tests
