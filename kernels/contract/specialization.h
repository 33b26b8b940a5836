// SPDX-License-Identifier: Apache-2.0
//
// The compile-time choices of a kernel.
#pragma once

#include "contract/types.h"

namespace flashcore::kernels {

// Handed to NVRTC as the generated header "specialization.h" (flashcore::kernels::chosen). One struct for all kernels: a
// field that means nothing to a kernel is 0. No padding: it is part of keys that are compared as bytes.
struct Specialization {
  int32_t dtype;            // Dtype
  int32_t head_dim;         // columns of Q and K that the tile holds
  int32_t head_dim_v;       // columns of V and O that the tile holds
  int32_t causal;           // 1: the mask "key <= query + causal_offset" is applied
  int32_t alignment_bytes;  // 16: rows are moved by 16 bytes; 2: rows of any alignment, moved element by element
  int32_t tile_q;           // query rows per thread block
  int32_t tile_kv;          // keys per step
  int32_t warps;
  int32_t stages;          // K/V tiles in flight
  int32_t q_in_registers;  // 1: Q fragments stay in registers, 0: they are read again from shared memory each step
  int32_t cluster = 1;     // thread blocks that work on the same rows and merge what they have; above 1 from sm_90 on
};

}  // namespace flashcore::kernels
