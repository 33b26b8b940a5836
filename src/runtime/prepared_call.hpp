// SPDX-License-Identifier: Apache-2.0
//
// PreparedCall: a call that was checked, planned and launched, so that one which differs from it in its addresses and stream alone is a
// look at the addresses and the same launches again. Programs call with the same shapes again and again, and after a launch little
// of this library is left in the processor's caches: what is not executed is what saves time.
#pragma once

#include <cstdint>

#include "contract/passport.h"
#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"
#include "problem/known_operands.hpp"
#include "runtime/launch_plan.hpp"
#include "runtime/tensor_maps.hpp"

namespace flashcore {

class PreparedCall {
  using Operands = KnownOperands<fwd::operands>;

 public:
  // By kernels::AttentionAddress; that of the workspace, 0 in what matches() gives, is for the caller to fill in.
  using Addresses = std::array<uint64_t, kernels::address_count>;

  // What a call was, and what became of it. `problem` is what validate_attention made of `args`, which need not be aligned; `parameters`
  // are what the plan's kernel packed of it.
  struct Launched {
    uint64_t
        device_serial;  // no other device has it, and the plan's functions stay loaded for as long as this one lives
    const flashcore_attention_args *args;
    const AttentionProblem &problem;
    const LaunchPlan &plan;
    const TensorMaps &maps;  // encoded into the parameters
    const void *parameters;
    const kernels::AppendParams &ahead;  // as far as the plan has a launch ahead
  };

  // Can it be remembered? Not what is unusual: tensors without elements or of any alignment, a workspace, a struct of another version.
  static bool is_usual(const Launched &call);
  // A usual one.
  void remember(const Launched &call);
  // Is `call` the same one, with its tensors elsewhere?
  bool is_like(const Launched &call) const;
  // Would validate_attention accept `args`, and make of them what it made of those that are remembered, but for the addresses? No: it is
  // not known; validate_attention decides.
  bool matches(uint64_t device_serial, const flashcore_attention_args *args, Addresses *addresses) const;

  // For a plan with a launch ahead: its parameters with these addresses in them; where it leaves what attention reads in place of what the
  // caller gave, that is in the addresses from then on.
  void patch_ahead(Addresses &addresses);
  const kernels::AppendParams &ahead() const { return ahead_; }
  // The parameters with these addresses in them. Every call writes all of them, so what a call leaves there which fails does no harm.
  const void *patch(const Addresses &addresses) {
    for (const kernels::AddressPatch &patch : patches_)
      std::memcpy(parameters_ + patch.byte_offset, &addresses[static_cast<size_t>(patch.address)], sizeof(uint64_t));
    return parameters_;
  }
  // And those of its tensor maps that hold another one.
  Status encode_maps(const CudaDriver &driver, const Addresses &addresses) {
    return maps_.encode(driver, addresses.data(), parameters_);
  }
  const LaunchPlan &plan() const { return plan_; }
  // False: a variant was destroyed since, perhaps the call's.
  bool variant_stays(uint64_t destroyed) const { return args_.variant == 0 || destroyed == variants_destroyed_; }

 private:
  bool differs_in_addresses_only(uint64_t device_serial, const flashcore_attention_args *args) const;

  uint64_t device_serial_ = 0;  // 0: nothing is remembered
  uint64_t variants_destroyed_ = 0;
  flashcore_attention_args args_{};  // the addresses in it do not count
  Operands operands_;
  LaunchPlan plan_;
  kernels::AddressPatches patches_{};
  TensorMaps maps_;
  kernels::AppendParams ahead_{};
  alignas(64) unsigned char parameters_[kernels::most_parameter_bytes];
};

}  // namespace flashcore
