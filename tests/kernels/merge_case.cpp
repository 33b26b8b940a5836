// SPDX-License-Identifier: Apache-2.0
#include "kernels/merge_case.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/float16.hpp"

namespace flashcore::tests {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr unsigned char poison = 0xa5;

int64_t bytes_of(int32_t dtype) { return dtype == FLASHCORE_DTYPE_FLOAT32 ? 4 : 2; }

tools::Float16Type type16(int32_t dtype) {
  return dtype == FLASHCORE_DTYPE_BFLOAT16 ? tools::Float16Type::bfloat16 : tools::Float16Type::float16;
}

void put(unsigned char *at, int32_t dtype, double value) {
  if (dtype == FLASHCORE_DTYPE_FLOAT32) {
    const auto number = static_cast<float>(value);
    std::memcpy(at, &number, sizeof(number));
  } else {
    const uint16_t bits = tools::to_16bit(type16(dtype), value);
    std::memcpy(at, &bits, sizeof(bits));
  }
}

double get(const unsigned char *at, int32_t dtype) {
  if (dtype == FLASHCORE_DTYPE_FLOAT32) {
    float number;
    std::memcpy(&number, at, sizeof(number));
    return static_cast<double>(number);
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return tools::to_double(type16(dtype), bits);
}

const char *name_of(int32_t dtype) {
  return dtype == FLASHCORE_DTYPE_FLOAT16 ? "fp16" : dtype == FLASHCORE_DTYPE_BFLOAT16 ? "bf16" : "fp32";
}

// Of one state of a row.
double logarithm(Logarithms kind, int32_t state, int64_t row, std::mt19937 &random) {
  std::normal_distribution<double> normal(0, 3);
  std::uniform_real_distribution<double> uniform(-1, 1);
  switch (kind) {
    case Logarithms::normal:
      return normal(random);
    case Logarithms::spread:
      return 400 * uniform(random);
    case Logarithms::extreme:
      return row % 3 == 0 ? 1e30 * uniform(random) : state % 2 == row % 2 ? 1e30 : -1e30;
    case Logarithms::equal:
      return 2.5;
    case Logarithms::some_empty:
      return row % 4 == 3 || state % 2 == row % 2 ? -infinity : normal(random);
    case Logarithms::infinite:
      return row % 3 == 1 && state % 2 == 0 ? infinity : normal(random);
    case Logarithms::nan:
      return row % 3 == 1 && state % 2 == 0 ? std::nan("") : normal(random);
  }
  return 0;
}

}  // namespace

std::string MergeCase::describe() const {
  static const char *const layouts[] = {"contiguous", "padded", "odd"};
  static const char *const kinds[] = {"normal", "spread", "extreme", "equal", "some empty", "infinite", "nan"};
  static const char *const places[] = {"", ", output in place", ", lse in place", ", in place"};
  return std::to_string(states) + " states " + std::to_string(batch) + "x" + std::to_string(rows) + "x" +
         std::to_string(heads) + "x" + std::to_string(columns) + " " + name_of(dtype) + " to " + name_of(output_dtype) +
         ", " + layouts[static_cast<int>(layout)] + ", " + kinds[static_cast<int>(logarithms)] +
         places[static_cast<int>(in_place)] + (base2 ? ", base 2" : "") + (with_lse ? "" : ", no lse");
}

std::vector<MergeCase> merge_cases() {
  constexpr int32_t fp16 = FLASHCORE_DTYPE_FLOAT16, bf16 = FLASHCORE_DTYPE_BFLOAT16, fp32 = FLASHCORE_DTYPE_FLOAT32;
  std::vector<MergeCase> cases;
  for (const int32_t dtype : {fp16, bf16, fp32})
    for (const int32_t output : {fp16, bf16, fp32})
      for (const MergeLayout layout : {MergeLayout::contiguous, MergeLayout::padded, MergeLayout::odd})
        cases.push_back({.dtype = dtype, .output_dtype = output, .layout = layout});
  for (const Logarithms kind : {Logarithms::spread, Logarithms::extreme, Logarithms::equal, Logarithms::some_empty,
                                Logarithms::infinite, Logarithms::nan})
    for (const int32_t states : {1, 2, 4, 7}) {
      cases.push_back({.states = states, .dtype = fp32, .output_dtype = fp32, .logarithms = kind});
      cases.push_back(
          {.states = states, .columns = 40, .dtype = bf16, .output_dtype = bf16, .logarithms = kind, .base2 = true});
    }
  for (const InPlace in_place : {InPlace::output, InPlace::lse, InPlace::both})
    for (const MergeLayout layout : {MergeLayout::contiguous, MergeLayout::padded, MergeLayout::odd})
      for (const int32_t states : {1, 5})
        cases.push_back({.states = states, .heads = 2, .columns = 128, .layout = layout, .in_place = in_place});
  // Columns that share a block with other rows, fill one, or take several turns of it; a row, and many.
  for (const int32_t columns : {1, 7, 8, 24, 80, 96, 256, 1032, 4096, 5000})
    cases.push_back({.states = 5, .batch = 1, .rows = 3, .heads = 1, .columns = columns, .in_place = InPlace::both});
  cases.push_back({.states = 33, .batch = 3, .rows = 70, .heads = 1, .columns = 16, .base2 = true, .with_lse = false});
  cases.push_back({.states = FLASHCORE_MOST_STATES,
                   .batch = 1,
                   .rows = 2,
                   .heads = 1,
                   .columns = 8,
                   .dtype = fp32,
                   .output_dtype = fp32,
                   .layout = MergeLayout::padded});
  return cases;
}

struct MergeOnDevice::Place {
  int64_t states, size[4], stride[4], state_stride;  // batch, row, head, column
  int64_t base, total;                               // in elements

  template <typename Visit>
  void for_each(int64_t state, const Visit &visit) const {  // visit(n, element) in contiguous order
    int64_t n = 0;
    for (int64_t b = 0; b < size[0]; ++b)
      for (int64_t row = 0; row < size[1]; ++row)
        for (int64_t head = 0; head < size[2]; ++head)
          for (int64_t column = 0; column < size[3]; ++column)
            visit(n++, base + state * state_stride + b * stride[0] + row * stride[1] + head * stride[2] +
                           column * stride[3]);
  }
  int64_t count() const { return size[0] * size[1] * size[2] * size[3]; }
};

struct MergeOnDevice::Tensor {
  Place place;
  int32_t dtype;
  DeviceBuffer buffer;
  std::vector<unsigned char> written;

  Tensor(const Device &device, const Place &where, int32_t type)
      : place(where),
        dtype(type),
        buffer(device, where.total * bytes_of(type)),
        written(static_cast<size_t>(where.total * bytes_of(type)), poison) {}
  unsigned char *at(int64_t element) { return written.data() + element * bytes_of(dtype); }
  void fill_tensor(flashcore_tensor &tensor, bool given) const {
    tensor.data = buffer.address() + static_cast<uint64_t>(place.base * bytes_of(dtype));
    tensor.dtype = dtype;
    if (given) std::copy_n(place.stride, 4, tensor.stride);
  }
};

namespace {

// Heads or rows are innermost, as in outputs and logarithms; guards of 64 elements lie at both ends.
template <typename Place>
Place place_tensor(const MergeCase &one, int64_t states, int64_t columns, bool rows_inner) {
  Place place{};
  place.states = states;
  const int64_t sizes[] = {one.batch, one.rows, one.heads, columns};
  std::copy_n(sizes, 4, place.size);
  const int64_t gap = one.layout == MergeLayout::contiguous ? 0 : one.layout == MergeLayout::padded ? 8 : 1;
  const bool states_inner = one.layout == MergeLayout::padded;
  int64_t step = columns + gap;
  place.stride[3] = 1;
  const auto next = [&](int64_t &stride, int64_t size) {
    stride = step;
    step = step * size + gap;
  };
  next(rows_inner ? place.stride[1] : place.stride[2], rows_inner ? one.rows : one.heads);
  if (states_inner) next(place.state_stride, states);
  next(rows_inner ? place.stride[2] : place.stride[1], rows_inner ? one.heads : one.rows);
  next(place.stride[0], one.batch);
  if (!states_inner) next(place.state_stride, states);
  place.base = one.layout == MergeLayout::odd ? 65 : 64;
  place.total = place.base + step + 64;
  return place;
}

}  // namespace

MergeOnDevice::MergeOnDevice(const Device &device, const MergeCase &one, uint32_t seed) : device_(device), case_(one) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, 1);
  output_states_ =
      std::make_shared<Tensor>(device, place_tensor<Place>(one, one.states, one.columns, false), one.dtype);
  lse_states_ =
      std::make_shared<Tensor>(device, place_tensor<Place>(one, one.states, 1, true), FLASHCORE_DTYPE_FLOAT32);
  for (Tensor *tensor : {output_states_.get(), lse_states_.get()})
    std::fill(tensor->written.begin(), tensor->written.end(), 0xff);  // NaN in every type
  for (int32_t state = 0; state < one.states; ++state) {
    std::vector<double> logarithms;
    lse_states_->place.for_each(state, [&](int64_t n, int64_t element) {
      logarithms.push_back(logarithm(one.logarithms, state, n, random));
      put(lse_states_->at(element), FLASHCORE_DTYPE_FLOAT32, logarithms.back());
    });
    output_states_->place.for_each(state, [&](int64_t n, int64_t element) {
      const bool empty = logarithms[static_cast<size_t>(n / one.columns)] == -infinity;
      put(output_states_->at(element), one.dtype, empty ? std::nan("") : normal(random));
    });
  }
  const bool output_in_place = one.in_place == InPlace::output || one.in_place == InPlace::both,
             lse_in_place = one.in_place == InPlace::lse || one.in_place == InPlace::both;
  output_ = output_in_place
                ? output_states_
                : std::make_shared<Tensor>(device, place_tensor<Place>(one, 1, one.columns, false), one.output_dtype);
  lse_ = lse_in_place ? lse_states_
                      : std::make_shared<Tensor>(device, place_tensor<Place>(one, 1, 1, true), FLASHCORE_DTYPE_FLOAT32);
  for (const Tensor *tensor : {output_states_.get(), lse_states_.get(), output_.get(), lse_.get()})
    tensor->buffer.write(tensor->written.data());
  truth_ = truth();

  args_.state_count = one.states;
  args_.batch = one.batch, args_.seqlen_q = one.rows, args_.heads_q = one.heads, args_.head_dim_v = one.columns;
  const bool given = one.layout != MergeLayout::contiguous;
  output_states_->fill_tensor(args_.output_states, given), lse_states_->fill_tensor(args_.lse_states, given);
  if (given) {
    args_.output_state_stride = output_states_->place.state_stride;
    args_.lse_state_stride = lse_states_->place.state_stride;
  }
  output_->fill_tensor(args_.output, given);
  if (one.with_lse) lse_->fill_tensor(args_.lse, given);
  args_.lse_base = one.base2 ? FLASHCORE_LSE_BASE2 : FLASHCORE_LSE_NATURAL;
}

flashcore_status MergeOnDevice::launch(flashcore_error *error) const {
  const flashcore_status status = flashcore_merge_states(device_.context(), &args_, nullptr, error);
  return status == FLASHCORE_OK ? flashcore_stream_synchronize(device_.context(), nullptr, error) : status;
}

MergeOnDevice::Truth MergeOnDevice::truth() const {
  const double factor = case_.base2 ? std::log(2.0) : 1.0;
  const auto rows = static_cast<size_t>(lse_states_->place.count());
  const auto columns = static_cast<size_t>(case_.columns);
  std::vector<std::vector<double>> logarithms(static_cast<size_t>(case_.states), std::vector<double>(rows));
  for (int32_t state = 0; state < case_.states; ++state)
    lse_states_->place.for_each(state, [&](int64_t n, int64_t element) {
      logarithms[static_cast<size_t>(state)][static_cast<size_t>(n)] =
          factor * get(lse_states_->at(element), FLASHCORE_DTYPE_FLOAT32);
    });
  Truth truth{std::vector<double>(rows * columns), std::vector<double>(rows), 0};
  std::vector<double> references(rows), sums(rows);
  for (size_t row = 0; row < rows; ++row) {
    double largest = -infinity;
    for (const auto &of_state : logarithms) largest = std::fmax(largest, of_state[row]);
    references[row] = std::isinf(largest) ? 0 : largest;
    for (const auto &of_state : logarithms) sums[row] += std::exp(of_state[row] - references[row]);
    truth.lse[row] = (references[row] + std::log(sums[row])) / factor;
  }
  for (int32_t state = 0; state < case_.states; ++state)
    output_states_->place.for_each(state, [&](int64_t n, int64_t element) {
      const size_t row = static_cast<size_t>(n) / columns;
      const double own = logarithms[static_cast<size_t>(state)][row];
      if (own == -infinity) return;
      const double value = get(output_states_->at(element), case_.dtype);
      truth.largest_output = std::fmax(truth.largest_output, std::fabs(value));
      truth.output[static_cast<size_t>(n)] += std::exp(own - references[row]) / sums[row] * value;
    });
  return truth;
}

// Float32 sums of as many products as there are states, relative to the largest of them, and one rounding to the type.
double MergeOnDevice::allowed_error(bool of_lse, double expected) const {
  if (of_lse) return 1e-6 + 2e-7 * case_.states + 3e-7 * std::fabs(expected);
  const double sums = (1e-6 + 1.2e-7 * case_.states) * truth_.largest_output;
  if (case_.output_dtype == FLASHCORE_DTYPE_FLOAT32) return sums;
  const bool bfloat16 = case_.output_dtype == FLASHCORE_DTYPE_BFLOAT16;
  return sums + std::fabs(expected) * (bfloat16 ? 0x1p-8 : 0x1p-11) * 1.001 + (bfloat16 ? 0x1p-134 : 0x1p-25);
}

std::string MergeOnDevice::judge_tensor(const char *name, const Tensor &tensor,
                                        const std::vector<double> &expected) const {
  std::vector<unsigned char> now(tensor.written.size());
  tensor.buffer.read(now.data());
  std::vector<unsigned char> rest = now;
  std::string wrong;
  const auto bytes = static_cast<size_t>(bytes_of(tensor.dtype));
  tensor.place.for_each(0, [&](int64_t n, int64_t element) {
    const size_t at = static_cast<size_t>(element) * bytes;
    std::copy_n(tensor.written.begin() + static_cast<ptrdiff_t>(at), bytes, rest.begin() + static_cast<ptrdiff_t>(at));
    const double got = get(now.data() + at, tensor.dtype), wanted = expected[static_cast<size_t>(n)];
    const double allowed = allowed_error(&tensor == lse_.get(), wanted);
    const bool same_kind = std::isfinite(wanted) ? std::isfinite(got)
                           : std::isnan(wanted)  ? std::isnan(got)
                                                 : got == wanted;
    if (std::isfinite(wanted) && same_kind)
      largest_share_ = std::fmax(largest_share_, std::fabs(got - wanted) / allowed);
    if (same_kind && (!std::isfinite(wanted) || std::fabs(got - wanted) <= allowed)) return;
    if (wrong.empty())
      wrong = std::string(name) + "[" + std::to_string(n) + "] is " + std::to_string(got) + ", not " +
              std::to_string(wanted) + " within " + std::to_string(allowed);
  });
  if (!wrong.empty()) return wrong;
  return rest == tensor.written ? "" : std::string("bytes beside the elements of ") + name + " were written";
}

std::string MergeOnDevice::judge() const {
  largest_share_ = 0;
  if (std::string wrong = judge_tensor("output", *output_, truth_.output); !wrong.empty()) return wrong;
  if (case_.with_lse)
    if (std::string wrong = judge_tensor("lse", *lse_, truth_.lse); !wrong.empty()) return wrong;
  for (const auto &[tensor, name] :
       {std::pair{output_states_, "output_states"}, std::pair{lse_states_, "lse_states"}}) {
    if (tensor == output_ || tensor == lse_) continue;
    std::vector<unsigned char> now(tensor->written.size());
    tensor->buffer.read(now.data());
    if (now != tensor->written) return std::string(name) + " was changed, an input";
  }
  return "";
}

std::vector<unsigned char> MergeOnDevice::results() const {
  std::vector<unsigned char> all(output_->written.size()), lse(lse_->written.size());
  output_->buffer.read(all.data());
  lse_->buffer.read(lse.data());
  all.insert(all.end(), lse.begin(), lse.end());
  return all;
}

}  // namespace flashcore::tests
