// SPDX-License-Identifier: Apache-2.0
//
// Queries, keys and values as the 16-bit numbers that a kernel reads: from files, or from a seed.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "../common/memory.hpp"
#include "../common/reference_attention.hpp"
#include "run.hpp"

namespace flashcore::tools {
namespace {

Failure misfits(const Words &problems) {
  std::string text = problems.size() == 1 ? "an input does not fit:" : "the inputs do not fit together:";
  for (const std::string &problem : problems) text += fmt::format("\n  {}", problem);
  return input_failure(text);
}

// --- Files ---------------------------------------------------------------------------------------------------------

struct NamedArray {
  const char *option;
  NpyArray array;
};

// Sizes as one array states them.
struct ArraySizes {
  int64_t batch, seqlen, heads, head_dim;
};
ArraySizes sizes_of(const NpyArray &array, Layout layout) {
  const auto &shape = array.shape;
  return layout == Layout::bshd ? ArraySizes{shape[0], shape[1], shape[2], shape[3]}
                                : ArraySizes{shape[0], shape[2], shape[1], shape[3]};
}

void check_array(const NamedArray &named, Float16Type dtype, Layout layout, Words &problems) {
  const NpyArray &array = named.array;
  const NpyType exact = dtype == Float16Type::float16 ? NpyType::float16 : NpyType::uint16;
  if (array.type != exact && array.type != NpyType::float32)
    problems.push_back(
        fmt::format("--{} is {}, but with --dtype {} it must be {} or float32{}", named.option, array.describe(),
                    dtype_word(dtype), dtype == Float16Type::float16 ? "float16" : "uint16 (bits of bfloat16)",
                    array.type == NpyType::uint16 ? " (--dtype bf16 takes it as bits of bfloat16)" : ""));
  if (array.shape.size() != 4)
    problems.push_back(fmt::format(
        "--{} is {}, but must have four dimensions: {}", named.option, array.describe(),
        layout == Layout::bshd ? "[batch, sequence, head, dimension]" : "[batch, head, sequence, dimension]"));
}

// Sizes that two arrays must share.
void check_same(const char *what, const NamedArray &a, int64_t a_size, const NamedArray &b, int64_t b_size,
                Words &problems) {
  if (a_size != b_size)
    problems.push_back(fmt::format("{}: {} in --{} ({}), {} in --{} ({})", what, a_size, a.option, a.array.describe(),
                                   b_size, b.option, b.array.describe()));
}

Sizes common_sizes(const NamedArray (&arrays)[3], Layout layout, Words &problems) {
  const ArraySizes query = sizes_of(arrays[0].array, layout), key = sizes_of(arrays[1].array, layout),
                   value = sizes_of(arrays[2].array, layout);
  check_same("batch differs", arrays[0], query.batch, arrays[1], key.batch, problems);
  check_same("batch differs", arrays[0], query.batch, arrays[2], value.batch, problems);
  check_same("head dimension differs", arrays[0], query.head_dim, arrays[1], key.head_dim, problems);
  check_same("sequence length differs", arrays[1], key.seqlen, arrays[2], value.seqlen, problems);
  check_same("number of heads differs", arrays[1], key.heads, arrays[2], value.heads, problems);
  if (key.heads == 0 || query.heads % key.heads != 0)
    problems.push_back(fmt::format("--key has {} heads, but their number must divide the {} heads of --query",
                                   key.heads, query.heads));
  return {query.batch, query.seqlen, key.seqlen, query.heads, key.heads, query.head_dim, value.head_dim};
}

// The numbers in the request's type; float32 is rounded, which a note says.
std::vector<uint16_t> to_bits(const NamedArray &named, Float16Type dtype, Words &notes) {
  if (named.array.type != NpyType::float32) return bits_of(named.array);
  std::vector<uint16_t> bits;
  bits.reserve(static_cast<size_t>(named.array.element_count()));
  int64_t overflowed = 0;
  for (double value : values_of(named.array)) {
    bits.push_back(to_16bit(dtype, value));
    if (std::isfinite(value) && !std::isfinite(to_double(dtype, bits.back()))) ++overflowed;
  }
  std::string note = fmt::format("--{} is float32 and was rounded to {}", named.option, dtype_word(dtype));
  if (overflowed > 0) note += fmt::format("; {} of {} numbers became infinite", overflowed, bits.size());
  notes.push_back(note);
  return bits;
}

// --- Random numbers ------------------------------------------------------------------------------------------------

// splitmix64, and pairs of normal numbers after Box and Muller: the same on every platform, unlike the standard
// library's.
class NormalNumbers {
 public:
  explicit NormalNumbers(uint64_t seed) : state_(seed) {}

  double next() {
    if (has_second_) {
      has_second_ = false;
      return second_;
    }
    const double radius = std::sqrt(-2 * std::log(1 - uniform())), angle = 2 * std::numbers::pi * uniform();
    second_ = radius * std::sin(angle);
    has_second_ = true;
    return radius * std::cos(angle);
  }

 private:
  double uniform() {  // in [0, 1)
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

  uint64_t state_;
  double second_ = 0;
  bool has_second_ = false;
};

std::vector<uint16_t> random_bits(int64_t seed, uint64_t stream, int64_t count, Float16Type dtype) {
  NormalNumbers numbers(static_cast<uint64_t>(seed) * 0x2545f4914f6cdd1d + stream);
  std::vector<uint16_t> bits(static_cast<size_t>(count));
  for (uint16_t &value : bits) value = to_16bit(dtype, numbers.next());
  return bits;
}

// Can the elements of [batch, seqlen, heads, head_dim] and its strides be counted? An empty array has strides too.
bool countable(int64_t batch, int64_t seqlen, int64_t heads, int64_t head_dim) {
  int64_t count = 1;
  for (const int64_t size : {batch, seqlen, heads, head_dim})
    if (__builtin_mul_overflow(count, std::max<int64_t>(size, 1), &count)) return false;
  return count <= INT64_MAX / 16;
}

// Elements of [batch, seqlen, heads, head_dim]; a failure where they cannot be counted or do not fit into this machine.
Outcome<int64_t> checked_count(const char *what, int64_t batch, int64_t seqlen, int64_t heads, int64_t head_dim,
                               bool stored) {
  const int64_t machine_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  const bool known = countable(batch, seqlen, heads, head_dim);
  const int64_t count = known ? batch * seqlen * heads * head_dim : 0;
  if (!known || (stored && count * 2 > machine_bytes))
    return usage_failure(
        fmt::format("the {} would be [{}, {}, {}, {}] numbers, more than this machine's {} of memory hold", what, batch,
                    seqlen, heads, head_dim, format_bytes(machine_bytes)));
  return count;
}

// The library counts heads and dimensions in 32 bits.
void check_ranges(const Sizes &sizes, const NamedArray (&arrays)[3], Words &problems) {
  const struct {
    const char *what;
    int64_t size;
    const NamedArray &array;
  } narrow[] = {{"heads", sizes.heads_q, arrays[0]},
                {"heads", sizes.heads_kv, arrays[1]},
                {"dimensions", sizes.head_dim, arrays[0]},
                {"dimensions", sizes.head_dim_v, arrays[2]}};
  for (const auto &row : narrow)
    if (row.size > INT32_MAX)
      problems.push_back(fmt::format("--{} ({}) has {} {}, but at most {} are allowed", row.array.option,
                                     row.array.array.describe(), row.size, row.what, INT32_MAX));
  if (!countable(sizes.batch, sizes.seqlen_q, sizes.heads_q, std::max(sizes.head_dim, sizes.head_dim_v)) ||
      !countable(sizes.batch, sizes.seqlen_kv, sizes.heads_kv, std::max(sizes.head_dim, sizes.head_dim_v)))
    problems.push_back("the elements of these sizes, or of an output for them, cannot be counted in 64 bits");
}

}  // namespace

Strides array_strides(Layout layout, int64_t seqlen, int64_t heads, int64_t head_dim) {
  if (layout == Layout::bshd) return {{seqlen * heads * head_dim, heads * head_dim, head_dim, 1}};
  return {{heads * seqlen * head_dim, head_dim, seqlen * head_dim, 1}};
}

Step check_run_memory(const RunRequest &request, const Sizes &sizes, bool inputs_are_there) {
  if (request.explain) return Done{};
  const auto real = [](int64_t size) { return static_cast<double>(size); };
  const double query_rows = real(sizes.batch) * real(sizes.seqlen_q) * real(sizes.heads_q);
  const double key_rows = real(sizes.batch) * real(sizes.seqlen_kv) * real(sizes.heads_kv);
  const double inputs = query_rows * real(sizes.head_dim) + key_rows * (real(sizes.head_dim) + real(sizes.head_dim_v));
  const double output = query_rows * real(sizes.head_dim_v);
  const double lse = request.check || !request.lse.empty() ? query_rows : 0;
  int32_t gpus = 0;
  const bool on_cpu = request.context.device_kind == FLASHCORE_DEVICE_CPU ||
                      (request.context.device_kind == FLASHCORE_DEVICE_AUTO &&
                       (flashcore_device_count(&gpus, nullptr) != FLASHCORE_OK || gpus == 0));
  MemoryNeeds needs = {{inputs_are_there ? "inputs in the type of the computation" : "inputs", 2 * inputs},
                       {"output", 2 * output + 4 * lse}};
  if (on_cpu) needs.emplace_back("what the CPU device computes on", 2 * (inputs + output) + 4 * lse);
  // Inputs as float32, three outputs and sums as float64, and the keys and scores that each thread looks at.
  if (request.check)
    needs.emplace_back("the reference of --check",
                       4 * inputs + 24 * (output + lse) + 24 * real(sizes.seqlen_kv) * reference_threads());
  return check_memory(needs);
}

std::vector<int64_t> array_shape(Layout layout, int64_t batch, int64_t seqlen, int64_t heads, int64_t head_dim) {
  if (layout == Layout::bshd) return {batch, seqlen, heads, head_dim};
  return {batch, heads, seqlen, head_dim};
}

Outcome<Inputs> load_inputs(const RunRequest &request, const Options &options) {
  NamedArray arrays[3] = {{"query", {}}, {"key", {}}, {"value", {}}};
  const std::string *paths[3] = {&request.query, &request.key, &request.value};
  Words problems;
  for (size_t i = 0; i < 3; ++i) {
    TOOLS_TRY_ASSIGN(arrays[i].array, read_npy(*paths[i]));
    check_array(arrays[i], request.dtype, request.layout, problems);
  }
  for (const NamedArray &named : arrays)
    if (named.array.shape.size() != 4) return misfits(problems);
  Inputs inputs;
  inputs.sizes = common_sizes(arrays, request.layout, problems);
  check_ranges(inputs.sizes, arrays, problems);
  if (!problems.empty()) return misfits(problems);
  TOOLS_TRY_ASSIGN(inputs.extras, read_extra_arrays(options, inputs.sizes, problems));
  if (!problems.empty()) return misfits(problems);
  TOOLS_TRY(check_run_memory(request, inputs.sizes, true));
  inputs.query = to_bits(arrays[0], request.dtype, inputs.notes);
  inputs.key = to_bits(arrays[1], request.dtype, inputs.notes);
  inputs.value = to_bits(arrays[2], request.dtype, inputs.notes);
  return inputs;
}

Outcome<Inputs> random_inputs(const RunRequest &request, const Options &options) {
  const Sizes &sizes = request.random_sizes;
  if (sizes.heads_q % sizes.heads_kv != 0)
    return usage_failure(
        fmt::format("option --heads-kv is {}, but must divide --heads, {}", sizes.heads_kv, sizes.heads_q));
  const bool stored = !request.explain;
  TOOLS_TRY_ASSIGN(const int64_t query,
                   checked_count("query", sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim, stored));
  TOOLS_TRY_ASSIGN(const int64_t key,
                   checked_count("key", sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim, stored));
  TOOLS_TRY_ASSIGN(const int64_t value,
                   checked_count("value", sizes.batch, sizes.seqlen_kv, sizes.heads_kv, sizes.head_dim_v, stored));
  TOOLS_TRY(checked_count("output", sizes.batch, sizes.seqlen_q, sizes.heads_q, sizes.head_dim_v, stored));
  Inputs inputs;
  inputs.sizes = sizes;
  Words problems;
  TOOLS_TRY_ASSIGN(inputs.extras, read_extra_arrays(options, sizes, problems));
  if (!problems.empty()) return misfits(problems);
  if (request.explain) return inputs;  // shapes are enough
  TOOLS_TRY(check_run_memory(request, sizes, false));
  inputs.query = random_bits(*request.random_seed, 1, query, request.dtype);
  inputs.key = random_bits(*request.random_seed, 2, key, request.dtype);
  inputs.value = random_bits(*request.random_seed, 3, value, request.dtype);
  return inputs;
}

}  // namespace flashcore::tools
