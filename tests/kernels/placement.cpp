// SPDX-License-Identifier: Apache-2.0
#include "kernels/placement.hpp"

#include <algorithm>

namespace flashcore::tests {
namespace {

constexpr int64_t guard_elements = 64;  // on both sides of every tensor

int64_t round_up(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

}  // namespace

Placement place(Layout layout, int64_t batch, int64_t rows, int64_t heads, int64_t columns, bool is_input,
                int64_t spare_rows) {
  Placement place{{batch, rows, heads, columns}, {0, 0, 0, 1}, layout == Layout::contiguous, guard_elements, 0};
  if (!is_input && (layout == Layout::shared_batch || layout == Layout::shared_head)) layout = Layout::bshd;
  const int64_t all_rows = rows + (layout == Layout::contiguous ? 0 : spare_rows);
  int64_t *stride = place.stride;
  switch (layout) {
    case Layout::contiguous:
    case Layout::bshd:
    case Layout::shared_batch:
      stride[2] = columns, stride[1] = heads * columns, stride[0] = all_rows * stride[1];
      break;
    case Layout::bhsd:
      stride[1] = columns, stride[2] = all_rows * columns, stride[0] = heads * stride[2];
      break;
    case Layout::padded:
    case Layout::latent:
      stride[2] = round_up(columns, 8) + 8, stride[1] = heads * stride[2] + 16, stride[0] = all_rows * stride[1] + 32;
      break;
    case Layout::odd:
      stride[2] = (columns + 2) | 1, stride[1] = (heads * stride[2] + 2) | 1,
      stride[0] = (all_rows * stride[1] + 2) | 1;
      place.base++;
      break;
    case Layout::shared_head:
      stride[2] = 0, stride[1] = columns, stride[0] = all_rows * columns;
      break;
  }
  if (layout == Layout::shared_batch) stride[0] = 0;
  const int64_t last = place.index(std::max<int64_t>(batch, 1) - 1, std::max<int64_t>(all_rows, 1) - 1,
                                   std::max<int64_t>(heads, 1) - 1, columns - 1);
  place.total = last + 1 + guard_elements;
  return place;
}

Placement place_lse(const AttentionCase &one) {
  Placement place{
      {one.batch, one.heads_q, one.seqlen_q, 1}, {0, 0, 0, 1}, one.lse != LseRequest::padded, guard_elements, 0};
  // In the reference's order, batch, head, position; the library's stride order is batch, position, head.
  const bool padded = one.lse == LseRequest::padded;
  place.stride[2] = padded ? 2 : 1;
  place.stride[1] = one.seqlen_q * place.stride[2] + (padded ? 3 : 0);
  place.stride[0] = one.heads_q * place.stride[1] + (padded ? 5 : 0);
  place.total = place.base + std::max<int64_t>(one.batch, 1) * place.stride[0] + guard_elements;
  return place;
}

}  // namespace flashcore::tests
