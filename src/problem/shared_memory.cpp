// SPDX-License-Identifier: Apache-2.0
//
// Two sets meet when a + x = b + y has a solution with x and y sums of bounded multiples of the steps. Counting y from
// its far end turns that into one sum of bounded multiples that must hit one target; a depth-first search over the
// steps, the largest first, keeps only multiples that leave the target within reach of the smaller steps. Equal steps
// of both sets are one step with the bounds added, which makes the usual interleaved layouts a walk of two or three
// branches a level.
#include "problem/shared_memory.hpp"

#include <algorithm>

namespace flashcore {
namespace {

struct Term {
  uint64_t step;
  uint64_t last;
};

constexpr int search_budget = 20000;  // steps tried; about 0.1 ms

struct Search {
  Term terms[2 * (strided_axes + 1)];
  uint64_t reach[2 * (strided_axes + 1) + 1];  // reach[i]: the largest sum of terms[i] and all after it
  int count = 0;
  int budget = search_budget;

  void add(uint64_t step, uint64_t last) {
    if (step == 0 || last == 0) return;
    for (int i = 0; i < count; ++i) {
      if (terms[i].step == step) {
        terms[i].last += last;
        return;
      }
    }
    terms[count++] = {step, last};
  }

  void add_all(const StridedBytes &set) {
    for (int i = 0; i < strided_axes; ++i) add(set.step[i], set.last[i]);
    add(1, set.run_bytes - 1);
  }

  void order() {
    std::sort(terms, terms + count, [](const Term &a, const Term &b) { return a.step > b.step; });
    reach[count] = 0;
    for (int i = count; i-- > 0;) reach[i] = reach[i + 1] + terms[i].step * terms[i].last;
  }

  bool hits(int level, uint64_t target) {
    if (level == count) return target == 0;
    const Term term = terms[level];
    const uint64_t rest = reach[level + 1];
    const uint64_t most = std::min(term.last, target / term.step);
    const uint64_t least = target > rest ? (target - rest - 1) / term.step + 1 : 0;
    for (uint64_t multiple = most + 1; multiple-- > least;) {
      if (--budget < 0) return true;
      if (hits(level + 1, target - multiple * term.step)) return true;
    }
    return false;
  }
};

}  // namespace

StridedBytes strided_bytes(const ProblemOperand &operand) {
  StridedBytes set;
  set.range = operand.range;
  if (set.range.begin == set.range.end) return set;
  const TensorShape &shape = operand.shape;
  const bool columns_apart = operand.tensor.stride_column != 1;
  const int64_t run = columns_apart ? 1 : shape.columns, apart = columns_apart ? shape.columns : 1;
  set.run_bytes = static_cast<uint64_t>(run * operand.element_bytes);
  const int64_t strides[] = {operand.tensor.stride_batch, operand.tensor.stride_row, operand.tensor.stride_head,
                             operand.states.stride, operand.tensor.stride_column};
  const int64_t sizes[] = {shape.batch, shape.rows, shape.heads, operand.states.count, apart};
  for (int i = 0; i < strided_axes; ++i) {
    set.step[i] = static_cast<uint64_t>(strides[i] * operand.element_bytes);
    set.last[i] = static_cast<uint64_t>(sizes[i] - 1);
  }
  return set;
}

StridedBytes plain_bytes(const AddressRange &range) {
  StridedBytes set;
  set.range = range;
  set.run_bytes = range.end - range.begin;
  return set;
}

bool share_memory(const StridedBytes &a, const StridedBytes &b) {
  if (!ranges_meet(a.range, b.range)) return false;
  Search search;
  search.add_all(a);
  search.add_all(b);
  search.order();
  // begin_a + x = begin_b + (reach_b - y) is x + y = end_b - 1 - begin_a, which is not negative as the ranges meet.
  return search.hits(0, b.range.end - 1 - a.range.begin);
}

}  // namespace flashcore
