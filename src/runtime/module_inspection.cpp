// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_inspection.hpp"

#include <optional>

#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {

Result<ListedModule> obtain_module(const Settings &settings, const ModuleRequest &request) {
  ModuleStore store(settings.store);
  Refusals refusals;
  const auto find = [&](const std::string &compiler_id) {
    std::optional<ListedModule> stored;
    store.search(
        request.arch, request.key, compiler_id,
        [&stored](FoundModule &found) {
          stored.emplace(ListedModule{std::move(found.path), found.origin, 0, 0, std::move(found.entry)});
          return true;
        },
        refusals);
    return stored;
  };
  if (std::optional<ListedModule> stored = find("")) return *std::move(stored);
  if (!settings.jit_allowed) return no_module_and_no_jit(request, refusals, settings.jit_refusal, 0);
  Result<const NvrtcLibrary *> library = NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory);
  if (!library.ok()) {
    if (library.error().status == FLASHCORE_COMPILER_UNAVAILABLE)
      library.error().message = no_module_text(request, refusals) + ", and " + library.error().message;
    return std::move(library.error());
  }
  const NvrtcLibrary *nvrtc = library.value();
  const auto compile = [&]() -> Result<ListedModule> {
    if (std::optional<ListedModule> stored = find(nvrtc->compiler_id())) return *std::move(stored);
    FLASHCORE_TRY_ASSIGN(const BuiltModule built, build_module(request, *nvrtc));
    store.keep(built.record, built.encoded);
    return ListedModule{"", ModuleOrigin::user_cache, 0, 0, decode_module_entry(built.encoded)};
  };
  Result<ListedModule> result = Error{};
  store.with_key_lock(request.key, [&] { result = compile(); });
  return result;
}

Result<ModuleLoop> steady_loop_of(const ModuleEntry &entry) {
  const Result<ModuleName> name = parse_module_name(entry.record.module);
  if (!name.ok())
    return Error{FLASHCORE_UNSUPPORTED, entry.record.module + " is no module's name that this version knows"};
  const kernels::Passport &passport = passport_at(name.value().kernel_index);
  const auto columns = [&](const char *choice) { return passport.value(name.value().specialization, choice, 0); };
  FLASHCORE_TRY_ASSIGN(const std::span<const uint8_t> code, kernel_code(entry.cubin, entry.record.kernel));
  const std::optional<SteadyLoop> loop = find_steady_loop(code, entry.cubin_info.arch);
  if (!loop)
    return Error{FLASHCORE_UNSUPPORTED,
                 entry.record.module + " for " + entry.record.arch + " has no loop with mma.sync instructions"};
  // An mma takes 16 of head_dim for a tile of scores; a tile of probabilities is half of what an mma takes for 8 of head_dim_v.
  return ModuleLoop{*loop, loop->hmma * 16 / (columns("head_dim") + columns("head_dim_v"))};
}

}  // namespace flashcore
