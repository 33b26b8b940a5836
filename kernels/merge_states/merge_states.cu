// SPDX-License-Identifier: Apache-2.0
//
// merge_states: results of attention over parts of the keys become that of all keys. A thread has 16 bytes of a row's columns in every state
// and reads each of them once, four states ahead of their use; the weights, which are a row's, every thread of it computes for itself.
// Memory decides how long it takes. Rows that 16 bytes do not fit go element by element, by the second entry point.
#include "contract/passport.h"
#include "merge_states/merge_params.h"

// ---- Passport ------------------------------------------------------------------------------------------------------
namespace flashcore::kernels::merge_states {

struct Choices {
  int32_t dtype, output_dtype;
};
#ifndef __CUDACC_RTC__
inline constexpr Choice choices[] = {
    {"dtype", Choice::word, "fp16|bf16|fp32", dtype_float16, dtype_float32},
    {"output_dtype", Choice::word, "fp16|bf16|fp32", dtype_float16, dtype_float32, Choice::that_before},
};
#endif

// Of one type of 16 bits there are no merges in another one that anybody has; they are compiled on first need.
constexpr bool specialization(int32_t index, Choices *out) {
  constexpr Choices shipped[] = {
      {dtype_float16, dtype_float16},  {dtype_float16, dtype_float32}, {dtype_bfloat16, dtype_bfloat16},
      {dtype_bfloat16, dtype_float32}, {dtype_float32, dtype_float16}, {dtype_float32, dtype_bfloat16},
      {dtype_float32, dtype_float32},
  };
  constexpr int32_t count = sizeof(shipped) / sizeof(shipped[0]);
  if (index < 0 || index >= count) return false;
  *out = shipped[index];
  return true;
}

constexpr int64_t dynamic_shared_bytes(const Choices &) { return 0; }

#ifndef __CUDACC_RTC__
inline constexpr Passport passport = {
    .name = "merge_states",
    .summary = "merges results of attention over parts of the keys (flashcore_merge_states), any head_dim_v",
    .minimum_arch = 80,
    .maximum_arch = 0,
    .by_name_only = false,
    .choices = choice_table<Choices>(choices),
    .specialization = on_choices<specialization>,
    .allows = allows_all,
    .refuse = nullptr,
    .serves = nullptr,
    .dynamic_shared_bytes = on_choices<dynamic_shared_bytes>,
    .plan = nullptr,
    .parameter_bytes = sizeof(MergeStatesParams),
    .pack = nullptr,
    .patches = {},
    .further_entry_points = {"merge_states_elementwise"},
    .operation = operation_merge_states,
};
#endif
}  // namespace flashcore::kernels::merge_states

// ---- Device --------------------------------------------------------------------------------------------------------
#ifdef __CUDACC_RTC__
#include "parts/ptx_sm80.cuh"
#include "specialization.h"

namespace flashcore::kernels::merge_states {

constexpr float infinity = __builtin_bit_cast(float, 0x7f800000u);
constexpr int32_t states_at_once = 4;
// Of a multiprocessor: 80 KB are on the way then, and 48 registers are enough (of its own ptxas takes 40, and spills).
constexpr int32_t resident_blocks = 5;

// `count` elements of a type, as they lie in memory, where their address is a multiple of all of their bytes or of 16.
template <int32_t dtype, int32_t count>
struct Columns {
  static constexpr int32_t bytes = count * element_bytes(dtype);
  using Word = OneOf<bytes == 2, uint16_t, uint32_t>;
  static constexpr int32_t words = bytes / static_cast<int32_t>(sizeof(Word));
  Word word[words];

  __device__ __forceinline__ void load(const void *source) {
    if constexpr (words == 4) {
      const uint4 all = *static_cast<const uint4 *>(source);
      word[0] = all.x, word[1] = all.y, word[2] = all.z, word[3] = all.w;
    } else {
      static_assert(words == 1);
      word[0] = *static_cast<const Word *>(source);
    }
  }
  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int32_t i = 0; i < words; ++i) word[i] = 0;
  }
  __device__ __forceinline__ float column(int32_t i) const {
    if constexpr (dtype == dtype_float32)
      return __uint_as_float(word[i]);
    else if constexpr (bytes == 2)
      return to_float<dtype>(word[0]);
    else
      return to_float<dtype>(static_cast<uint16_t>(word[i / 2] >> (i % 2 * 16)));
  }

  static __device__ __forceinline__ Columns of(const float (&values)[count]) {
    Columns columns;
    if constexpr (dtype == dtype_float32) {
#pragma unroll
      for (int32_t i = 0; i < words; ++i) columns.word[i] = __float_as_uint(values[i]);
    } else if constexpr (bytes == 2) {
      columns.word[0] = static_cast<uint16_t>(pack2<dtype>(values[0], 0.0f));
    } else {
#pragma unroll
      for (int32_t i = 0; i < words; ++i) columns.word[i] = pack2<dtype>(values[2 * i], values[2 * i + 1]);
    }
    return columns;
  }
  __device__ __forceinline__ void store(void *target) const {
    if constexpr (words % 4 == 0) {
#pragma unroll
      for (int32_t i = 0; i < words / 4; ++i)
        static_cast<uint4 *>(target)[i] = make_uint4(word[4 * i], word[4 * i + 1], word[4 * i + 2], word[4 * i + 3]);
    } else if constexpr (words == 2) {
      *static_cast<uint2 *>(target) = make_uint2(word[0], word[1]);
    } else {
      static_assert(words == 1);
      *static_cast<Word *>(target) = word[0];
    }
  }
};

// A row of one head and batch entry, by its elements' offset in a tensor.
struct Row {
  uint32_t batch, position, head;

  static __device__ __forceinline__ Row of(const MergeStatesParams &params, uint32_t row) {
    const uint32_t position = row / params.heads;
    return {position / params.seqlen_q, position % params.seqlen_q, row % params.heads};
  }
  __device__ __forceinline__ int64_t offset(const TensorView &tensor) const {
    return batch * tensor.stride_batch + position * tensor.stride_row + head * tensor.stride_head;
  }
};

// What the logarithms are relative to: the largest, but where that is infinite, of which a difference would be NaN.
__device__ __forceinline__ float reference_of(const float *lse, const MergeStatesParams &params) {
  float largest = -infinity;
#pragma unroll 4
  for (int32_t state = 0; state < params.state_count; ++state)
    largest = fmaxf(largest, lse[state * params.lse_state_stride]);
  return largest == infinity || largest == -infinity ? 0.0f : largest;
}

// A step of Newton's makes it as good as a division, without the subroutine that one calls: 1 is exactly 1. Of infinity it is NaN.
__device__ __forceinline__ float inverse_of(float sum) {
  const float near = reciprocal_approx(sum);
  return fmaf(fmaf(-sum, near, 1.0f), near, near);
}

// The columns of one thread; what it returns is the sum of the weights, the same in all threads of the row.
template <bool wide>
__device__ __forceinline__ float merge_chunk(const MergeStatesParams &params, const Row &row, uint32_t chunk,
                                             const float *lse, float reference) {
  constexpr int32_t count = columns_per_thread(chosen.dtype, wide);
  using Input = Columns<chosen.dtype, count>;
  using Output = Columns<chosen.output_dtype, count>;
  const int64_t first = row.offset(params.output_states) + chunk * count;
  float sum = 0.0f, columns[count] = {};
#pragma unroll 1
  for (int32_t begin = 0; begin < params.state_count; begin += states_at_once) {
    Input inputs[states_at_once];
    float weights[states_at_once];
#pragma unroll
    for (int32_t i = 0; i < states_at_once; ++i) {
      const int32_t state = begin + i;
      const float own = state < params.state_count ? lse[state * params.lse_state_stride] : -infinity;
      weights[i] = exp2_approx((own - reference) * params.log2_factor);
      inputs[i].clear();  // of a state that has seen no key nothing counts, and be it NaN
      if (own != -infinity)
        inputs[i].load(reinterpret_cast<const unsigned char *>(params.output_states.data) +
                       (first + state * params.output_state_stride) * element_bytes(chosen.dtype));
    }
#pragma unroll
    for (int32_t i = 0; i < states_at_once; ++i) {
      sum += weights[i];
#pragma unroll
      for (int32_t column = 0; column < count; ++column)
        columns[column] = fmaf(weights[i], inputs[i].column(column), columns[column]);
    }
  }
  const float inverse = sum == 0.0f ? 0.0f : inverse_of(sum);
#pragma unroll
  for (int32_t column = 0; column < count; ++column) columns[column] *= inverse;
  Output::of(columns).store(reinterpret_cast<unsigned char *>(params.output.data) +
                            (row.offset(params.output) + chunk * count) * element_bytes(chosen.output_dtype));
  return sum;
}

template <bool wide>
__device__ __forceinline__ void merge_rows(const MergeStatesParams &params) {
  const uint32_t in_block = threadIdx.x / params.threads_per_row, thread = threadIdx.x % params.threads_per_row,
                 number = blockIdx.x * params.rows_per_block + in_block;
  const bool has_row = in_block < params.rows_per_block && number < params.rows;
  const Row row = Row::of(params, has_row ? number : 0);
  const float *const lse = reinterpret_cast<const float *>(params.lse_states.data) + row.offset(params.lse_states);
  float reference = 0.0f, sum = 0.0f;
  if (has_row) {
    reference = reference_of(lse, params);
#pragma unroll 1
    for (uint32_t chunk = thread; chunk < params.chunks; chunk += params.threads_per_row)
      sum = merge_chunk<wide>(params, row, chunk, lse, reference);
  }
  __syncthreads();  // the logarithm may take the place of one that others of the row read
  if (has_row && thread == 0 && params.lse.data != 0)
    reinterpret_cast<float *>(params.lse.data)[row.offset(params.lse)] =
        fmaf(log2_approx(sum), params.lse_factor, reference);
}

}  // namespace flashcore::kernels::merge_states

extern "C" __global__ void __launch_bounds__(flashcore::kernels::merge_states::threads,
                                             flashcore::kernels::merge_states::resident_blocks)
    merge_states(const __grid_constant__ flashcore::kernels::MergeStatesParams params) {
  flashcore::kernels::merge_states::merge_rows<true>(params);
}

extern "C" __global__ void __launch_bounds__(flashcore::kernels::merge_states::threads,
                                             flashcore::kernels::merge_states::resident_blocks)
    merge_states_elementwise(const __grid_constant__ flashcore::kernels::MergeStatesParams params) {
  flashcore::kernels::merge_states::merge_rows<false>(params);
}
#endif
