// SPDX-License-Identifier: Apache-2.0
//
// The one selector. "Supported?", "which kernel?", "how much shared memory?", "why not?" are all this function, asked by
// the API, the tools and the tests alike: candidates, each exclusion with its reason, the cheapest by the passport's cost.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "contract/passport.h"
#include "plan/tuned_rows.hpp"

namespace flashcore {

struct Selection {
  int32_t kernel_index = -1;
  kernels::Specialization specialization{};
  kernels::Plan plan{};
  const TunedRow *tuned = nullptr;  // the row that decided; null: the model did
  uint64_t variant = 0;             // ProblemKey's
};

// The module of the tuned row that holds the problem on the device, else the cheapest specialization; or UNSUPPORTED: the first field that a kernel refuses, and each
// kernel's reason in the message. key.kernel_index >= 0 asks for that kernel and no other, key.one_module() for that module.
// Allocates only to describe a failure.
Result<Selection> select_kernel(const kernels::ProblemKey &key, const kernels::DeviceLimits &device,
                                std::span<const TunedRow> tuned);

// One line per kernel of attention: chosen, dearer, or why it cannot.
std::string explain_selection(const kernels::ProblemKey &key, const kernels::DeviceLimits &device,
                              std::span<const TunedRow> tuned);

// What names a kernel or a module of any operation. A module need not be shipped, its kernel must allow it.
struct KernelName {
  int32_t kernel_index = -1;
  kernels::Specialization module{};  // all 0: the kernel alone
  uint64_t variant = 0;              // digest of the module's text; 0: it has none

  bool one_module() const { return module.values[0] != 0; }
};
// INVALID_ARGUMENT lists the kernels that there are, or says which part of a module's name is wrong. Allocates only to describe a failure.
Result<KernelName> read_kernel_name(std::string_view name);

// Fill what the key asks for from the name of a kernel or of a module of attention; empty: any kernel.
Status pin_kernel(kernels::ProblemKey &key, std::string_view name);

// A limit that leaves all multiprocessors of the device is none. To be asked for before anything is made of the key.
void drop_needless_limit(kernels::ProblemKey &key, const kernels::DeviceLimits &device);

}  // namespace flashcore
