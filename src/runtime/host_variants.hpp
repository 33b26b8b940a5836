// SPDX-License-Identifier: Apache-2.0
//
// Variants on the CPU device: each text is compiled when it is first needed, once for each context, and stays until the context goes.
#pragma once

#include <cstdint>
#include <map>

#include "base/error.hpp"
#include "base/process_mutex.hpp"
#include "cpu/variant_source.hpp"
#include "driver/shared_object.hpp"
#include "problem/variants.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

class HostVariants {
 public:
  explicit HostVariants(const Settings &settings) : settings_(settings) {}  // which must outlive it

  // UNSUPPORTED where there is no compiler, COMPILER_UNAVAILABLE where compiling is forbidden, COMPILE_FAILED; the field is `variant`. FORKED
  // in a child whose parent was compiling.
  Result<ChangeRow> function_of(const Variant &variant);

 private:
  struct Compiled {
    SharedObject object;
    ChangeRow change_row = nullptr;
  };
  Result<Compiled> compile(const Variant &variant) const;

  const Settings &settings_;
  ProcessMutex mutex_;                     // also while a text is compiled: others wait for it
  std::map<uint64_t, Compiled> compiled_;  // by digest
};

}  // namespace flashcore
