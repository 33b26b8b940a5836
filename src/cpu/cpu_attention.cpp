// SPDX-License-Identifier: Apache-2.0
//
// How a problem becomes tiles and tiles find threads. The arithmetic is in attend_tile.cpp. Tiles are cut by the
// problem alone, each is computed by one thread from its own inputs, and no result is combined with another: so the
// number of threads cannot show in the output.
#include "cpu/cpu_attention.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "contract/pieces.h"
#include "contract/sequence.h"
#include "cpu/attend_tile.hpp"
#include "cpu/cpu_append.hpp"
#include "cpu/run_attention.hpp"
#include "cpu/worker_threads.hpp"
#include "problem/attention_call.hpp"

namespace flashcore {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Below this many multiplications per thread, starting the thread costs more than it brings (about 30 us each way).
constexpr int64_t products_per_thread = 1 << 20;

// Everything that the threads of one call share.
struct Work {
  const AttentionProblem &problem;
  AttendTile attend;
  ChangeRow variant;
  int64_t group;          // query heads per key head
  int64_t rows_per_head;  // packed rows of one key head: group * seqlen_q
  int64_t tiles_per_head;
  int64_t tile_count;
  kernels::RaggedRows ragged;  // where rows are not dense
  int64_t piece_keys = 0;      // TileTask's
  std::atomic<int64_t> next_tile{0};
};

struct Worker {
  Work *work;
  TileScratch scratch;
};

template <typename T>
T *element(const ProblemTensor &tensor, int64_t batch, int64_t row, int64_t head) {
  const int64_t offset = batch * tensor.stride_batch + row * tensor.stride_row + head * tensor.stride_head;
  return reinterpret_cast<T *>(tensor.data) + offset;
}

void *output_row(const AttentionProblem &problem, int64_t batch, int64_t row, int64_t head) {
  if (problem.key.float32_output()) return element<float>(problem.output(), batch, row, head);
  return element<uint16_t>(problem.output(), batch, row, head);
}

const void *bias_row(const AttentionProblem &problem, int64_t batch, int64_t row, int64_t head) {
  if (problem.bias().data == 0) return nullptr;
  if (problem.bias_dtype == kernels::dtype_float32) return element<const float>(problem.bias(), batch, row, head);
  return element<const uint16_t>(problem.bias(), batch, row, head);
}

float natural_or_base2_lse(const AttentionProblem &problem, const TileStatistics &statistics, int64_t r) {
  if (statistics.sum[r] == 0.0f) return -infinity;  // no key, or none above -infinity
  const double natural = statistics.logarithm[r] + std::log(static_cast<double>(statistics.sum[r]));
  return static_cast<float>(problem.lse_base2 ? natural * 1.4426950408889634 : natural);
}

// The sequence of a batch entry.
kernels::Sequence sequence_of(const Work &work, int64_t batch) {
  const kernels::ProblemKey &key = work.problem.key;
  if (key.rows != kernels::rows_dense) return kernels::sequence_of(work.ragged, static_cast<int32_t>(batch));
  const auto entry = static_cast<int32_t>(batch);
  return {static_cast<int32_t>(key.seqlen_q), static_cast<int32_t>(key.seqlen_kv), entry, 0, entry, 0};
}

TileKeyRows key_rows(const Work &work, const ProblemTensor &tensor, const kernels::Sequence &sequence, int64_t batch,
                     int64_t head_kv, uint64_t page_table) {
  if (sequence.keys == 0) return {nullptr, 0};
  if (work.problem.key.rows != kernels::rows_paged)
    return {element<const uint16_t>(tensor, sequence.key_batch, sequence.first_key_row, head_kv), tensor.stride_row};
  return {element<const uint16_t>(tensor, 0, 0, head_kv),
          tensor.stride_row,
          reinterpret_cast<const int32_t *>(page_table) + batch * work.ragged.page_table_stride,
          tensor.stride_batch,
          &work.ragged,
          sequence.first_key_row};
}

void run_tile(const Work &work, int64_t tile, TileScratch &scratch) {
  const AttentionProblem &problem = work.problem;
  const kernels::ProblemKey &key = problem.key;
  const int64_t head = tile / work.tiles_per_head;  // of batch * heads_kv
  const int64_t batch = head / key.heads_kv, head_kv = head % key.heads_kv;
  const int64_t first_row = tile % work.tiles_per_head * tile_rows;
  const kernels::Sequence sequence = sequence_of(work, batch);
  const int64_t row_count = std::min(tile_rows, work.group * sequence.queries - first_row);
  if (row_count <= 0) return;

  TileTask task;
  const kernels::RaggedRows &ragged = work.ragged;
  task.keys = key_rows(work, problem.key_tensor(), sequence, batch, head_kv, ragged.page_table);
  task.values = key_rows(work, problem.value(), sequence, batch, head_kv,
                         ragged.page_table_value != 0 ? ragged.page_table_value : ragged.page_table);
  task.head_dim = key.head_dim;
  task.head_dim_v = key.head_dim_v;
  task.scale = std::fabs(problem.softmax_scale);
  task.softcap = problem.softcap;
  task.alibi = problem.alibi_slopes().data != 0;
  task.bias_dtype = problem.bias().data != 0 ? problem.bias_dtype : 0;
  task.has_mask = problem.mask().data != 0;
  task.bias_stride_key = problem.bias().stride_column;
  task.mask_stride_key = problem.mask().stride_column;
  task.piece_keys = work.piece_keys;
  task.negate = problem.softmax_scale < 0;
  task.bfloat16 = key.dtype == kernels::dtype_bfloat16;
  task.float32_output = key.float32_output();
  task.variant = work.variant;
  task.variant_params = reinterpret_cast<const void *>(problem.tensors[fwd::variant_params].data);
  task.batch = static_cast<int32_t>(batch);
  task.row_count = row_count;
  const auto visibility = kernels::visibility_of(key, sequence.queries, sequence.keys);
  const bool has_sinks = problem.sinks().data != 0;
  const auto position_of = [&](int64_t r) { return (first_row + r) / work.group; };
  const auto head_of = [&](int64_t r) { return head_kv * work.group + (first_row + r) % work.group; };
  for (int64_t r = 0; r < row_count; r++) {
    const int64_t position = position_of(r), row = sequence.first_query_row + position, head_q = head_of(r);
    task.rows[r] = {element<const uint16_t>(problem.query(), sequence.query_batch, row, head_q),
                    output_row(problem, sequence.query_batch, row, head_q),
                    visibility.keys_of(position),
                    task.alibi ? *element<const float>(problem.alibi_slopes(), batch, 0, head_q) : 0.0f,
                    position + visibility.diagonal,
                    has_sinks ? *element<const float>(problem.sinks(), 0, 0, head_q) : -infinity,
                    bias_row(problem, batch, position, head_q),
                    task.has_mask ? element<const uint8_t>(problem.mask(), batch, position, head_q) : nullptr,
                    static_cast<int32_t>(head_q),
                    static_cast<int32_t>(position)};
  }

  TileStatistics statistics;
  work.attend(task, scratch, statistics);
  if (problem.lse().data == 0) return;
  for (int64_t r = 0; r < row_count; r++)
    *element<float>(problem.lse(), sequence.query_batch, sequence.first_query_row + position_of(r), head_of(r)) =
        natural_or_base2_lse(problem, statistics, r);
}

void *run_worker(void *argument) {
  auto *worker = static_cast<Worker *>(argument);
  Work &work = *worker->work;
  // Last tile first: under a bottom-right mask it is the longest, and a long tile at the end would leave threads idle.
  for (int64_t n = work.next_tile++; n < work.tile_count; n = work.next_tile++)
    run_tile(work, work.tile_count - 1 - n, worker->scratch);
  return nullptr;
}

int64_t worthwhile_threads(const kernels::ProblemKey &key, const Work &work, int32_t threads) {
  const double products = static_cast<double>(key.batch) * key.heads_q * static_cast<double>(key.seqlen_q) *
                          static_cast<double>(key.seqlen_kv) * (key.head_dim + key.head_dim_v);
  const double worthwhile = std::min(products / products_per_thread, static_cast<double>(work.tile_count));
  return std::clamp<int64_t>(static_cast<int64_t>(std::min(worthwhile, 1e6)), 1, std::max(threads, 1));
}

}  // namespace

int32_t cpu_thread_count(int32_t requested) {
  int32_t available = 0;
  cpu_set_t affinity;
  if (sched_getaffinity(0, sizeof(affinity), &affinity) == 0) available = CPU_COUNT(&affinity);
  // More than 1024 processors do not fit the fixed-size set; the number that are online will do there.
  if (available <= 0) available = static_cast<int32_t>(sysconf(_SC_NPROCESSORS_ONLN));
  available = std::max(available, 1);
  return requested > 0 ? std::min(requested, available) : available;
}

Status run_attention(const AttentionProblem &given, int32_t threads, AttendTile attend, ChangeRow variant) {
  if (given.empty()) return success();
  CpuAppend ahead(given, threads);
  const AttentionProblem &problem = ahead.attended();
  const kernels::ProblemKey &key = problem.key;
  Work work{problem, attend, variant, key.heads_q / key.heads_kv, 0, 0, 0, {}};
  if (key.rows != kernels::rows_dense) work.ragged = kernels::ragged_rows_of(key, attention_call(problem));
  work.rows_per_head = work.group * key.seqlen_q;
  work.tiles_per_head = (work.rows_per_head + tile_rows - 1) / tile_rows;
  work.tile_count = work.tiles_per_head * key.batch * key.heads_kv;

  if (kernels::asks_for_pieces(key))
    work.piece_keys = kernels::keys_of_piece(key, kernels::end_of_keys(key), tile_keys);

  // All memory is taken before the first thread starts and the first output is written.
  std::vector<Worker> workers;
  const int32_t allowed = key.multiprocessor_limit != 0 ? std::min(threads, key.multiprocessor_limit) : threads;
  const int64_t count = worthwhile_threads(key, work, allowed);
  workers.reserve(static_cast<size_t>(count));
  for (int64_t n = 0; n < count; n++)
    workers.push_back({&work, TileScratch(key.head_dim, key.head_dim_v, work.piece_keys != 0)});
  std::vector<void *> arguments;
  for (Worker &worker : workers) arguments.push_back(&worker);
  ThreadRoom room(arguments.size());
  ahead.run();
  run_on_threads(run_worker, arguments, std::move(room));
  return success();
}

Status cpu_attention(const AttentionProblem &problem, int32_t threads, ChangeRow variant) {
  return run_attention(problem, threads, fastest_attend_tile(), variant);
}

}  // namespace flashcore
