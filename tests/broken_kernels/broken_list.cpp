// SPDX-License-Identifier: Apache-2.0
#include "broken_list.hpp"

namespace flashcore {

const std::vector<Broken> &broken_kernels() {
  static const std::vector<Broken> list = {
      {"unmasked_tail",
       "fwd_wmma_64x64_async",
       "keys past seqlen_kv take part with score 0",
       {{"contract/visibility.h", "held((mask.end_moves && band.end < keys ? band.end : keys) - first_key)", "count"}},
       true},
      {"wrong_layout",
       "fwd_wmma_64x64_async",
       "K is read as if it were stored transposed",
       {{"parts/wmma_attention.cuh", "wmma_load_b_transposed(key,", "wmma_load_b(key,"}},
       true},
      {"missing_rescale",
       "fwd_wmma_64x64_async",
       "O stays behind when the row maximum moves",
       {{"parts/wmma_attention.cuh",
         "*output = make_float4(o.x * rescale, o.y * rescale, o.z * rescale, o.w * rescale);", "*output = o;"}},
       true},
      {"missing_barrier",
       "fwd_wmma_64x64_async",
       "the next copy lands in a stage that a slow warp still reads",
       {{"fwd_wmma_64x64_async.cu", "attention.multiply_probability_value(at.value_of(n));\n    __syncthreads();",
         "attention.multiply_probability_value(at.value_of(n));"}},
       false},
      {"missing_wait",
       "fwd_wmma_64x64_async",
       "the wait lets the group that is needed now stay under way",
       {{"fwd_wmma_64x64_async.cu", "copy_async_wait<1>();", "copy_async_wait<2>();"}},
       false},
      {"overrun",
       "fwd_wmma_64x64_async",
       "the launch asks for less shared memory than the layout uses",
       {},
       false,
       8192},
  };
  return list;
}

EditedKernel edited(const Broken &broken) {
  return {broken.name, broken.kernel, broken.edits, {}, broken.shared_bytes_taken};
}

}  // namespace flashcore
