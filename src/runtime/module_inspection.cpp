// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_inspection.hpp"

#include <optional>

#include "plan/specialization_text.hpp"

namespace flashcore {

Result<ListedModule> obtain_module(const Settings &settings, const ModuleRequest &request) {
  ModuleStore store(settings.store);
  const auto find = [&](const std::string &compiler_id) -> std::optional<ListedModule> {
    std::optional<FoundModule> found = store.find(request.arch, request.key, compiler_id);
    if (!found) return std::nullopt;
    return ListedModule{std::move(found->path), found->origin, 0, 0, std::move(found->entry)};
  };
  if (std::optional<ListedModule> stored = find("")) return *std::move(stored);
  if (!settings.jit_allowed)
    return Error{FLASHCORE_COMPILER_UNAVAILABLE, "no module folder and no cache holds " + request.module + " for " + request.arch +
                                                     ", and compiling is forbidden (jit_mode or FLASHCORE_JIT)"};
  FLASHCORE_TRY_ASSIGN(const NvrtcLibrary *nvrtc, NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory));
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
  if (!name.ok()) return Error{FLASHCORE_UNSUPPORTED, entry.record.module + " is no module's name that this version knows"};
  const kernels::Specialization &specialization = name.value().specialization;
  FLASHCORE_TRY_ASSIGN(const std::span<const uint8_t> code, kernel_code(entry.cubin, entry.record.kernel));
  const std::optional<SteadyLoop> loop = find_steady_loop(code, entry.cubin_info.arch);
  if (!loop)
    return Error{FLASHCORE_UNSUPPORTED, entry.record.module + " for " + entry.record.arch + " has no loop with mma.sync instructions"};
  // An mma takes 16 of head_dim for a tile of scores; a tile of probabilities is half of what an mma takes for 8 of head_dim_v.
  return ModuleLoop{*loop, loop->hmma * 16 / (specialization.head_dim + specialization.head_dim_v)};
}

}  // namespace flashcore
