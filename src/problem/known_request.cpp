// SPDX-License-Identifier: Apache-2.0
#include "problem/known_request.hpp"

#include <cstring>

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

// A caller's struct need not be aligned.
uint32_t size_of(const Args *args) {
  uint32_t size;
  std::memcpy(&size, args, sizeof(size));
  return size;
}

}  // namespace

void KnownRequest::remember(const Args *given, const AttentionProblem &problem) {
  forget();
  if (size_of(given) != sizeof(Args) || problem.workspace != 0 || problem.workspace_bytes != 0) return;
  if (problem.key.alignment_bytes != 16 || !operands_.remember(operands_of(problem))) return;
  std::memcpy(&args_, given, sizeof(args_));
}

bool KnownRequest::matches(const Args *given, Addresses *addresses) const {
  if (given == nullptr || args_.struct_size != sizeof(Args) || size_of(given) != sizeof(Args)) return false;
  const auto *args = reinterpret_cast<const unsigned char *>(given);
  if (!Operands::differ_in_addresses_only<sizeof(Args)>(args, reinterpret_cast<const unsigned char *>(&args_)))
    return false;
  *addresses = Operands::addresses_in(args);
  return operands_.may_lie_at(*addresses);
}

}  // namespace flashcore
