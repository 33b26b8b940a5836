// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_loop.hpp"

#include <optional>

#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {

namespace {

// Of 16x8 scores, for each warp.
int32_t score_tiles(const SteadyLoop &loop, const kernels::Passport &passport,
                    const kernels::Specialization &specialization) {
  const auto columns = [&](const char *choice) { return passport.value(specialization, choice, 0); };
  // A step of a warpgroup is 16 rows of each warp by a tile of keys.
  if (loop.hgmma > 0) return columns("tile_kv") / 8;
  // An mma takes 16 of head_dim for a tile of scores; a tile of probabilities is half of what an mma takes for 8 of head_dim_v.
  return loop.hmma * 16 / (columns("head_dim") + columns("head_dim_v"));
}

}  // namespace

Result<ModuleLoop> steady_loop_of(const ModuleEntry &entry) {
  const Result<ModuleName> name = parse_module_name(entry.record.module);
  if (!name.ok())
    return Error{FLASHCORE_UNSUPPORTED, entry.record.module + " is no module's name that this version knows"};
  const kernels::Passport &passport = passport_at(name.value().kernel_index);
  FLASHCORE_TRY_ASSIGN(const std::span<const uint8_t> code, kernel_code(entry.cubin, entry.record.kernel));
  const std::optional<SteadyLoop> loop = find_steady_loop(code, entry.cubin_info.arch);
  if (!loop)
    return Error{FLASHCORE_UNSUPPORTED, entry.record.module + " for " + entry.record.arch +
                                            " has no loop with mma.sync or wgmma instructions"};
  return ModuleLoop{*loop, score_tiles(*loop, passport, name.value().specialization)};
}

}  // namespace flashcore
