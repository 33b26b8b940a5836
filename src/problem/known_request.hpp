// SPDX-License-Identifier: Apache-2.0
//
// KnownRequest: arguments that were checked before, so that a call that differs from them in its addresses only needs no check but that
// of the addresses. Programs call with the same shapes again and again, and after a launch little of this library is left in
// the processor's caches: what is not executed is what saves time.
#pragma once

#include "flashcore/flashcore.h"
#include "problem/attention_problem.hpp"
#include "problem/known_operands.hpp"

namespace flashcore {

class KnownRequest {
  using Operands = KnownOperands<fwd::operands>;

 public:
  using Addresses = Operands::Addresses;  // by fwd::Operand

  // `problem` is what validate_attention made of `args`, which need not be aligned. Requests that are not the usual ones
  // (tensors without elements or of any alignment, a workspace, a struct of another version) are forgotten instead.
  void remember(const flashcore_attention_args *args, const AttentionProblem &problem);
  void remember(const flashcore_attention_args &args, const AttentionProblem &problem) { remember(&args, problem); }
  void forget() { args_.struct_size = 0; }
  // Would validate_attention accept `args`, and make of them what it made of those that are remembered, but for the addresses? No: it is
  // not known; validate_attention decides.
  bool matches(const flashcore_attention_args *args, Addresses *addresses) const;

 private:
  flashcore_attention_args args_{};  // struct_size 0: nothing is remembered
  Operands operands_;
};

}  // namespace flashcore
