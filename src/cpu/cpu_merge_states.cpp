// SPDX-License-Identifier: Apache-2.0
//
// States merged on host memory, by the arithmetic of kernels/merge_states: float32, relative to the largest logarithm of the row. A row is
// one thread's, and all of it is read before the first element is written, so that the output may be state 0.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/cpu_attention.hpp"
#include "cpu/float_convert.hpp"
#include "cpu/worker_threads.hpp"
#include "problem/merge_states_problem.hpp"

namespace flashcore {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Below so many elements per thread, starting the thread costs more than it brings.
constexpr int64_t elements_per_thread = 1 << 17;
constexpr int64_t rows_per_turn = 64;

struct Work {
  const MergeStatesProblem &problem;
  std::atomic<int64_t> next_row{0};
};

struct Worker {
  Work *work;
  std::vector<float> columns, weights;
};

struct Row {
  int64_t batch, position, head;
};

uint64_t address_of(const ProblemOperand &operand, const Row &row, int64_t state) {
  const ProblemTensor &tensor = operand.tensor;
  const int64_t offset = row.batch * tensor.stride_batch + row.position * tensor.stride_row +
                         row.head * tensor.stride_head + state * operand.states.stride;
  return tensor.data + static_cast<uint64_t>(offset * operand.element_bytes);
}

template <typename Element>
Element *elements_at(uint64_t address) {
  return reinterpret_cast<Element *>(static_cast<uintptr_t>(address));
}

// Element types, as memory has them and as arithmetic does.
struct Float16 {
  using Storage = uint16_t;
  static float load(uint16_t bits) { return float16_to_float(bits); }
  static uint16_t store(float value) { return float_to_float16(value); }
};
struct Bfloat16 {
  using Storage = uint16_t;
  static float load(uint16_t bits) { return bfloat16_to_float(bits); }
  static uint16_t store(float value) { return float_to_bfloat16(value); }
};
struct Float32 {
  using Storage = float;
  static float load(float value) { return value; }
  static float store(float value) { return value; }
};
template <typename Use>
void with_type(int32_t dtype, const Use &use) {
  if (dtype == kernels::dtype_float16)
    use(Float16());
  else if (dtype == kernels::dtype_bfloat16)
    use(Bfloat16());
  else
    use(Float32());
}

void add_state(const MergeStatesProblem &problem, uint64_t state, float weight, float *columns) {
  with_type(problem.sizes.dtype, [&](auto type) {
    const auto *source = elements_at<const typename decltype(type)::Storage>(state);
    for (int32_t i = 0; i < problem.sizes.head_dim_v; ++i) columns[i] += weight * type.load(source[i]);
  });
}

void write_row(const MergeStatesProblem &problem, uint64_t output, float inverse, const float *columns) {
  with_type(problem.output_dtype, [&](auto type) {
    auto *target = elements_at<typename decltype(type)::Storage>(output);
    for (int32_t i = 0; i < problem.sizes.head_dim_v; ++i) target[i] = type.store(columns[i] * inverse);
  });
}

void merge_row(const MergeStatesProblem &problem, const Row &row, std::vector<float> &weights,
               std::vector<float> &columns) {
  const ProblemOperand &lse_states = problem.operands[merge::lse_states], &lse = problem.operands[merge::lse];
  float largest = -infinity;
  for (size_t state = 0; state < weights.size(); ++state) {
    weights[state] = *elements_at<const float>(address_of(lse_states, row, static_cast<int64_t>(state)));
    largest = std::fmax(largest, weights[state]);
  }
  const float reference = std::isinf(largest) ? 0.0f : largest;
  const float log2_factor = problem.lse_base2 ? 1.0f : 1.44269504088896340736f;
  std::fill(columns.begin(), columns.end(), 0.0f);
  float sum = 0.0f;
  for (size_t state = 0; state < weights.size(); ++state) {
    if (weights[state] == -infinity) continue;
    const float weight = std::exp2((weights[state] - reference) * log2_factor);
    sum += weight;
    add_state(problem, address_of(problem.operands[merge::output_states], row, static_cast<int64_t>(state)), weight,
              columns.data());
  }
  write_row(problem, address_of(problem.operands[merge::output], row, 0), sum == 0.0f ? 0.0f : 1.0f / sum,
            columns.data());
  if (lse.tensor.data != 0) *elements_at<float>(address_of(lse, row, 0)) = reference + std::log2(sum) / log2_factor;
}

void *run_worker(void *argument) {
  auto *worker = static_cast<Worker *>(argument);
  const MergeStatesProblem &problem = worker->work->problem;
  const kernels::ProblemKey &sizes = problem.sizes;
  const int64_t rows = problem.rows();
  for (int64_t first = worker->work->next_row.fetch_add(rows_per_turn); first < rows;
       first = worker->work->next_row.fetch_add(rows_per_turn)) {
    for (int64_t n = first; n < std::min(first + rows_per_turn, rows); ++n) {
      const int64_t position = n / sizes.heads_q;
      merge_row(problem, {position / sizes.seqlen_q, position % sizes.seqlen_q, n % sizes.heads_q}, worker->weights,
                worker->columns);
    }
  }
  return nullptr;
}

}  // namespace

void cpu_merge_states(const MergeStatesProblem &problem, int32_t threads) {
  if (problem.empty()) return;
  Work work{problem};
  const double elements = static_cast<double>(problem.rows()) * problem.state_count() * problem.sizes.head_dim_v;
  const double worthwhile = std::min(elements / elements_per_thread, static_cast<double>(std::max(threads, 1)));
  // All memory is taken before the first thread starts and the first output is written.
  std::vector<Worker> workers(static_cast<size_t>(std::max(worthwhile, 1.0)));
  std::vector<void *> arguments;
  for (Worker &worker : workers) {
    worker = {&work, std::vector<float>(static_cast<size_t>(problem.sizes.head_dim_v)),
              std::vector<float>(static_cast<size_t>(problem.state_count()))};
    arguments.push_back(&worker);
  }
  run_on_threads(run_worker, arguments);
}

}  // namespace flashcore
