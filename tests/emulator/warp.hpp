// SPDX-License-Identifier: Apache-2.0
//
// Instructions that the 32 lanes of a warp execute together, on the host: each lane calls with what is its own. Fragments lie over the
// lanes as kernels/parts/mma_sm80.cuh says. Sums are of float64 and rounded once, so that they differ from a GPU's in order alone.
#pragma once

#include <cstdint>

namespace emulator {

uint32_t shuffle(uint32_t value, uint32_t source_lane);
uint32_t ballot(bool value);  // a bit for each lane
bool any(bool value);
void sync_warp();  // what each has done is before what any does from here on; all else here orders nothing

float float_of(uint16_t bits, bool bfloat16);
uint16_t bits16_of(float value, bool bfloat16);  // rounded to nearest even
float flushed(float value);                      // subnormal numbers to zero

void load_matrix_x4(uint32_t (&r)[4], uint32_t row_address, bool transposed);
uint32_t transpose_8x8(uint32_t pair);
void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, bool bfloat16);

// The layout of WMMA fragments is the hardware's secret. Here a lane holds eight neighbouring elements of a 16x16 matrix: those of row
// lane / 2 from column lane % 2 * 8 on. An operand's register holds two of them; registers beyond four repeat the first ones.
enum class Order { rows, columns };
void wmma_load(uint32_t *r, int32_t registers, uint32_t tile_address, int32_t pitch, Order order);
void wmma_load_floats(float (&r)[8], uint32_t tile_address, int32_t pitch);
void wmma_store_floats(uint32_t tile_address, const float (&r)[8], int32_t pitch);
void wmma_multiply(float (&c)[8], const uint32_t *a, const uint32_t *b, bool bfloat16);

}  // namespace emulator
