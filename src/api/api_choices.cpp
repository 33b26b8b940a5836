// SPDX-License-Identifier: Apache-2.0
//
// Exported functions of the inspection tier about compile-time choices: what a kernel has, and modules' names from and to values.
#include <algorithm>
#include <cstring>

#include "api/api_guard.hpp"
#include "base/copy_text.hpp"
#include "base/cut_text.hpp"
#include "base/struct_size.hpp"
#include "flashcore/flashcore_inspect.h"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"

using namespace flashcore;

static_assert(FLASHCORE_MOST_CHOICES == kernels::most_choices);
static_assert(std::size(kernels::Tries().values) <= FLASHCORE_MOST_TRIED);

namespace {

// A kernel by its name alone.
Result<const kernels::Passport *> kernel_named(const char *name) {
  if (const int32_t index = find_kernel(name); index >= 0) return &passport_at(index);
  FLASHCORE_TRY(read_kernel_name(name));
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "kernel is \"" + std::string(cut_text(name, 64)) + "\"; allowed: the name of a kernel alone", "kernel"};
}

flashcore_choice_info choice_info(const kernels::Choice &choice) {
  flashcore_choice_info info{};
  info.least = choice.least, info.most = choice.most;
  info.tried_count = choice.tries.count;
  std::copy_n(choice.tries.values, choice.tries.count, info.tried);
  copy_text(info.name, choice.name);
  return info;
}

}  // namespace

extern "C" {

flashcore_status flashcore_kernel_choice(const char *kernel, int32_t index, flashcore_choice_info *info,
                                         flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (kernel == nullptr) return null_argument("kernel");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const kernels::Passport *passport, kernel_named(kernel));
    const kernels::ChoiceTable &choices = passport->choices;
    if (index < 0 || index >= choices.count)
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "index is " + std::to_string(index) + "; allowed: 0 to " + std::to_string(choices.count - 1),
                   "index"};
    return write_sized_struct(info, choice_info(choices.first[index]), "info", sizeof(flashcore_choice_info));
  });
}

flashcore_status flashcore_module_choices(const char *module, int32_t *values, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (module == nullptr) return null_argument("module");
    if (values == nullptr) return null_argument("values");
    FLASHCORE_TRY_ASSIGN(const ModuleName name, parse_module_name(cut_text(module, FLASHCORE_NAME_BYTES)));
    std::copy_n(name.specialization.values, kernels::most_choices, values);
    return success();
  });
}

flashcore_status flashcore_module_name(const char *kernel, const int32_t *values, char *name, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (kernel == nullptr) return null_argument("kernel");
    if (values == nullptr) return null_argument("values");
    if (name == nullptr) return null_argument("name");
    FLASHCORE_TRY_ASSIGN(const kernels::Passport *passport, kernel_named(kernel));
    kernels::Specialization specialization{};
    std::copy_n(values, passport->choices.count, specialization.values);
    FLASHCORE_TRY(check_specialization(*passport, specialization));
    const std::string text = module_name(*passport, specialization);
    if (text.size() >= FLASHCORE_NAME_BYTES)
      return Error{FLASHCORE_INVALID_ARGUMENT, "the name \"" + text + "\" is longer than FLASHCORE_NAME_BYTES",
                   "kernel"};
    std::memcpy(name, text.c_str(), text.size() + 1);
    return success();
  });
}

}  // extern "C"
