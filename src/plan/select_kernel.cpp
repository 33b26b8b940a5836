// SPDX-License-Identifier: Apache-2.0
#include "plan/select_kernel.hpp"

#include <algorithm>
#include <cstdio>

#include "contract/visibility.h"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {
namespace {

using kernels::DeviceLimits;
using kernels::Passport;
using kernels::ProblemKey;
using kernels::Specialization;

std::string arch_text(int32_t arch) { return std::to_string(arch / 10) + "." + std::to_string(arch % 10); }

// The kernel's best specialization; kernel_index stays -1 when there is none. smallest_shared_bytes: the least that any
// specialization for the problem needs, for the refusal.
struct KernelChoice {
  Selection best;
  int64_t smallest_shared_bytes = -1;
};

KernelChoice best_specialization(int32_t kernel_index, const Passport &passport, const ProblemKey &key,
                                 const DeviceLimits &device, const TunedRow *tuned) {
  KernelChoice choice;
  const auto consider_one = [&](const Specialization &candidate) {
    if (!passport.serves(candidate, key)) return;
    const int64_t shared_bytes = passport.dynamic_shared_bytes(candidate);
    if (choice.smallest_shared_bytes < 0 || shared_bytes < choice.smallest_shared_bytes)
      choice.smallest_shared_bytes = shared_bytes;
    if (shared_bytes > device.shared_bytes_per_block) return;
    const kernels::Plan plan = passport.plan(candidate, key, device);
    if (choice.best.kernel_index >= 0 && plan.cost.total_us >= choice.best.plan.cost.total_us) return;
    choice.best = {kernel_index, candidate, plan, nullptr, key.variant};
  };
  if (key.one_module()) {
    consider_one(key.module);
    return choice;
  }
  if (tuned != nullptr && tuned->kernel_index == kernel_index) {
    consider_one(tuned->module);
    choice.best.tuned = choice.best.kernel_index >= 0 ? tuned : nullptr;
    if (choice.best.tuned != nullptr) return choice;
  }
  Specialization candidate;
  for (int32_t i = 0; passport.specialization(i, &candidate); ++i) {
    const Specialization fitted = passport.fitted(candidate, key);
    if (key.plain() || passport.allows(fitted).field == nullptr) consider_one(fitted);
  }
  return choice;
}

struct Exclusion {
  std::string field;   // empty: not a matter of an argument
  std::string reason;  // "head_dim must be 64 or 128"
};

// Why the one module that was asked for does not serve a problem that its kernel could do. What a kernel does not choose cannot be
// the reason.
Exclusion module_exclusion(const Passport &passport, const Specialization &s, const ProblemKey &key) {
  const auto value = [&](const char *choice, int32_t otherwise) { return passport.value(s, choice, otherwise); };
  const auto other = [](const char *field, const std::string &module_is_for, const std::string &given) {
    return Exclusion{field,
                     "the module is for " + std::string(field) + " " + module_is_for + ", the call's is " + given};
  };
  const auto dtype_word = [](int32_t dtype) {
    return std::string(dtype == kernels::dtype_bfloat16 ? "bfloat16" : "float16");
  };
  const int32_t dtype = value("dtype", key.dtype), head_dim = value("head_dim", key.head_dim),
                head_dim_v = value("head_dim_v", key.head_dim_v);
  if (dtype != key.dtype) return other("query.dtype", dtype_word(dtype), dtype_word(key.dtype));
  // No kernel refuses a head that is narrower than its tile.
  if (key.head_dim > head_dim) return other("head_dim", std::to_string(head_dim), std::to_string(key.head_dim));
  if (key.head_dim_v > head_dim_v)
    return other("head_dim_v", std::to_string(head_dim_v), std::to_string(key.head_dim_v));
  const int32_t masked = kernels::mask_of(key).end_moves ? 1 : 0, causal = value("causal", masked);
  if (causal != masked)
    return {"causal", causal != 0 ? "the module applies a causal mask, the call has none"
                                  : "the module applies no mask, the call has a causal one"};
  const int32_t heads = key.heads_q / key.heads_kv,
                most_heads = value("packed", 0) != 0 ? value("tile_q", heads) : heads;
  if (heads > most_heads)
    return {"heads_q", "the module packs up to " + std::to_string(most_heads) +
                           " query heads of a key head, the call has " + std::to_string(heads)};
  const int32_t window = value("window", 0), other_window = window == key.window() ? 0 : std::max(window, key.window());
  if (const char *field =
          kernels::feature_field(other_window, value("scores", 0) ^ key.scores, false, kernels::by_nothing);
      field != nullptr)
    return {field, "the module is compiled for another window or other scores than the call's, for which there is " +
                       module_name(passport, passport.fitted(s, key))};
  if (((value("calls", 0) ^ key.calls()) & kernels::calls_float32_output) != 0)
    return {"output.dtype", "the module writes " +
                                std::string(key.float32_output() ? "the type of the inputs" : "float32") +
                                ", for the call's there is " + module_name(passport, passport.fitted(s, key))};
  if (value("rows", kernels::rows_dense) != key.rows)
    return {"kernel", "the module is compiled for sequences that lie otherwise than the call's, for which there is " +
                          module_name(passport, passport.fitted(s, key))};
  return {"kernel", value("alignment_bytes", 16) > key.alignment_bytes
                        ? "the module moves rows by 16 bytes, the call's are not aligned to that"
                        : "the module is for rows of any alignment, the call's are aligned to 16 bytes"};
}

Exclusion exclusion(const Passport &passport, const ProblemKey &key, const DeviceLimits &device,
                    const KernelChoice &choice) {
  if (!runs_on(passport, device.arch))
    return {"", "needs compute capability " + arch_text(passport.minimum_arch) +
                    (passport.maximum_arch == 0 ? " or newer" : " to " + arch_text(passport.maximum_arch)) +
                    ", the device has " + arch_text(device.arch)};
  if (const kernels::Refusal refusal = passport.refusal(key); refusal.field != nullptr)
    return {refusal.field, std::string(refusal.field) + " must be " + refusal.reason};
  if (key.one_module() && !passport.serves(key.module, key)) return module_exclusion(passport, key.module, key);
  if (choice.smallest_shared_bytes > device.shared_bytes_per_block)
    return {"", "needs " + std::to_string(choice.smallest_shared_bytes) +
                    " bytes of shared memory per block, the device allows " +
                    std::to_string(device.shared_bytes_per_block)};
  return {"", "has no specialization for this problem"};
}

// Of the operation, and not kept out by another one's name.
bool is_candidate(int32_t index, const ProblemKey &key) {
  return is_attention(passport_at(index)) && (key.kernel_index < 0 || key.kernel_index == index);
}

bool left_to_name(const Passport &passport, const ProblemKey &key) {
  return passport.by_name_only && key.kernel_index < 0;
}

// The choice of one kernel, or none where its passport keeps it out.
KernelChoice consider(int32_t index, const Passport &passport, const ProblemKey &key, const DeviceLimits &device,
                      const TunedRow *tuned) {
  if (!runs_on(passport, device.arch) || passport.refusal(key).field != nullptr) return {};
  return best_specialization(index, passport, key, device, tuned);
}

// Rows are about 16-byte aligned problems, and leave alone who asks for a module.
const TunedRow *find_tuned(const ProblemKey &key, const DeviceLimits &device, std::span<const TunedRow> rows) {
  if (key.one_module() || key.alignment_bytes < 16) return nullptr;
  for (const TunedRow &row : rows)
    if (row.arch == device.arch && row.holds(key)) return &row;
  return nullptr;
}

Error unsupported(const ProblemKey &key, const DeviceLimits &device) {
  Error error{FLASHCORE_UNSUPPORTED, "no kernel can serve this call:"};
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    if (!is_candidate(index, key)) continue;
    const Passport &passport = *table[index].passport;
    const KernelChoice choice = consider(index, passport, key, device, nullptr);
    const bool by_name = left_to_name(passport, key) && choice.best.kernel_index >= 0;
    const Exclusion why = by_name ? Exclusion{"", "could, but is only used when asked for by name"}
                                  : exclusion(passport, key, device, choice);
    error.message += std::string(" ") + passport.name + ": " + why.reason + ";";
    if (error.field.empty()) error.field = why.field;
  }
  error.message.back() = '.';
  return error;
}

}  // namespace

Result<Selection> select_kernel(const ProblemKey &key, const DeviceLimits &device,
                                std::span<const TunedRow> tuned_rows) {
  Selection best;
  const TunedRow *tuned = find_tuned(key, device, tuned_rows);
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    if (!is_candidate(index, key)) continue;
    const Passport &passport = *table[index].passport;
    if (left_to_name(passport, key)) continue;
    const Selection candidate = consider(index, passport, key, device, tuned).best;
    if (candidate.kernel_index < 0) continue;
    if (candidate.tuned != nullptr) return candidate;
    if (best.kernel_index < 0 || candidate.plan.cost.total_us < best.plan.cost.total_us) best = candidate;
  }
  if (best.kernel_index < 0) return unsupported(key, device);
  return best;
}

std::string explain_selection(const ProblemKey &key, const DeviceLimits &device, std::span<const TunedRow> tuned_rows) {
  const Result<Selection> chosen = select_kernel(key, device, tuned_rows);
  const TunedRow *tuned = find_tuned(key, device, tuned_rows);
  std::string text;
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    const Passport &passport = *table[index].passport;
    if (!is_attention(passport)) continue;
    text += std::string(passport.name) + ": ";
    if (!is_candidate(index, key)) {
      text += "not asked for\n";
      continue;
    }
    const KernelChoice choice = consider(index, passport, key, device, tuned);
    if (choice.best.kernel_index < 0) {
      text += exclusion(passport, key, device, choice).reason + "\n";
      continue;
    }
    char cost[160];
    std::snprintf(cost, sizeof(cost), "%.1f us by the model", choice.best.plan.cost.total_us);
    const bool is_chosen = chosen.ok() && chosen.value().kernel_index == index;
    const bool by_row = is_chosen && chosen.value().tuned != nullptr;
    if (by_row)
      std::snprintf(cost, sizeof(cost),
                    "by the tuned row %s (%.1f us measured, %.1f us without it), %.1f us by the model", tuned->origin,
                    tuned->measured_us, tuned->default_us, choice.best.plan.cost.total_us);
    const bool passed_over = chosen.ok() && chosen.value().tuned != nullptr &&
                             choice.best.plan.cost.total_us < chosen.value().plan.cost.total_us;
    const char *verdict = is_chosen                     ? "chosen, "
                          : left_to_name(passport, key) ? "only by name, "
                          : passed_over                 ? "cheaper by the model, slower by the tuned row, "
                                                        : "dearer, ";
    text += verdict + module_name(passport, choice.best.specialization, key.variant) + ", " + cost + "\n";
  }
  return text;
}

Result<KernelName> read_kernel_name(std::string_view name) {
  const size_t dash = std::min(name.find('-'), name.size());
  const int32_t index = find_kernel(name.substr(0, dash));
  if (index < 0) {
    std::string known;
    for (const KernelRow &row : kernel_table()) known += (known.empty() ? "" : ", ") + std::string(row.passport->name);
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "kernel is \"" + std::string(name) + "\"; allowed: empty, " + known +
                     ", or the name of a module of one of them",
                 "kernel"};
  }
  if (dash == name.size()) return KernelName{index};
  FLASHCORE_TRY_ASSIGN(const ModuleName module, parse_module_name(name));
  FLASHCORE_TRY(check_specialization(passport_at(index), module.specialization));
  return KernelName{index, module.specialization, module.variant};
}

Status pin_kernel(ProblemKey &key, std::string_view name) {
  key.kernel_index = -1, key.module = {};
  if (name.empty()) return success();
  FLASHCORE_TRY_ASSIGN(const KernelName named, read_kernel_name(name));
  if (!is_attention(passport_at(named.kernel_index)))
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "kernel is \"" + std::string(name) +
                     "\", which computes no attention; allowed: empty, or a kernel or module that does",
                 "kernel"};
  if (named.variant != 0 && named.variant != key.variant)
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "kernel is \"" + std::string(name) + "\", a module with another text than the call's variant has" +
                     (key.variant == 0 ? ", which has none" : ", " + variant_digest_text(key.variant)),
                 "kernel"};
  key.kernel_index = named.kernel_index, key.module = named.module;
  return success();
}

int32_t find_kernel(std::string_view name) {
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index)
    if (name == table[index].passport->name) return index;
  return -1;
}

}  // namespace flashcore
