// SPDX-License-Identifier: Apache-2.0
//
// wgmma, Hopper's product of a warpgroup: 64 rows, which its four warps hold by 16 in the layout of mma.sync's C fragments, by n columns,
// over a depth of 16. B is in shared memory, A there or in registers. It runs in the background: what it reads and writes is left alone
// until its group has been waited for (PTX ISA, "Asynchronous warpgroup level matrix operations").
#pragma once

#include "contract/problem_key.h"
#include "parts/mma_sm80.cuh"

namespace flashcore::kernels {

// Before the first product, and after registers that it uses were written.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most `pending` groups are under way.
template <int32_t pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// c of n columns: float[n / 2] of each thread.
template <int32_t n>
struct Wgmma;

#define FLASHCORE_FLOATS_8(i)                                                                                 \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), \
      "+f"(c[i + 7])
#define FLASHCORE_FLOATS_16(i) FLASHCORE_FLOATS_8(i), FLASHCORE_FLOATS_8(i + 8)
#define FLASHCORE_FLOATS_32(i) FLASHCORE_FLOATS_16(i), FLASHCORE_FLOATS_16(i + 16)
#define FLASHCORE_FLOATS_64(i) FLASHCORE_FLOATS_32(i), FLASHCORE_FLOATS_32(i + 32)
#define FLASHCORE_NAMES_8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FLASHCORE_NAMES_16 FLASHCORE_NAMES_8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define FLASHCORE_NAMES_24 FLASHCORE_NAMES_16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define FLASHCORE_NAMES_32 FLASHCORE_NAMES_24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define FLASHCORE_NAMES_40 FLASHCORE_NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define FLASHCORE_NAMES_48 FLASHCORE_NAMES_40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define FLASHCORE_NAMES_56 FLASHCORE_NAMES_48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define FLASHCORE_NAMES_64 FLASHCORE_NAMES_56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define FLASHCORE_NAMES_72 FLASHCORE_NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define FLASHCORE_NAMES_80 FLASHCORE_NAMES_72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define FLASHCORE_NAMES_88 FLASHCORE_NAMES_80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define FLASHCORE_NAMES_96 FLASHCORE_NAMES_88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define FLASHCORE_NAMES_104 FLASHCORE_NAMES_96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define FLASHCORE_NAMES_112 FLASHCORE_NAMES_104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define FLASHCORE_NAMES_120 FLASHCORE_NAMES_112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define FLASHCORE_NAMES_128 FLASHCORE_NAMES_120 ", %120, %121, %122, %123, %124, %125, %126, %127"

#define FLASHCORE_WGMMA_SHARED(type, n, names, p0, p1, p2, ...)                                   \
  asm volatile(                                                                                   \
      "{\n\t"                                                                                     \
      ".reg .pred accumulate;\n\t"                                                                \
      "setp.ne.b32 accumulate, " p2                                                               \
      ", 0;\n\t"                                                                                  \
      "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" names "}, " p0 ", " p1 \
      ", accumulate, 1, 1, 0, 0;\n\t"                                                             \
      "}"                                                                                         \
      : __VA_ARGS__                                                                               \
      : "l"(a), "l"(b), "r"(accumulate ? 1 : 0))
#define FLASHCORE_WGMMA_REGISTERS(type, n, names, p0, p1, p2, p3, p4, ...)                                          \
  asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." type "." type " {" names "}, {" p0 ", " p1 ", " p2 \
               ", " p3 "}, " p4 ", 1, 1, 1, 1;"                                                                     \
               : __VA_ARGS__                                                                                        \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
// p0 .. p4: the names of what follows the floats.
#define FLASHCORE_WGMMA(n, names, p0, p1, p2, p3, p4, ...)                                                            \
  template <>                                                                                                         \
  struct Wgmma<n> {                                                                                                   \
    /* c = a . b^T, or with `accumulate` c += a . b^T: both are read along their rows. */                             \
    template <int32_t dtype>                                                                                          \
    static __device__ __forceinline__ void rows_by_rows(float (&c)[n / 2], uint64_t a, uint64_t b, bool accumulate) { \
      if constexpr (dtype == dtype_float16)                                                                           \
        FLASHCORE_WGMMA_SHARED("f16", n, names, p0, p1, p2, __VA_ARGS__);                                             \
      else                                                                                                            \
        FLASHCORE_WGMMA_SHARED("bf16", n, names, p0, p1, p2, __VA_ARGS__);                                            \
    }                                                                                                                 \
    /* c += a . b, b read down its columns. */                                                                        \
    template <int32_t dtype>                                                                                          \
    static __device__ __forceinline__ void add_columns(float (&c)[n / 2], const uint32_t (&a)[4], uint64_t b) {       \
      if constexpr (dtype == dtype_float16)                                                                           \
        FLASHCORE_WGMMA_REGISTERS("f16", n, names, p0, p1, p2, p3, p4, __VA_ARGS__);                                  \
      else                                                                                                            \
        FLASHCORE_WGMMA_REGISTERS("bf16", n, names, p0, p1, p2, p3, p4, __VA_ARGS__);                                 \
    }                                                                                                                 \
  }
FLASHCORE_WGMMA(64, FLASHCORE_NAMES_32, "%32", "%33", "%34", "%35", "%36", FLASHCORE_FLOATS_32(0));
FLASHCORE_WGMMA(80, FLASHCORE_NAMES_40, "%40", "%41", "%42", "%43", "%44", FLASHCORE_FLOATS_32(0),
                FLASHCORE_FLOATS_8(32));
FLASHCORE_WGMMA(96, FLASHCORE_NAMES_48, "%48", "%49", "%50", "%51", "%52", FLASHCORE_FLOATS_32(0),
                FLASHCORE_FLOATS_16(32));
FLASHCORE_WGMMA(112, FLASHCORE_NAMES_56, "%56", "%57", "%58", "%59", "%60", FLASHCORE_FLOATS_32(0),
                FLASHCORE_FLOATS_16(32), FLASHCORE_FLOATS_8(48));
FLASHCORE_WGMMA(128, FLASHCORE_NAMES_64, "%64", "%65", "%66", "%67", "%68", FLASHCORE_FLOATS_64(0));
FLASHCORE_WGMMA(160, FLASHCORE_NAMES_80, "%80", "%81", "%82", "%83", "%84", FLASHCORE_FLOATS_64(0),
                FLASHCORE_FLOATS_16(64));
FLASHCORE_WGMMA(176, FLASHCORE_NAMES_88, "%88", "%89", "%90", "%91", "%92", FLASHCORE_FLOATS_64(0),
                FLASHCORE_FLOATS_16(64), FLASHCORE_FLOATS_8(80));
FLASHCORE_WGMMA(192, FLASHCORE_NAMES_96, "%96", "%97", "%98", "%99", "%100", FLASHCORE_FLOATS_64(0),
                FLASHCORE_FLOATS_32(64));
FLASHCORE_WGMMA(256, FLASHCORE_NAMES_128, "%128", "%129", "%130", "%131", "%132", FLASHCORE_FLOATS_64(0),
                FLASHCORE_FLOATS_64(64));

}  // namespace flashcore::kernels
