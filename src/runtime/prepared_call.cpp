// SPDX-License-Identifier: Apache-2.0
#include "runtime/prepared_call.hpp"

#include <algorithm>
#include <cstring>

#include "plan/kernel_table.hpp"

namespace flashcore {
namespace {

using Args = flashcore_attention_args;

// A caller's struct need not be aligned.
uint32_t size_of(const Args *args) {
  uint32_t size;
  std::memcpy(&size, args, sizeof(size));
  return size;
}

const unsigned char *bytes_of(const Args *args) { return reinterpret_cast<const unsigned char *>(args); }

}  // namespace

bool PreparedCall::is_usual(const Launched &call) {
  const AttentionProblem &problem = call.problem;
  return size_of(call.args) == sizeof(Args) && problem.workspace == 0 && problem.workspace_bytes == 0 &&
         problem.key.alignment_bytes == 16 && Operands().remember(operands_of(problem));
}

void PreparedCall::remember(const Launched &call) {
  const kernels::Passport &passport = passport_at(call.plan.kernel_index);
  device_serial_ = call.device_serial;
  variants_destroyed_ = call.problem.variants_destroyed;
  std::memcpy(&args_, call.args, sizeof(args_));
  operands_.remember(operands_of(call.problem));
  plan_ = call.plan;
  patches_ = passport.patches;
  maps_ = call.maps;
  std::memcpy(parameters_, call.parameters, static_cast<size_t>(passport.parameter_bytes));
  if (plan_.ahead.function != nullptr) ahead_ = call.ahead;
}

void PreparedCall::patch_ahead(Addresses &addresses) {
  const auto left_at = [&](int64_t offset) {
    return addresses[kernels::address_workspace] + static_cast<uint64_t>(offset);
  };
  const bool rotates = ahead_.query_rows != 0, keeps_keys = ahead_.kept_keys != 0;
  addresses[kernels::address_rotated_query] = rotates ? left_at(plan_.places.query) : 0;
  addresses[kernels::address_kept_keys] = keeps_keys ? left_at(plan_.places.kept_keys) : 0;
  auto *const parameters = reinterpret_cast<unsigned char *>(&ahead_);
  for (const kernels::AddressPatch &patch : kernels::append_kv::patches)
    std::memcpy(parameters + patch.byte_offset, &addresses[static_cast<size_t>(patch.address)], sizeof(uint64_t));
  if (rotates) addresses[fwd::query] = addresses[kernels::address_rotated_query];
  if (keeps_keys) addresses[fwd::seqused_kv] = addresses[kernels::address_kept_keys];
}

bool PreparedCall::is_like(const Launched &call) const {
  Operands operands;
  operands.remember(operands_of(call.problem));
  return differs_in_addresses_only(call.device_serial, call.args) && operands == operands_;
}

bool PreparedCall::differs_in_addresses_only(uint64_t device_serial, const Args *args) const {
  return device_serial == device_serial_ && args != nullptr && size_of(args) == sizeof(Args) &&
         Operands::differ_in_addresses_only<sizeof(Args)>(bytes_of(args), bytes_of(&args_));
}

bool PreparedCall::matches(uint64_t device_serial, const Args *args, Addresses *addresses) const {
  if (!differs_in_addresses_only(device_serial, args)) return false;
  const Operands::Addresses operands = Operands::addresses_in(bytes_of(args));
  static_assert(Operands::count == kernels::operand_count, "patches are of the operands that kernels are told of");
  std::copy(operands.begin(), operands.end(), addresses->begin());
  std::fill(addresses->begin() + kernels::operand_count, addresses->end(), 0);
  return operands_.may_lie_at(operands);
}

}  // namespace flashcore
