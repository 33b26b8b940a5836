// SPDX-License-Identifier: Apache-2.0
//
// ProblemKey: everything about a call that may decide which kernel serves it and how, and nothing else. No addresses: two
// calls with equal keys take the same plan. Compared and hashed as bytes, so it has no padding.
#pragma once

#include "contract/choice.h"
#include "contract/element.h"
#include "contract/types.h"

namespace flashcore::kernels {

// Numbers of the public header's causal enumeration; static_asserts in src/problem hold them together.
enum Causal : int32_t { causal_none = 0, causal_top_left = 1, causal_bottom_right = 2 };

struct ProblemKey {
  int64_t batch;
  int64_t seqlen_q;
  int64_t seqlen_kv;
  int32_t heads_q;
  int32_t heads_kv;
  int32_t head_dim;
  int32_t head_dim_v;
  int32_t dtype;            // Dtype of query, key, value and output
  int32_t causal;           // Causal
  int32_t alignment_bytes;  // largest power of two up to 16 that divides every row's address of q, k, v and o
  int32_t kernel_index;     // the only kernel that may serve the call, or -1
  Specialization module{};  // and in no other specialization than this one; all 0: in any

  constexpr bool one_module() const { return module.values[0] != 0; }
};

}  // namespace flashcore::kernels
