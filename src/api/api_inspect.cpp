// SPDX-License-Identifier: Apache-2.0
//
// Exported functions of the inspection tier: the kernel table, module files, compiling ahead of time.
#include "flashcore/flashcore_inspect.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>

#include "api/api_guard.hpp"
#include "base/cut_text.hpp"
#include "base/struct_size.hpp"
#include "contract/arch.h"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_problem.hpp"
#include "runtime/environment_report.hpp"
#include "runtime/module_builder.hpp"
#include "runtime/module_inspection.hpp"

using namespace flashcore;

struct flashcore_module_list_s {
  std::vector<ListedModule> modules;
  std::string nvrtc_append_flags;
};

namespace {

int32_t specialization_count(const kernels::Passport &passport) {
  kernels::Specialization unused;
  int32_t count = 0;
  while (passport.specialization(count, &unused)) ++count;
  return count;
}

// Every module to ship for one architecture: the passports' lists, and what the tuned rows name beside them.
std::vector<ModuleRequest> all_requests(const std::string &arch, const std::string &nvrtc_append_flags) {
  std::vector<ModuleRequest> requests;
  const int32_t arch_number = kernels::arch_number(arch.c_str());
  const auto table = kernel_table();
  for (int32_t index = 0; index < static_cast<int32_t>(table.size()); ++index) {
    const kernels::Passport &passport = *table[index].passport;
    if (arch_number < passport.minimum_arch || (passport.maximum_arch != 0 && arch_number > passport.maximum_arch))
      continue;
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

void fill_resources(const ModuleEntry &entry, flashcore_kernel_resources *out) {
  const auto found = std::find_if(entry.cubin_info.kernels.begin(), entry.cubin_info.kernels.end(),
                                  [&](const KernelResources &kernel) { return kernel.name == entry.record.kernel; });
  if (found == entry.cubin_info.kernels.end()) return;  // decode_module_entry refuses such an entry
  copy_text(out->name, found->name);
  out->registers = found->registers;
  out->static_shared_bytes = found->static_shared_bytes;
  out->dynamic_shared_bytes = entry.record.dynamic_shared_bytes;
  out->stack_bytes = found->stack_bytes;
  out->spill_store_bytes = found->spill_store_bytes;
  out->spill_load_bytes = found->spill_load_bytes;
  out->parameter_bytes = found->parameter_bytes;
  out->max_threads_per_block = found->max_threads_per_block;
  out->required_threads = found->required_threads;
  out->barriers = found->barriers;
  out->constant_bytes = found->constant_bytes;
  out->code_bytes = found->code_bytes;
}

flashcore_module_info module_info(const ListedModule &listed, bool current) {
  flashcore_module_info info{};
  info.origin = listed.origin == ModuleOrigin::shipped ? FLASHCORE_ORIGIN_SHIPPED : FLASHCORE_ORIGIN_USER_CACHE;
  info.file_bytes = listed.file_bytes;
  info.modified_unix_seconds = listed.modified_unix_seconds;
  copy_text(info.path, listed.path);
  if (!listed.entry.ok()) {
    info.status = listed.entry.error().status;
    copy_text(info.problem, listed.entry.error().message);
    return info;
  }
  const ModuleEntry &entry = listed.entry.value();
  info.current = current ? 1 : 0;
  copy_text(info.module, entry.record.module);
  copy_text(info.kernel, entry.record.kernel);
  copy_text(info.arch, entry.record.arch);
  copy_text(info.key, entry.record.key);
  copy_text(info.compiler, entry.record.compiler);
  copy_text(info.compiler_id, entry.record.compiler_id);
  copy_text(info.cubin_sha256, entry.record.cubin_sha256);
  info.compressed_bytes = entry.compressed_bytes;
  info.cubin_bytes = entry.record.cubin_bytes;
  info.compile_us = entry.record.compile_us;
  fill_resources(entry, &info.resources);
  return info;
}

// Could this library ask for the module: shipped, tuned or by name?
bool is_current(const ModuleRecord &record, const std::string &nvrtc_append_flags) {
  const Result<ModuleName> name = parse_module_name(record.module);
  if (!name.ok()) return false;
  const auto [index, specialization] = name.value();
  if (!check_specialization(passport_at(index), specialization).ok()) return false;
  return make_module_request(index, specialization, record.arch, nvrtc_append_flags).key == record.key;
}

bool sorts_before(const ListedModule &a, const ListedModule &b) {
  if (a.entry.ok() != b.entry.ok()) return a.entry.ok();
  if (!a.entry.ok()) return a.path < b.path;
  const ModuleRecord &x = a.entry.value().record, &y = b.entry.value().record;
  const int32_t x_arch = kernels::arch_number(x.arch.c_str()), y_arch = kernels::arch_number(y.arch.c_str());
  return std::tie(x_arch, x.module, a.path) < std::tie(y_arch, y.module, b.path);
}

Status check_arch_name(const char *arch) {
  if (kernels::is_arch_name(arch)) return success();
  std::string allowed;
  for (const kernels::ArchName &name : kernels::arch_names)
    allowed.append(allowed.empty() ? "" : ", ").append(name.text);
  return Error{FLASHCORE_INVALID_ARGUMENT, "arch is \"" + std::string(cut_text(arch, 64)) + "\"; allowed: " + allowed,
               "arch"};
}

struct Free {
  void operator()(char *memory) const { std::free(memory); }
};
using MallocCopy = std::unique_ptr<char, Free>;

MallocCopy malloc_copy(const void *bytes, size_t size, size_t extra) {
  MallocCopy copy(static_cast<char *>(std::malloc(size + extra)));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy.get(), bytes, size);
  std::memset(copy.get() + size, 0, extra);
  return copy;
}

Result<flashcore_loop_info> loop_info(const ModuleEntry &entry) {
  FLASHCORE_TRY_ASSIGN(const ModuleLoop loop, steady_loop_of(entry));
  flashcore_loop_info info{};
  info.score_tiles = loop.score_tiles;
  info.hmma = loop.counts.hmma, info.ldsm = loop.counts.ldsm, info.mufu = loop.counts.mufu,
  info.ffma = loop.counts.ffma;
  info.fmnmx = loop.counts.fmnmx, info.other = loop.counts.other, info.skipped = loop.counts.skipped;
  info.first_byte = loop.counts.first_byte, info.bytes = loop.counts.bytes;
  return info;
}

Status copy_module(const ListedModule &listed, bool current, flashcore_module_info *info, void **cubin, char **record) {
  if (!listed.entry.ok()) return listed.entry.error();
  const ModuleEntry &entry = listed.entry.value();
  MallocCopy cubin_copy, record_copy;
  if (cubin != nullptr) cubin_copy = malloc_copy(entry.cubin.data(), entry.cubin.size(), 0);
  if (record != nullptr) record_copy = malloc_copy(entry.record_json.data(), entry.record_json.size(), 1);
  FLASHCORE_TRY(write_sized_struct(info, module_info(listed, current), "info", sizeof(flashcore_module_info)));
  if (cubin != nullptr) *cubin = cubin_copy.release();
  if (record != nullptr) *record = record_copy.release();
  return success();
}

}  // namespace

extern "C" {

int32_t flashcore_kernel_count(void) { return static_cast<int32_t>(kernel_table().size()); }

flashcore_status flashcore_kernel_describe(int32_t index, flashcore_kernel_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (info == nullptr) return null_argument("info");
    const auto table = kernel_table();
    if (index < 0 || index >= static_cast<int32_t>(table.size()))
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "index is " + std::to_string(index) + "; allowed: 0 to " + std::to_string(table.size() - 1),
                   "index"};
    const kernels::Passport &passport = *table[static_cast<size_t>(index)].passport;
    flashcore_kernel_info content{};
    content.minimum_arch = passport.minimum_arch;
    content.maximum_arch = passport.maximum_arch;
    content.specializations = specialization_count(passport);
    content.by_name_only = passport.by_name_only ? 1 : 0;
    content.choices = passport.choices.count;
    copy_text(content.name, passport.name);
    copy_text(content.summary, passport.summary);
    return write_sized_struct(info, content, "info", sizeof(flashcore_kernel_info));
  });
}

flashcore_status flashcore_kernel_model(const flashcore_attention_args *args, const flashcore_device_info *device,
                                        flashcore_model_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (device == nullptr) return null_argument("device");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const flashcore_device_info given,
                         read_sized_struct(device, "device", sizeof(flashcore_device_info)));
    if (given.arch < 1 || given.multiprocessors < 1 || given.shared_memory_per_block_optin_bytes < 1)
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "device has arch " + std::to_string(given.arch) + ", " + std::to_string(given.multiprocessors) +
                       " multiprocessors and " + std::to_string(given.shared_memory_per_block_optin_bytes) +
                       " bytes of shared memory per block; allowed: 1 or more of each",
                   "device"};
    FLASHCORE_TRY_ASSIGN(const AttentionProblem problem, validate_attention(args, AddressRule::optional));
    kernels::ProblemKey key = problem.key;
    FLASHCORE_TRY(pin_kernel(key, problem.kernel));
    // On every architecture a multiprocessor has a kilobyte more than a block may use.
    const int32_t per_block =
        std::min(given.shared_memory_per_block_optin_bytes, std::numeric_limits<int32_t>::max() - 1024);
    const kernels::DeviceLimits limits = {given.arch, given.multiprocessors, per_block, per_block + 1024};
    FLASHCORE_TRY_ASSIGN(const Selection selection, select_kernel(key, limits, {}));
    const kernels::Cost &cost = selection.plan.cost;
    flashcore_model_info content{};
    content.blocks_per_multiprocessor = static_cast<int32_t>(cost.blocks_per_multiprocessor);
    copy_text(content.module, module_name(passport_at(selection.kernel_index), selection.specialization));
    content.waves = cost.waves, content.launch_us = cost.launch_us;
    content.tensor_us = cost.tensor_us, content.mufu_us = cost.mufu_us, content.issue_us = cost.issue_us;
    content.shared_us = cost.shared_us, content.l2_us = cost.l2_us;
    content.throughput_us = cost.throughput_us, content.latency_us = cost.latency_us, content.total_us = cost.total_us;
    return write_sized_struct(info, content, "info", sizeof(flashcore_model_info));
  });
}

flashcore_status flashcore_kernel_check_name(const char *name, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (name == nullptr) return null_argument("name");
    if (const size_t length = std::strlen(name); length == 0 || length >= FLASHCORE_NAME_BYTES)
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "kernel has " + std::to_string(length) + " characters; allowed: 1 to " +
                       std::to_string(FLASHCORE_NAME_BYTES - 1),
                   "kernel"};
    kernels::ProblemKey key{};
    return pin_kernel(key, name);
  });
}

flashcore_status flashcore_module_list_create(const flashcore_context_options *options, flashcore_module_list *list,
                                              flashcore_error *error) {
  clear(list);
  return guarded(error, [&]() -> Status {
    if (list == nullptr) return null_argument("list");
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    auto created = std::make_unique<flashcore_module_list_s>();
    FLASHCORE_TRY_ASSIGN(created->modules, list_modules(settings.store));
    std::sort(created->modules.begin(), created->modules.end(), sorts_before);
    created->nvrtc_append_flags = settings.environment.nvrtc_append_flags;
    *list = created.release();
    return success();
  });
}

int64_t flashcore_module_list_count(flashcore_module_list list) {
  return list == nullptr ? 0 : static_cast<int64_t>(list->modules.size());
}

flashcore_status flashcore_module_list_get(flashcore_module_list list, int64_t index, flashcore_module_info *info,
                                           flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (list == nullptr) return null_argument("list");
    if (info == nullptr) return null_argument("info");
    const int64_t count = flashcore_module_list_count(list);
    if (index < 0 || index >= count)
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "index is " + std::to_string(index) + "; allowed: 0 to " + std::to_string(count - 1), "index"};
    const ListedModule &listed = list->modules[static_cast<size_t>(index)];
    const bool current = listed.entry.ok() && is_current(listed.entry.value().record, list->nvrtc_append_flags);
    return write_sized_struct(info, module_info(listed, current), "info", sizeof(flashcore_module_info));
  });
}

void flashcore_module_list_destroy(flashcore_module_list list) { delete list; }

flashcore_status flashcore_module_read(const char *path, flashcore_module_info *info, void **cubin, char **record,
                                       flashcore_error *error) {
  clear(cubin), clear(record);
  return guarded(error, [&]() -> Status {
    if (path == nullptr) return null_argument("path");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const ListedModule listed, read_module_file(path));
    if (!listed.entry.ok()) return listed.entry.error();
    return copy_module(listed, is_current(listed.entry.value().record, read_environment().nvrtc_append_flags), info,
                       cubin, record);
  });
}

flashcore_status flashcore_module_loop(const char *path, flashcore_loop_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (path == nullptr) return null_argument("path");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const ListedModule listed, read_module_file(path));
    if (!listed.entry.ok()) return listed.entry.error();
    FLASHCORE_TRY_ASSIGN(const flashcore_loop_info content, loop_info(listed.entry.value()));
    return write_sized_struct(info, content, "info", sizeof(flashcore_loop_info));
  });
}

flashcore_status flashcore_module_obtain(const flashcore_context_options *options, const char *module, const char *arch,
                                         flashcore_module_info *info, void **cubin, char **record,
                                         flashcore_error *error) {
  clear(cubin), clear(record);
  return guarded(error, [&]() -> Status {
    if (module == nullptr) return null_argument("module");
    if (arch == nullptr) return null_argument("arch");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY(check_arch_name(arch));
    kernels::ProblemKey key{};
    FLASHCORE_TRY(pin_kernel(key, module));
    if (!key.one_module())
      return Error{FLASHCORE_INVALID_ARGUMENT,
                   "kernel is \"" + std::string(module) + "\"; allowed: the whole name of a module", "kernel"};
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    FLASHCORE_TRY_ASSIGN(const ListedModule obtained,
                         obtain_module(settings, make_module_request(key.kernel_index, key.module, arch,
                                                                     settings.environment.nvrtc_append_flags)));
    return copy_module(obtained, true, info, cubin, record);
  });
}

void flashcore_inspect_free(void *memory) { std::free(memory); }

flashcore_status flashcore_modules_compile(const flashcore_context_options *options, const char *arch,
                                           const char *directory, flashcore_compile_progress progress, void *user,
                                           flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (arch == nullptr) return null_argument("arch");
    if (directory == nullptr) return null_argument("directory");
    FLASHCORE_TRY(check_arch_name(arch));
    FLASHCORE_TRY_ASSIGN(Settings settings, resolve_settings(options));
    FLASHCORE_TRY_ASSIGN(const NvrtcLibrary *nvrtc,
                         NvrtcLibrary::load(settings.nvrtc_library, settings.toolkit_directory));
    ModuleStoreOptions folder;
    folder.read_only_roots = {directory};
    folder.mode = CacheMode::off;
    ModuleStore store(folder);
    const std::vector<ModuleRequest> requests = all_requests(arch, settings.environment.nvrtc_append_flags);
    int32_t done = 0;
    for (const ModuleRequest &request : requests) {
      const auto there = store.find(request.arch, request.key, nvrtc->compiler_id());
      int64_t compile_us = 0;
      if (!there || there->entry.record.compiler_id != nvrtc->compiler_id()) {
        FLASHCORE_TRY_ASSIGN(const BuiltModule built, build_module(request, *nvrtc));
        FLASHCORE_TRY(write_pack_entry(directory, built.record, built.encoded));
        compile_us = built.record.compile_us;
      }
      ++done;
      if (progress != nullptr &&
          progress(user, done, static_cast<int32_t>(requests.size()), request.module.c_str(), compile_us) != 0)
        break;
    }
    return success();
  });
}

flashcore_status flashcore_environment_describe(const flashcore_context_options *options, char *text, int64_t capacity,
                                                flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (text == nullptr) return null_argument("text");
    if (capacity < 1)
      return Error{FLASHCORE_INVALID_ARGUMENT, "capacity is " + std::to_string(capacity) + "; allowed: 1 or more",
                   "capacity"};
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    const std::string report_text = environment_report(settings);
    const size_t length = std::min(report_text.size(), static_cast<size_t>(capacity - 1));
    std::memcpy(text, report_text.data(), length);
    text[length] = '\0';
    return success();
  });
}

}  // extern "C"
