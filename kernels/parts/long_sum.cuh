// SPDX-License-Identifier: Apache-2.0
//
// O of rows of many keys. A tensor core cuts off what does not fit under its sum, where float32 rounds: about three units in the last
// place of O in a step of 16 keys, always towards 0. In 32,768 keys that is as much as a float16 output is rounded by. So after a
// stretch of steps O goes to a sum in thread-local memory, and starts again at 0. Rows of one stretch never touch it.
// Tried: the sum of each tile added to O on its own: spills where registers are short (D=128), and costs something in every step.
#pragma once

#include "parts/numeric.cuh"
#include "parts/ptx_sm80.cuh"

namespace flashcore::kernels {

// Reached by an address that the compiler cannot work out, so that it leaves them out of registers. Element by element: wide heads have no
// four registers in a row to spare, and in vectors of four it spills.
template <int32_t count>
class LocalFloats {
 public:
  class Address {
   public:
    __device__ __forceinline__ explicit Address(int64_t first) : first_(first) {}
    __device__ __forceinline__ void store(int32_t index, float value) const {
      store_local_4(first_ + index * 4, value);
    }
    __device__ __forceinline__ float load(int32_t index) const { return load_local_4(first_ + index * 4); }

   private:
    int64_t first_;
  };
  // `step`: any that is not negative; of which the compiler does not know that its upper bits are 0.
  __device__ __forceinline__ Address address(int32_t step) const {
    return Address(static_cast<int64_t>(__cvta_generic_to_local(floats_ + (step >> 30))));
  }

 private:
  float floats_[count];
};

// Output: a thread's accumulators, an array of C fragments; row_of(i): the row, among those of `references`, of its i-th float.
// Steps are counted down to 0, and a stretch ends after each that is a multiple of `steps`.
template <int32_t steps, typename Output, int32_t rows, auto row_of>
class LongSum {
 public:
  static constexpr bool ends_stretch(int32_t step) { return step % steps == 0; }
  // Of the stretch that `step` is in, or 1: whoever finishes step 0 elsewhere does not come to it.
  static constexpr int32_t last_before_end(int32_t step) { return step < steps ? 1 : step / steps * steps; }

  // After such a step of steps first_step .. 0. `factor` makes exponents of 2 of references.
  template <typename References>
  __device__ __forceinline__ void end_stretch(Output &output, const References &references, int32_t step,
                                              int32_t first_step, float factor) {
    static_assert(sizeof(References) == rows * sizeof(float));
    float *const sums = reinterpret_cast<float *>(&output);
    const float *const reference = reinterpret_cast<const float *>(&references);
    const auto stored = stored_.address(step);
    if (step < first_step / steps * steps) {
      float weights[rows];
#pragma unroll
      for (int32_t row = 0; row < rows; ++row)
        weights[row] = exp2_approx((stored.load(count + row) - subtrahend(reference[row])) * factor);
#pragma unroll
      for (int32_t i = 0; i < count; ++i) sums[i] = fmaf(stored.load(i), weights[row_of(i)], sums[i]);
    }
    if (step == 0) return;
#pragma unroll
    for (int32_t row = 0; row < rows; ++row) stored.store(count + row, reference[row]);
#pragma unroll
    for (int32_t i = 0; i < count; ++i) stored.store(i, sums[i]), sums[i] = 0.0f;
  }

 private:
  static constexpr int32_t count = sizeof(Output) / sizeof(float);
  LocalFloats<count + rows> stored_;  // O, and what its rows' references were
};

}  // namespace flashcore::kernels
