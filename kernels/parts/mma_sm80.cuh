// SPDX-License-Identifier: Apache-2.0
//
// Ampere's tensor-core and copy instructions behind plain functions: ldmatrix, mma.sync m16n8k16, cp.async (PTX ISA,
// "Matrix multiply-accumulate operation using mma instruction" gives the fragment layouts).
//
// Fragments of lane l, g = l / 4, t = l % 4:
//   A 16x16: a0 row g, columns 2t 2t+1; a1 row g+8; a2 row g, columns 2t+8 2t+9; a3 row g+8 of those
//   B 16x8:  b0 rows 2t 2t+1 of column g; b1 rows 2t+8 2t+9
//   C 16x8:  c0 c1 row g, columns 2t 2t+1; c2 c3 row g+8
// So two neighbouring C tiles, rounded and packed, are the A fragment of the next product: probabilities never leave registers.
#pragma once

#include "contract/problem_key.h"

namespace flashcore::kernels {

using SharedAddress = uint32_t;  // address in the shared window

__device__ __forceinline__ SharedAddress shared_address(const void *pointer) {
  return static_cast<SharedAddress>(__cvta_generic_to_shared(pointer));
}

// Threads that share tiles and meet at a barrier: the whole block, a warp, or one of several groups that go their own ways,
// numbered from 1 (barrier 0 is the block's). `thread` counts within the group.
template <int32_t threads, bool whole_block>
struct Group {
  int32_t id, thread;

  __device__ __forceinline__ Group(int32_t group_id, int32_t thread_in_group) : id(group_id), thread(thread_in_group) {}
  __device__ __forceinline__ void barrier() const {
    if constexpr (whole_block)
      __syncthreads();
    else if constexpr (threads == 32)
      __syncwarp();
    else
      asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(threads) : "memory");
  }
};

// Four 8x8 matrices of 16-bit elements; lane l gives the row address of matrix l / 8.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row));
}
__device__ __forceinline__ void load_matrix_x4_transposed(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row));
}

// An 8x8 matrix of 16-bit elements, one row in each quad of lanes, two columns in each lane: transposed.
__device__ __forceinline__ uint32_t transpose_8x8(uint32_t pair) {
  uint32_t transposed;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
  return transposed;
}

// c += a . b
template <int32_t dtype>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (dtype == dtype_float16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copy 16 bytes to shared memory in the background, or write zeros where `valid` is false (nothing is read then).
__device__ __forceinline__ void copy_async_16(SharedAddress destination, const void *source, bool valid) {
  const int32_t source_bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(destination), "l"(source),
               "r"(source_bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until at most `pending` groups of this thread are under way.
template <int32_t pending>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

__device__ __forceinline__ void store_shared_16(SharedAddress destination, uint4 value) {
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(destination), "r"(value.x), "r"(value.y), "r"(value.z),
               "r"(value.w)
               : "memory");
}
__device__ __forceinline__ void or_shared_4(SharedAddress destination, uint32_t bits) {
  asm volatile("red.shared.or.b32 [%0], %1;" ::"r"(destination), "r"(bits) : "memory");
}
__device__ __forceinline__ uint4 load_shared_16(SharedAddress source) {
  uint4 value;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(source)
               : "memory");
  return value;
}
__device__ __forceinline__ uint32_t load_shared_4(SharedAddress source) {
  uint32_t value;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(source) : "memory");
  return value;
}

}  // namespace flashcore::kernels
