// SPDX-License-Identifier: Apache-2.0
//
// The tuned rows: modules that fc-tune measured to be faster than what the cost model chooses, from ptx_cache/tuned, embedded at
// build time (generate_tuned_rows.py). The selector obeys them on the architecture that they were measured on.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "contract/passport.h"

namespace flashcore {

struct TunedRange {
  int64_t first, last;  // both within
  constexpr bool holds(int64_t value) const { return value >= first && value <= last; }
};

struct TunedRow {
  int32_t arch;          // compute capability as a number
  int32_t kernel_index;  // in kernel_table()
  int32_t dtype;         // of the problems, as what follows; the module's tile may be larger
  bool causal;
  int32_t head_dim, head_dim_v;
  kernels::Specialization module;
  TunedRange batch_heads;  // batch * heads_q
  TunedRange seqlen_q, seqlen_kv;
  double measured_us, default_us;  // of fc-tune's shape: this module, and what the model had chosen
  const char *module_name;
  const char *origin;  // "sm_89.tsv:7"

  constexpr bool holds(const kernels::ProblemKey &key) const {
    return key.plain() && key.dtype == dtype && (key.causal != kernels::causal_none) == causal &&
           key.head_dim == head_dim && key.head_dim_v == head_dim_v && batch_heads.holds(key.batch * key.heads_q) &&
           seqlen_q.holds(key.seqlen_q) && seqlen_kv.holds(key.seqlen_kv);
  }
  constexpr kernels::ProblemKey smallest_problem() const {
    kernels::ProblemKey key{};
    key.batch = batch_heads.first, key.seqlen_q = seqlen_q.first, key.seqlen_kv = seqlen_kv.first;
    key.heads_q = key.heads_kv = 1, key.head_dim = head_dim, key.head_dim_v = head_dim_v, key.dtype = dtype;
    key.causal = causal ? kernels::causal_top_left : kernels::causal_none;
    key.alignment_bytes = 16, key.kernel_index = -1;
    return key;
  }
};

std::span<const TunedRow> tuned_rows();

}  // namespace flashcore
