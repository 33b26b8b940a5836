// SPDX-License-Identifier: Apache-2.0
//
// A row of one sequence, with all of its heads, is one thread's. The arithmetic is the kernel's, to the bit: a product of two 16-bit numbers
// is exact in float32, so that a rotated number is a sum that is rounded once, and then to its type.
#include "cpu/cpu_append.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "contract/append.h"
#include "cpu/float_convert.hpp"
#include "problem/attention_call.hpp"

namespace flashcore {
namespace {

using kernels::CacheRows;

// Below so many elements per thread, starting the thread costs more than it brings.
constexpr int64_t elements_per_thread = 1 << 17;

struct Work {
  const AttentionProblem &problem;   // the caller's
  const AttentionProblem &attended;  // has the rotated query and the lengths
  kernels::RaggedRows rows;
  std::atomic<int64_t> next_row{0};

  // Rows of a sequence: its new ones, then its queries.
  int64_t rows_of_sequence() const { return problem.key.seqlen_new + (rotates() ? problem.key.seqlen_q : 0); }
  int64_t all_rows() const { return rows_of_sequence() * problem.key.batch; }
  bool rotates() const { return problem.key.rotary_dim != 0; }
};

uint16_t *element(const ProblemTensor &tensor, int64_t offset) {
  return reinterpret_cast<uint16_t *>(static_cast<uintptr_t>(tensor.data)) + offset;
}
int64_t offset_of(const ProblemTensor &tensor, int64_t entry, int64_t row) {
  return entry * tensor.stride_batch + row * tensor.stride_row;
}

// A row of a head, rotated by what the tables' row says.
void rotate(const AttentionProblem &problem, const uint16_t *source, int32_t table_row, uint16_t *target) {
  const kernels::ProblemKey &key = problem.key;
  const bool bfloat16 = key.dtype == kernels::dtype_bfloat16;
  const auto load = [&](uint16_t bits) { return bfloat16 ? bfloat16_to_float(bits) : float16_to_float(bits); };
  const int64_t first_angle = int64_t{table_row} * (key.rotary_dim / 2);
  const uint16_t *const cos = element(problem.tensors[fwd::rotary_cos], first_angle),
                        *const sin = element(problem.tensors[fwd::rotary_sin], first_angle);
  for (int32_t column = 0; column < key.rotary_dim; ++column) {
    const kernels::RotatedPair pair = kernels::rotated_pair(column, key.rotary_dim, problem.rotary_interleaved);
    const float own = load(source[column]) * load(cos[pair.angle]),
                other = load(source[pair.other]) * load(sin[pair.angle]);
    const float sum = pair.is_first ? own - other : own + other;
    target[column] = bfloat16 ? float_to_bfloat16(sum) : float_to_float16(sum);
  }
  std::copy(source + key.rotary_dim, source + key.head_dim, target + key.rotary_dim);
}

int32_t table_row(const Work &work, const CacheRows &cache, int32_t batch, int32_t behind) {
  const uint64_t positions = work.problem.tensors[fwd::rotary_positions].data;
  return kernels::table_row_of(kernels::first_position(cache, positions, batch, work.rows.index_bytes), behind,
                               work.problem.key.rotary_table_rows);
}

void append(const Work &work, const CacheRows &cache, int32_t batch, int32_t new_row) {
  const AttentionProblem &problem = work.problem;
  const kernels::ProblemKey &key = problem.key;
  const ProblemTensor &new_key = problem.tensors[fwd::new_key], &new_value = problem.tensors[fwd::new_value];
  const uint64_t value_table = work.rows.page_table_value != 0 ? work.rows.page_table_value : work.rows.page_table;
  const int64_t key_place = place_of_new_row(work.rows, cache, batch, new_row, tensor_view(problem.key_tensor()),
                                             work.rows.page_table),
                value_place =
                    place_of_new_row(work.rows, cache, batch, new_row, tensor_view(problem.value()), value_table);
  for (int64_t head = 0; head < key.heads_kv; ++head) {
    const uint16_t *const source = element(new_key, offset_of(new_key, batch, new_row) + head * new_key.stride_head),
                          *const value_source =
                              element(new_value, offset_of(new_value, batch, new_row) + head * new_value.stride_head);
    if (key_place != kernels::nowhere) {
      uint16_t *const target = element(problem.key_tensor(), key_place + head * problem.key_tensor().stride_head);
      if (work.rotates())
        rotate(problem, source, table_row(work, cache, batch, new_row), target);
      else
        std::copy(source, source + key.head_dim, target);
    }
    if (value_place != kernels::nowhere)
      std::copy(value_source, value_source + key.head_dim_v,
                element(problem.value(), value_place + head * problem.value().stride_head));
  }
}

void rotate_query(const Work &work, const CacheRows &cache, int32_t batch, int32_t query) {
  const kernels::Sequence sequence = kernels::sequence_of(work.rows, batch);
  if (query >= sequence.queries) return;
  const ProblemTensor &given = work.problem.query(), &rotated = work.attended.query();
  const int64_t row = sequence.first_query_row + query;
  const int32_t angles = table_row(work, cache, batch, work.problem.rotary_by_row ? query : 0);
  for (int64_t head = 0; head < work.problem.key.heads_q; ++head)
    rotate(work.problem, element(given, offset_of(given, sequence.query_batch, row) + head * given.stride_head), angles,
           element(rotated, offset_of(rotated, sequence.query_batch, row) + head * rotated.stride_head));
}

void keep(const Work &work, const CacheRows &cache, int32_t batch) {
  const ProblemTensor &lengths = work.attended.tensors[fwd::seqused_kv];
  if (lengths.data == 0) return;
  const int32_t kept = kernels::kept_rows(cache, static_cast<int32_t>(work.problem.key.seqlen_new));
  if (work.rows.index_bytes == 8)
    reinterpret_cast<int64_t *>(static_cast<uintptr_t>(lengths.data))[batch] = kept;
  else
    reinterpret_cast<int32_t *>(static_cast<uintptr_t>(lengths.data))[batch] = kept;
}

void *run_worker(void *argument) {
  Work &work = *static_cast<Work *>(argument);
  const auto seqlen_new = static_cast<int32_t>(work.problem.key.seqlen_new);
  for (int64_t n = work.next_row++; n < work.all_rows(); n = work.next_row++) {
    const auto batch = static_cast<int32_t>(n / work.rows_of_sequence()),
               row = static_cast<int32_t>(n % work.rows_of_sequence());
    const CacheRows cache = kernels::cache_rows_of(work.rows, seqlen_new, batch);
    if (row == 0 && seqlen_new != 0) keep(work, cache, batch);
    if (row < seqlen_new)
      append(work, cache, batch, row);
    else
      rotate_query(work, cache, batch, row - seqlen_new);
  }
  return nullptr;
}

}  // namespace

CpuAppend::CpuAppend(const AttentionProblem &problem, int32_t threads) : problem_(problem) {
  const kernels::ProblemKey &key = problem.key;
  if (key.seqlen_new == 0 && key.rotary_dim == 0) return;
  behind_ = problem;
  if (key.rotary_dim != 0) {
    const TensorShape shape = fwd::query_shape(key);
    ProblemTensor &query = behind_->tensors[fwd::query];
    query.stride_head = key.head_dim, query.stride_row = shape.heads * key.head_dim;
    query.stride_batch = shape.rows * query.stride_row;
    query_.resize(static_cast<size_t>(shape.batch * query.stride_batch));
    query.data = reinterpret_cast<uintptr_t>(query_.data());
  }
  if (key.seqlen_new != 0 && problem.tensors[fwd::seqused_kv].data != 0) {
    kept_keys_.resize(static_cast<size_t>(key.batch * kernels::element_bytes(key.index_dtype)));
    behind_->tensors[fwd::seqused_kv].data = reinterpret_cast<uintptr_t>(kept_keys_.data());
  }
  const double elements = static_cast<double>(key.batch) *
                          (static_cast<double>(key.seqlen_new) * key.heads_kv +
                           static_cast<double>(key.rotary_dim != 0 ? key.seqlen_q : 0) * key.heads_q) *
                          key.head_dim;
  const double worthwhile = std::min(elements / elements_per_thread, static_cast<double>(std::max(threads, 1)));
  arguments_.resize(static_cast<size_t>(std::max(worthwhile, 1.0)));
  room_.emplace(arguments_.size());
}

void CpuAppend::run() {
  if (!behind_) return;
  Work work{problem_, *behind_, kernels::ragged_rows_of(problem_.key, attention_call(problem_))};
  std::fill(arguments_.begin(), arguments_.end(), &work);
  run_on_threads(run_worker, arguments_, *std::move(room_));
}

}  // namespace flashcore
