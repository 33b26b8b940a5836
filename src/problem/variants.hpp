// SPDX-License-Identifier: Apache-2.0
//
// The variants of one context, by their ids. A call holds what it found for as long as it needs it, so that another thread may destroy
// the variant meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "base/error.hpp"
#include "base/process_mutex.hpp"
#include "problem/variant_text.hpp"

namespace flashcore {

struct Variant {
  VariantText code;
  uint64_t digest = 0;       // of the text; never 0
  int64_t params_bytes = 0;  // of the block that each call gives; 0: calls give none
};

class Variants {
 public:
  // Each may be FORKED, in a child whose parent was at it.
  // Its id, which no other variant of the process ever has. INVALID_ARGUMENT names `text` or `params_bytes`.
  Result<uint64_t> create(std::string_view text, int64_t params_bytes);
  // INVALID_ARGUMENT: there is no such one.
  Status destroy(uint64_t id);
  // INVALID_ARGUMENT names `variant`.
  Result<std::shared_ptr<const Variant>> find(uint64_t id) const;
  // Rises with every one that is destroyed: an id that was good at some count is good while it stays.
  uint64_t destroyed() const { return destroyed_.load(std::memory_order_acquire); }

 private:
  mutable ProcessMutex mutex_;
  std::map<uint64_t, std::shared_ptr<const Variant>> variants_;
  std::atomic<uint64_t> destroyed_{0};
};

// "0123456789abcdef", the end of names of modules with the text.
std::string variant_digest_text(uint64_t digest);

}  // namespace flashcore
