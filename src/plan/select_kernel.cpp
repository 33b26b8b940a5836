// SPDX-License-Identifier: Apache-2.0
#include "plan/select_kernel.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "contract/visibility.h"
#include "plan/batch_invariance.hpp"
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
  double measure = 0;          // Yardstick's, of the best
  int64_t fewest_blocks = -1;  // of those that have more than may run at once; -1: none has
};

// visit(specialization) for what the kernel may be compiled to for the problem, on whatever device.
template <typename Visit>
void for_each_candidate(const Passport &passport, const ProblemKey &key, const Visit &visit) {
  if (key.one_module()) {
    if (passport.serves(key.module, key)) visit(key.module);
    return;
  }
  Specialization candidate;
  for (int32_t i = 0; passport.specialization(i, &candidate); ++i) {
    const Specialization fitted = passport.fitted(candidate, key);
    if ((key.plain() || passport.allows(fitted).field == nullptr) && passport.serves(fitted, key)) visit(fitted);
  }
}

// Of the operation, and not kept out by another one's name.
bool is_candidate(int32_t index, const ProblemKey &key) {
  return is_attention(passport_at(index)) && (key.kernel_index < 0 || key.kernel_index == index);
}

bool left_to_name(const Passport &passport, const ProblemKey &key) {
  return passport.by_name_only && key.kernel_index < 0;
}

bool can_serve(const Passport &passport, const ProblemKey &key, const DeviceLimits &device) {
  return runs_on(passport, device.arch) && passport.refusal(key).field == nullptr;
}

// How many blocks at once the limit would have to allow; 0: it does.
int64_t blocks_beyond_limit(const kernels::Plan &plan, const ProblemKey &key) {
  const int64_t blocks = most_blocks_at_once(plan);
  return key.multiprocessor_limit != 0 && blocks > key.multiprocessor_limit ? blocks : 0;
}

// By what candidates are compared: what the call costs; of batch-invariant calls by how much more than the cheapest candidate it may take, over
// batches of all sizes.
class Yardstick {
 public:
  Yardstick(const ProblemKey &key, const DeviceLimits &device) : key_(key), device_(device), loads_(batch_loads(key)) {
    least_us_.fill(std::numeric_limits<double>::infinity());
    if (key.batch_invariant == 0) return;
    const auto table = kernel_table();
    for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
      const Passport &passport = *table[index].passport;
      if (!is_candidate(index, key) || left_to_name(passport, key) || !can_serve(passport, key, device)) continue;
      for_each_candidate(passport, key, [&](const Specialization &candidate) {
        if (passport.dynamic_shared_bytes(candidate) > device.shared_bytes_per_block) return;
        for (size_t i = 0; i < loads_.size(); ++i)
          least_us_[i] = std::min(least_us_[i], cost_us(passport, candidate, i));
      });
    }
  }
  // Less is better.
  double measure(const Passport &passport, const Specialization &candidate, const kernels::Plan &plan) const {
    if (key_.batch_invariant == 0) return plan.cost.total_us;
    double worst = 0;
    for (size_t i = 0; i < loads_.size(); ++i) worst = std::max(worst, cost_us(passport, candidate, i) / least_us_[i]);
    return worst;
  }

 private:
  double cost_us(const Passport &passport, const Specialization &candidate, size_t load) const {
    return passport.plan(candidate, under_load(key_, loads_[load]), like_all_of_arch(device_)).cost.total_us;
  }

  const ProblemKey &key_;
  const DeviceLimits &device_;
  const BatchLoads loads_;
  std::array<double, std::tuple_size_v<BatchLoads>> least_us_;
};

KernelChoice best_specialization(int32_t kernel_index, const Passport &passport, const ProblemKey &key,
                                 const DeviceLimits &device, const TunedRow *tuned, const Yardstick &yardstick) {
  KernelChoice choice;
  const auto consider_one = [&](const Specialization &candidate) {
    const int64_t shared_bytes = passport.dynamic_shared_bytes(candidate);
    if (choice.smallest_shared_bytes < 0 || shared_bytes < choice.smallest_shared_bytes)
      choice.smallest_shared_bytes = shared_bytes;
    if (shared_bytes > device.shared_bytes_per_block) return;
    const kernels::Plan plan = passport.plan(candidate, key, limited(device, key));
    if (const int64_t blocks = blocks_beyond_limit(plan, key); blocks > 0 && key.batch_invariant == 0) {
      if (choice.fewest_blocks < 0 || blocks < choice.fewest_blocks) choice.fewest_blocks = blocks;
      return;
    }
    const double measure = yardstick.measure(passport, candidate, plan);
    if (choice.best.kernel_index >= 0 && measure >= choice.measure) return;
    choice.best = {kernel_index, candidate, plan, nullptr, key.variant};
    choice.measure = measure;
  };
  if (tuned != nullptr && tuned->kernel_index == kernel_index && passport.serves(tuned->module, key)) {
    consider_one(tuned->module);
    choice.best.tuned = choice.best.kernel_index >= 0 ? tuned : nullptr;
    if (choice.best.tuned != nullptr) return choice;
  }
  for_each_candidate(passport, key, consider_one);
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
  if (choice.fewest_blocks > 0)
    return {"multiprocessor_limit", "multiprocessor_limit must be " + std::to_string(choice.fewest_blocks) +
                                        " or more: so many thread blocks run at once"};
  return {"", "has no specialization for this problem"};
}

// The choice of one kernel, or none where its passport keeps it out.
KernelChoice consider(int32_t index, const Passport &passport, const ProblemKey &key, const DeviceLimits &device,
                      const TunedRow *tuned, const Yardstick &yardstick) {
  if (!can_serve(passport, key, device)) return {};
  return best_specialization(index, passport, key, device, tuned, yardstick);
}

// Rows are about 16-byte aligned problems, and leave alone who asks for a module, for results that do not depend on the batch, or for a part of the
// multiprocessors.
const TunedRow *find_tuned(const ProblemKey &key, const DeviceLimits &device, std::span<const TunedRow> rows) {
  if (key.one_module() || key.alignment_bytes < 16 || key.batch_invariant != 0 || key.multiprocessor_limit != 0)
    return nullptr;
  for (const TunedRow &row : rows)
    if (row.arch == device.arch && row.holds(key)) return &row;
  return nullptr;
}

Error unsupported(const ProblemKey &key, const DeviceLimits &device) {
  Error error{FLASHCORE_UNSUPPORTED, "no kernel can serve this call:"};
  const Yardstick yardstick(key, device);
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    if (!is_candidate(index, key)) continue;
    const Passport &passport = *table[index].passport;
    const KernelChoice choice = consider(index, passport, key, device, nullptr, yardstick);
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
  KernelChoice best;
  const TunedRow *tuned = find_tuned(key, device, tuned_rows);
  const Yardstick yardstick(key, device);
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    if (!is_candidate(index, key)) continue;
    const Passport &passport = *table[index].passport;
    if (left_to_name(passport, key)) continue;
    const KernelChoice candidate = consider(index, passport, key, device, tuned, yardstick);
    if (candidate.best.kernel_index < 0) continue;
    if (candidate.best.tuned != nullptr) return candidate.best;
    if (best.best.kernel_index < 0 || candidate.measure < best.measure) best = candidate;
  }
  if (best.best.kernel_index < 0) return unsupported(key, device);
  // Another one, which may hold the limit, would give other bits.
  if (const int64_t blocks = blocks_beyond_limit(best.best.plan, key); blocks > 0)
    return Error{FLASHCORE_UNSUPPORTED,
                 "multiprocessor_limit is " + std::to_string(key.multiprocessor_limit) +
                     "; allowed: " + std::to_string(blocks) + " or more for " +
                     module_name(passport_at(best.best.kernel_index), best.best.specialization, key.variant) +
                     ", which results take that do not depend on the batch",
                 "multiprocessor_limit"};
  return best.best;
}

std::string explain_selection(const ProblemKey &key, const DeviceLimits &device, std::span<const TunedRow> tuned_rows) {
  const Result<Selection> chosen = select_kernel(key, device, tuned_rows);
  const TunedRow *tuned = find_tuned(key, device, tuned_rows);
  const Yardstick yardstick(key, device);
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
    const KernelChoice choice = consider(index, passport, key, device, tuned, yardstick);
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
                          : key.batch_invariant != 0    ? "dearer in batches of some size, "
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

void drop_needless_limit(ProblemKey &key, const DeviceLimits &device) {
  if (key.multiprocessor_limit >= device.multiprocessors) key.multiprocessor_limit = 0;
}

int32_t find_kernel(std::string_view name) {
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index)
    if (name == table[index].passport->name) return index;
  return -1;
}

}  // namespace flashcore
