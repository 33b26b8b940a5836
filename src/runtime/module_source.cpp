// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_source.hpp"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "base/cut_text.hpp"
#include "contract/arch.h"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"

namespace flashcore {

// One obtain(): what it went through so far goes into the words of its failure.
class ModuleSource::Search {
 public:
  Search(ModuleSource &source, const Take &take) : source_(source), take_(take) {}

  // nullopt: there is no entry that is taken.
  std::optional<Status> look(const ModuleRequest &request) {
    const NvrtcLibrary *nvrtc = NvrtcLibrary::loaded();
    const std::string compiler_id = nvrtc == nullptr ? std::string() : nvrtc->compiler_id();
    std::optional<Status> outcome;
    source_.store_.search(
        request.arch, request.key, compiler_id, [&](FoundModule &found) { return offer(request, found, outcome); },
        refusals_);
    return outcome;
  }

  Status compile(const ModuleRequest &request) {
    const Settings &settings = source_.settings_;
    if (request.variant_digest != 0 && request.variant == nullptr)
      return Error{FLASHCORE_COMPILER_UNAVAILABLE,
                   nothing_found(request) +
                       ", and the text of its variant is not known here: a program that has made "
                       "the variant compiles it",
                   "kernel"};
    Result<const NvrtcLibrary *> nvrtc = NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory);
    if (!nvrtc.ok()) {
      if (nvrtc.error().status == FLASHCORE_COMPILER_UNAVAILABLE)
        nvrtc.error().message = nothing_found(request) + ", and " + nvrtc.error().message;
      return std::move(nvrtc.error());
    }
    FLASHCORE_TRY_ASSIGN(const BuiltModule built, build_module(request, *nvrtc.value()));
    source_.counters_.compiled.fetch_add(1, std::memory_order_relaxed);
    source_.counters_.compile_us.fetch_add(built.record.compile_us, std::memory_order_relaxed);
    FLASHCORE_TRY(take_({request, built.cubin, nullptr, &built}));
    // Kept only after it was taken; read back never: what runs is what was compiled here.
    source_.store_.keep(built.record, built.encoded);
    return success();
  }

  Error compiling_forbidden(const ModuleRequest &request) const {
    return {FLASHCORE_COMPILER_UNAVAILABLE,
            nothing_found(request) + ", and compiling is forbidden (" + source_.settings_.jit_refusal +
                "). Allow it, or ship the module: fc-inspect compile " + request.arch +
                " --output DIR, and set FLASHCORE_MODULE_PATH=DIR.",
            "", driver_code_};
  }

 private:
  // True: the search has come to its end.
  bool offer(const ModuleRequest &request, FoundModule &found, std::optional<Status> &outcome) {
    Status taken = take_({request, found.entry.cubin, &found, nullptr});
    ModuleSourceCounters &counters = source_.counters_;
    if (!taken.ok() && taken.error().status == FLASHCORE_CUDA_ERROR) {
      counters.refused_by_driver.fetch_add(1, std::memory_order_relaxed);
      driver_code_ = taken.error().driver_code;
      refusals_.add(found.path + ": the driver refused it: " + taken.error().message);
      return false;
    }
    if (taken.ok()) {
      auto &counter = found.origin == ModuleOrigin::shipped ? counters.from_shipped : counters.from_user_cache;
      counter.fetch_add(1, std::memory_order_relaxed);
    }
    outcome = std::move(taken);
    return true;
  }

  // "no module folder and no cache holds <module> for <arch>", and what was there all the same and could not be used.
  std::string nothing_found(const ModuleRequest &request) const {
    const char *usable = refusals_.texts().empty() ? "" : "a usable ";
    return "no module folder and no cache holds " + (usable + request.module) + " for " + request.arch +
           refusals_.in_brackets();
  }

  ModuleSource &source_;
  const Take &take_;
  Refusals refusals_;
  int32_t driver_code_ = 0;  // what the driver said last
};

ModuleSource::ModuleSource(const Settings &settings) : settings_(settings), store_(settings.store) {}

Status ModuleSource::obtain(const std::vector<ModuleRequest> &requests, const Take &take) {
  Search search(*this, take);
  for (const ModuleRequest &request : requests)
    if (std::optional<Status> found = search.look(request)) return *std::move(found);
  const ModuleRequest &best = requests.front();
  if (!settings_.jit_allowed) return search.compiling_forbidden(best);
  // One process compiles, the others find its entry; if the lock cannot be had everyone compiles, which is only slower.
  Status result = Error{};
  store_.with_key_lock(best.key, [&] {
    std::optional<Status> again = search.look(best);
    result = again ? *std::move(again) : search.compile(best);
  });
  return result;
}

namespace {

Status check_arch_name(const std::string &arch) {
  if (kernels::is_arch_name(arch.c_str())) return success();
  std::string allowed;
  for (const kernels::ArchName &name : kernels::arch_names)
    allowed.append(allowed.empty() ? "" : ", ").append(name.text);
  return Error{FLASHCORE_INVALID_ARGUMENT, "arch is \"" + std::string(cut_text(arch, 64)) + "\"; allowed: " + allowed,
               "arch"};
}

bool is_current(const ModuleRecord &record, const std::string &nvrtc_append_flags) {
  const Result<ModuleName> name = parse_module_name(record.module);
  if (!name.ok()) return false;
  const auto &[index, specialization, variant] = name.value();
  if (!check_specialization(passport_at(index), specialization).ok()) return false;
  return make_module_request(index, specialization, record.arch, nvrtc_append_flags, variant).key == record.key;
}

KnownModule known_module(ListedModule file, const std::string &nvrtc_append_flags) {
  const bool current = file.entry.ok() && is_current(file.entry.value().record, nvrtc_append_flags);
  return {std::move(file), current};
}

bool sorts_before(const ListedModule &a, const ListedModule &b) {
  if (a.entry.ok() != b.entry.ok()) return a.entry.ok();
  if (!a.entry.ok()) return a.path < b.path;
  const ModuleRecord &x = a.entry.value().record, &y = b.entry.value().record;
  const int32_t x_arch = kernels::arch_number(x.arch.c_str()), y_arch = kernels::arch_number(y.arch.c_str());
  return std::tie(x_arch, x.module, a.path) < std::tie(y_arch, y.module, b.path);
}

// Those of the passports' lists, and what tuned rows name beside them.
std::vector<ModuleRequest> modules_of_arch(const std::string &arch, const std::string &nvrtc_append_flags) {
  const int32_t arch_number = kernels::arch_number(arch.c_str());
  std::vector<ModuleRequest> requests;
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    const kernels::Passport &passport = *table[static_cast<size_t>(index)].passport;
    if (!runs_on(passport, arch_number)) continue;
    kernels::Specialization specialization;
    for (int32_t i = 0; passport.specialization(i, &specialization); ++i)
      requests.push_back(make_module_request(index, specialization, arch, nvrtc_append_flags));
  }
  for (const TunedRow &row : tuned_rows()) {
    if (row.arch != arch_number) continue;
    ModuleRequest request = make_module_request(row.kernel_index, row.module, arch, nvrtc_append_flags);
    const bool listed = std::any_of(requests.begin(), requests.end(),
                                    [&](const ModuleRequest &other) { return other.key == request.key; });
    if (!listed) requests.push_back(std::move(request));
  }
  return requests;
}

Status check_runs_on(const kernels::Passport &passport, const std::string &arch) {
  if (runs_on(passport, kernels::arch_number(arch.c_str()))) return success();
  const std::string last = passport.maximum_arch == 0 ? " or newer" : " to sm_" + std::to_string(passport.maximum_arch);
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "arch is \"" + arch + "\", where " + passport.name + " does not run; allowed: sm_" +
                   std::to_string(passport.minimum_arch) + last,
               "arch"};
}

struct PackedModule {
  KnownModule module;
  int64_t compile_us = 0;  // 0: it was there
};

// A module as a file of a folder: the one that is there and was made by this compiler, else compiled and written now.
Result<PackedModule> pack_module(const ModuleRequest &request, const std::string &folder, const NvrtcLibrary &nvrtc) {
  ModuleStoreOptions options;
  options.read_only_roots = {folder};
  options.mode = CacheMode::off;
  ModuleStore store(options);
  const auto find = [&] { return store.find(request.arch, request.key, nvrtc.compiler_id()); };
  int64_t compile_us = 0;
  std::optional<FoundModule> there = find();
  if (!there || there->entry.record.compiler_id != nvrtc.compiler_id()) {
    FLASHCORE_TRY_ASSIGN(const BuiltModule built, build_module(request, nvrtc));
    FLASHCORE_TRY(write_pack_entry(folder, built.record, built.encoded));
    compile_us = built.record.compile_us;
    there = find();
  }
  if (!there)
    return Error{FLASHCORE_IO_ERROR, request.module + " was written to " + folder + " and cannot be read there"};
  FLASHCORE_TRY_ASSIGN(ListedModule listed, read_module_file(there->path));
  return PackedModule{{std::move(listed), true}, compile_us};
}

}  // namespace

Result<ModuleRequest> request_module(const Settings &settings, std::string_view module, const std::string &arch) {
  FLASHCORE_TRY(check_arch_name(arch));
  FLASHCORE_TRY_ASSIGN(const KernelName named, read_kernel_name(module));
  if (!named.one_module())
    return Error{FLASHCORE_INVALID_ARGUMENT,
                 "kernel is \"" + std::string(module) + "\"; allowed: the whole name of a module", "kernel"};
  return make_module_request(named.kernel_index, named.module, arch, settings.environment.nvrtc_append_flags,
                             named.variant);
}

namespace {

Result<PackedModule> obtain_from(ModuleSource &source, const ModuleRequest &request) {
  std::optional<KnownModule> obtained;
  int64_t compile_us = 0;
  FLASHCORE_TRY(source.obtain({request}, [&](const ModuleOffer &offer) {
    if (FoundModule *found = offer.found; found != nullptr) {
      obtained.emplace(KnownModule{{std::move(found->path), found->origin, 0, 0, std::move(found->entry)}, true});
    } else {
      compile_us = offer.built->record.compile_us;
      obtained.emplace(
          KnownModule{{"", ModuleOrigin::user_cache, 0, 0, decode_module_entry(offer.built->encoded)}, true});
    }
    return success();
  }));
  return PackedModule{*std::move(obtained), compile_us};
}

}  // namespace

Result<KnownModule> obtain_module(const Settings &settings, const ModuleRequest &request) {
  ModuleSource source(settings);
  FLASHCORE_TRY_ASSIGN(PackedModule obtained, obtain_from(source, request));
  return std::move(obtained.module);
}

Result<std::vector<ModuleRequest>> named_modules(const Settings &settings, std::string_view kernel,
                                                 const std::string &arch) {
  FLASHCORE_TRY(check_arch_name(arch));
  KernelName named;
  if (!kernel.empty()) {
    FLASHCORE_TRY_ASSIGN(named, read_kernel_name(kernel));
  }
  const std::string &flags = settings.environment.nvrtc_append_flags;
  if (named.one_module()) {
    FLASHCORE_TRY(check_runs_on(passport_at(named.kernel_index), arch));
    return std::vector{make_module_request(named.kernel_index, named.module, arch, flags)};
  }
  std::vector<ModuleRequest> requests = modules_of_arch(arch, flags);
  if (named.kernel_index >= 0)
    std::erase_if(requests, [&](const ModuleRequest &request) { return request.kernel_index != named.kernel_index; });
  return requests;
}

Status compile_modules(const Settings &settings, std::string_view kernel, const std::string &arch,
                       const std::string &folder, const CompileProgress &progress) {
  FLASHCORE_TRY_ASSIGN(const std::vector<ModuleRequest> requests, named_modules(settings, kernel, arch));
  FLASHCORE_TRY_ASSIGN(const NvrtcLibrary *nvrtc,
                       NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory));
  int32_t done = 0;
  for (const ModuleRequest &request : requests) {
    FLASHCORE_TRY_ASSIGN(const PackedModule packed, pack_module(request, folder, *nvrtc));
    ++done;
    if (!progress(done, static_cast<int32_t>(requests.size()), packed.module, packed.compile_us)) break;
  }
  return success();
}

namespace {

// A cache that can be written to.
Status check_user_cache(const Settings &settings) {
  if (!settings.user_cache_note.empty())
    return Error{FLASHCORE_INVALID_ARGUMENT, settings.user_cache_note, "cache_directory"};
  if (settings.store.mode != CacheMode::read_write)
    return Error{FLASHCORE_INVALID_ARGUMENT, "the user cache is only read (cache_mode or FLASHCORE_CACHE)",
                 "cache_mode"};
  return success();
}

}  // namespace

Status warm_modules(const Settings &settings, std::string_view kernel, const std::string &arch,
                    const CompileProgress &progress) {
  FLASHCORE_TRY_ASSIGN(const std::vector<ModuleRequest> requests, named_modules(settings, kernel, arch));
  FLASHCORE_TRY(check_user_cache(settings));
  ModuleSource source(settings);
  if (source.store().user_root().empty()) return Error{FLASHCORE_IO_ERROR, source.store().last_warning()};
  int32_t done = 0;
  for (const ModuleRequest &request : requests) {
    FLASHCORE_TRY_ASSIGN(const PackedModule warmed, obtain_from(source, request));
    if (source.store().counters().write_failures != 0) return Error{FLASHCORE_IO_ERROR, source.store().last_warning()};
    ++done;
    if (!progress(done, static_cast<int32_t>(requests.size()), warmed.module, warmed.compile_us)) break;
  }
  return success();
}

Result<CacheRemoval> remove_cached_modules(const Settings &settings, Removed what, int64_t most_bytes, bool dry_run) {
  FLASHCORE_TRY(check_user_cache(settings));
  const auto unwanted = [&](const ListedModule &file) {
    return what == Removed::all || !file.entry.ok() ||
           !is_current(file.entry.value().record, settings.environment.nvrtc_append_flags);
  };
  return remove_modules(settings.store, unwanted, most_bytes, dry_run);
}

Result<std::vector<KnownModule>> known_modules(const Settings &settings) {
  FLASHCORE_TRY_ASSIGN(std::vector<ListedModule> files, list_modules(settings.store));
  std::sort(files.begin(), files.end(), sorts_before);
  std::vector<KnownModule> modules;
  modules.reserve(files.size());
  for (ListedModule &file : files)
    modules.push_back(known_module(std::move(file), settings.environment.nvrtc_append_flags));
  return modules;
}

Result<KnownModule> read_module(const std::string &path) {
  FLASHCORE_TRY_ASSIGN(ListedModule file, read_module_file(path));
  if (!file.entry.ok()) return file.entry.error();
  return known_module(std::move(file), read_environment().nvrtc_append_flags);
}

}  // namespace flashcore
