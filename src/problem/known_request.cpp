// SPDX-License-Identifier: Apache-2.0
#include "problem/known_request.hpp"

#include <cstddef>
#include <cstring>
#include <iterator>
#include <limits>

#include "problem/dtype.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

constexpr size_t address_offsets[] = {offsetof(Args, query.data), offsetof(Args, key.data), offsetof(Args, value.data),
                                      offsetof(Args, output.data), offsetof(Args, lse.data)};

// A caller's struct need not be aligned.
template <typename T>
T load(const unsigned char *args, size_t offset) {
  T value;
  std::memcpy(&value, args + offset, sizeof(value));
  return value;
}

// But for the addresses.
bool same(const unsigned char *a, const unsigned char *b) {
  size_t from = 0;
  for (const size_t address : address_offsets) {
    if (std::memcmp(a + from, b + from, address - from) != 0) return false;
    from = address + sizeof(uint64_t);
  }
  return std::memcmp(a + from, b + from, sizeof(Args) - from) == 0;
}

}  // namespace

void KnownRequest::remember(const Args *given, const AttentionProblem &problem) {
  forget();
  if (load<uint32_t>(reinterpret_cast<const unsigned char *>(given), 0) != sizeof(Args)) return;
  const kernels::ProblemKey &key = problem.key;
  if (problem.workspace != 0 || problem.workspace_bytes != 0 || key.alignment_bytes != 16) return;
  const auto extent = [&](const ProblemTensor &tensor, int64_t rows, int64_t heads, int64_t columns,
                          int64_t element_bytes) {
    const AddressRange range = tensor_range(tensor, key.batch, rows, heads, columns, element_bytes);
    return range.end - range.begin;
  };
  extent_bytes_[0] = extent(problem.query, key.seqlen_q, key.heads_q, key.head_dim, element_bytes_16bit);
  extent_bytes_[1] = extent(problem.key_tensor, key.seqlen_kv, key.heads_kv, key.head_dim, element_bytes_16bit);
  extent_bytes_[2] = extent(problem.value, key.seqlen_kv, key.heads_kv, key.head_dim_v, element_bytes_16bit);
  extent_bytes_[3] = extent(problem.output, key.seqlen_q, key.heads_q, key.head_dim_v, element_bytes_16bit);
  extent_bytes_[4] = extent(problem.lse, key.seqlen_q, key.heads_q, 1, element_bytes_lse);
  for (int i = 0; i < 4; ++i)
    if (extent_bytes_[i] == 0) return;
  std::memcpy(&args_, given, sizeof(args_));
}

bool KnownRequest::matches(const Args *given, Addresses *addresses) const {
  if (given == nullptr || args_.struct_size != sizeof(Args)) return false;
  const auto *args = reinterpret_cast<const unsigned char *>(given);
  if (load<uint32_t>(args, 0) != sizeof(Args) || !same(args, reinterpret_cast<const unsigned char *>(&args_)))
    return false;
  uint64_t data[std::size(address_offsets)];
  for (size_t i = 0; i < std::size(data); ++i) data[i] = load<uint64_t>(args, address_offsets[i]);
  if (((data[0] | data[1] | data[2] | data[3]) & 15) != 0 || (data[4] & 3) != 0) return false;
  if ((data[4] == 0) != (args_.lse.data == 0)) return false;
  const int count = data[4] == 0 ? 4 : 5;
  for (int i = 0; i < count; ++i)
    if (data[i] == 0 || data[i] > std::numeric_limits<uint64_t>::max() - extent_bytes_[i]) return false;
  // Outputs that lie among other tensors may still be apart from them: that takes a closer look.
  for (int output = 3; output < count; ++output)
    for (int other = 0; other < output; ++other)
      if (data[output] < data[other] + extent_bytes_[other] && data[other] < data[output] + extent_bytes_[output])
        return false;
  *addresses = {data[0], data[1], data[2], data[3], data[4]};
  return true;
}

}  // namespace flashcore
