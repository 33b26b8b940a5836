// SPDX-License-Identifier: Apache-2.0
//
// What Hopper does beside its threads, on the host: barriers in shared memory, copies of tensor boxes and products of a warpgroup. Both
// run in the background, and what a thread must not do meanwhile is a fault. (PTX ISA: mbarrier, cp.async.bulk.tensor, setmaxnreg, wgmma.)
#pragma once

#include <cstdint>

namespace emulator {

// ---- Barriers in shared memory -------------------------------------------------------------------------------------
void shared_barrier_init(uint32_t at, int32_t arrivals);
void shared_barrier_fence();  // the copy engine sees those that this thread has initialised
void shared_barrier_arrive(uint32_t at, uint32_t expected_bytes);
void shared_barrier_wait(uint32_t at, uint32_t parity);

// ---- The copy engine -----------------------------------------------------------------------------------------------
// The box of a map that the stand-in driver has encoded, to shared memory; its bytes count at the barrier when they are there. Until then
// something else lies at their place, and neither another copy nor a product may come near.
struct BoxPlace {
  int32_t column, row, head, batch;
};
void copy_box(uint32_t destination, const void *tensor_map, uint32_t barrier, const BoxPlace &place);
void check_tensor_map(const char *what, const void *tensor_map);
void fence_stores_for_async();  // what this thread has stored is seen by products only from here on

// ---- Named barriers and registers ----------------------------------------------------------------------------------
void arrive_at_barrier(const char *what, int32_t id, int32_t threads);  // and go on
void give_registers_back(int32_t count);
void take_registers(int32_t count);

// ---- Products ------------------------------------------------------------------------------------------------------
// 64 rows by `columns` over a depth of 16. Operands are read when the warps of the warpgroup have all come, or as late as the first wait
// for them; results are in a thread's accumulators when it has waited. Until then they hold something else, and neither they nor the
// registers of an operand may be written.
struct Operands {
  float *accumulators;          // columns / 2
  const uint32_t *a;            // four registers; nullptr: it is in shared memory
  uint64_t a_matrix, b_matrix;  // descriptors
  int32_t columns;
  bool b_is_transposed, accumulate, bfloat16;
};
void multiply_in_background(const Operands &operands);
void fence_registers();  // what this thread wrote to registers is seen by products from here on
void end_product_group();
void wait_for_products(int32_t groups_pending);

}  // namespace emulator
