// SPDX-License-Identifier: Apache-2.0
//
// KnownOperands: the operands of a call that was checked, so that a later one which differs in their addresses alone needs
// no check but that of the addresses. A template over the operation's table: all of it is unrolled, and what a row says is in the code.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "problem/operands.hpp"

namespace flashcore {

template <const auto &table>
class KnownOperands {
 public:
  static constexpr size_t count = table.size();
  using Addresses = std::array<uint64_t, count>;  // 0: absent

  // Two public structs of `bytes` bytes, which need not be aligned: are they the same but for the addresses?
  template <size_t bytes>
  static bool differ_in_addresses_only(const unsigned char *a, const unsigned char *b) {
    constexpr size_t rest = gap_begin(count);
    static_assert(rest <= bytes);
    return all_operands<count>([&](auto i) {
             constexpr size_t from = gap_begin(i);
             return std::memcmp(a + from, b + from, offsets[i] - from) == 0;
           }) &&
           std::memcmp(a + rest, b + rest, bytes - rest) == 0;
  }

  static Addresses addresses_in(const unsigned char *args) {
    Addresses addresses;
    all_operands<count>([&](auto i) {
      std::memcpy(&addresses[i], args + table[i].offset, sizeof(uint64_t));
      return true;
    });
    return addresses;
  }

  // False for a call that is not of the usual kind: an operand that must be there has no elements.
  bool remember(const std::array<ProblemOperand, count> &operands) {
    bool usual = true;
    cache_is_written_ = false;
    for (size_t i = 0; i < count; ++i) {
      cache_is_written_ = cache_is_written_ || (operands[i].written && !is_output(table[i].role));
      extent_bytes_[i] = operands[i].range.end - operands[i].range.begin;
      usual = usual && (extent_bytes_[i] != 0 || is_optional(table[i].role));
    }
    return usual;
  }

  // Would each operand of what is remembered pass its checks at these addresses?
  bool may_lie_at(const Addresses &addresses) const {
    return are_aligned(addresses) && all_operands<count>([&](auto i) { return is_reachable<i>(addresses); }) &&
           all_operands<count>([&](auto i) { return is_apart<i>(addresses); }) &&
           (!cache_is_written_ || all_operands<count>([&](auto i) { return cache_is_apart<i>(addresses); }));
  }

  // Of the same extents, absent ones among them.
  bool operator==(const KnownOperands &) const = default;

 private:
  static constexpr std::array<size_t, count> offsets = [] {
    std::array<size_t, count> sorted{};
    for (size_t i = 0; i < count; ++i) sorted[i] = table[i].offset;
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }();
  // The bytes before the i-th address, or after the last one, begin behind the address before them.
  static constexpr size_t gap_begin(size_t i) { return i == 0 ? 0 : offsets[i - 1] + sizeof(uint64_t); }

  // What an address must be a multiple of. Where only the call knows its type, 16 is too much at times, and never too little.
  static constexpr uint64_t alignment_bytes(const OperandRule &rule) {
    const int32_t element_bytes =
        rule.element == boolean
            ? 1
            : kernels::element_bytes(rule.element == like_index ? kernels::dtype_int64 : rule.element);
    return rule.rows_aligned || element_bytes == 0 ? 16 : static_cast<uint64_t>(element_bytes);
  }
  static bool are_aligned(const Addresses &addresses) {
    uint64_t wrong = 0;
    all_operands<count>([&](auto i) {
      constexpr uint64_t mask = alignment_bytes(table[i]) - 1;
      wrong |= addresses[i] & mask;
      return true;
    });
    return wrong == 0;
  }

  // There if it was there before, and inside the address space.
  template <size_t i>
  bool is_reachable(const Addresses &addresses) const {
    const bool is_as_it_was =
        is_optional(table[i].role) ? (addresses[i] == 0) == (extent_bytes_[i] == 0) : addresses[i] != 0;
    return is_as_it_was && addresses[i] <= std::numeric_limits<uint64_t>::max() - extent_bytes_[i];
  }

  // Operand i against those before it. Outputs that lie among other tensors may still be apart from them: that takes a closer look.
  template <size_t i>
  bool is_apart(const Addresses &addresses) const {
    if (is_optional(table[i].role) && addresses[i] == 0) return true;
    return all_operands<i>([&](auto other) {
      return (!is_output(table[i].role) && !is_output(table[other].role)) || are_apart<i, other>(addresses);
    });
  }
  // The same of what is written in some calls alone.
  template <size_t i>
  bool cache_is_apart(const Addresses &addresses) const {
    if (is_optional(table[i].role) && addresses[i] == 0) return true;
    return all_operands<i>([&](auto other) {
      constexpr bool of_cache = table[i].role == OperandRole::cache || table[other].role == OperandRole::cache;
      if constexpr (of_cache && !is_output(table[i].role) && !is_output(table[other].role))
        return (is_optional(table[other].role) && addresses[other] == 0) || are_apart<i, other>(addresses);
      return true;
    });
  }
  template <size_t i, size_t other>
  bool are_apart(const Addresses &addresses) const {
    return addresses[i] >= addresses[other] + extent_bytes_[other] ||
           addresses[other] >= addresses[i] + extent_bytes_[i];
  }

  Addresses extent_bytes_{};  // 0: absent
  bool cache_is_written_ = false;
};

}  // namespace flashcore
