// SPDX-License-Identifier: Apache-2.0
//
// Fixed-width integers for code that the host compiler and NVRTC both read: NVRTC has no <cstdint>, libcu++ has.
#pragma once

#ifdef __CUDACC_RTC__
#include <cuda/std/cstdint>
namespace flashcore::kernels {
using cuda::std::int32_t;
using cuda::std::int64_t;
using cuda::std::uint16_t;
using cuda::std::uint32_t;
using cuda::std::uint64_t;
using cuda::std::uintptr_t;
}  // namespace flashcore::kernels
#else
#include <cstdint>
namespace flashcore::kernels {
using std::int32_t;
using std::int64_t;
using std::uint16_t;
using std::uint32_t;
using std::uint64_t;
using std::uintptr_t;
}  // namespace flashcore::kernels
#endif

namespace flashcore::kernels {
// The first type or the second.
template <bool first, typename First, typename Second>
struct Either {
  using Type = First;
};
template <typename First, typename Second>
struct Either<false, First, Second> {
  using Type = Second;
};
template <bool first, typename First, typename Second>
using OneOf = typename Either<first, First, Second>::Type;

// A compile-time constant as a function argument, for generic lambdas: `if constexpr (masked.value)`.
template <auto constant>
struct Constant {
  static constexpr auto value = constant;
};
}  // namespace flashcore::kernels
