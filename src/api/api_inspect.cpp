// SPDX-License-Identifier: Apache-2.0
//
// Exported functions of the inspection tier: the kernel table, module files, compiling ahead of time.
#include "flashcore/flashcore_inspect.h"

#include <cstring>

#include "api/api_guard.hpp"
#include "api/inspect_info.hpp"
#include "base/cut_text.hpp"
#include "base/struct_size.hpp"
#include "plan/kernel_table.hpp"
#include "plan/select_kernel.hpp"
#include "runtime/environment_report.hpp"
#include "runtime/module_loop.hpp"
#include "runtime/module_source.hpp"
#include "runtime/predicted_selection.hpp"

using namespace flashcore;

struct flashcore_module_list_s {
  std::vector<KnownModule> modules;
};

namespace {

Error index_error(int64_t index, int64_t count) {
  return {FLASHCORE_INVALID_ARGUMENT,
          "index is " + std::to_string(index) + "; allowed: 0 to " + std::to_string(count - 1), "index"};
}

// The struct, and what of cubin and record was asked for.
Status hand_out(const KnownModule &module, flashcore_module_info *info, void **cubin, char **record) {
  if (!module.file.entry.ok()) return module.file.entry.error();
  const ModuleEntry &entry = module.file.entry.value();
  MallocCopy cubin_copy, record_copy;
  if (cubin != nullptr) cubin_copy = malloc_copy(entry.cubin.data(), entry.cubin.size(), 0);
  if (record != nullptr) record_copy = malloc_copy(entry.record_json.data(), entry.record_json.size(), 1);
  FLASHCORE_TRY(write_sized_struct(info, module_info(module), "info", sizeof(flashcore_module_info)));
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
    const int32_t count = flashcore_kernel_count();
    if (index < 0 || index >= count) return index_error(index, count);
    return write_sized_struct(info, kernel_info(*kernel_table()[static_cast<size_t>(index)].passport), "info",
                              sizeof(flashcore_kernel_info));
  });
}

flashcore_status flashcore_kernel_model(const flashcore_attention_args *args, const flashcore_device_info *device,
                                        flashcore_model_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (device == nullptr) return null_argument("device");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const flashcore_device_info given,
                         read_sized_struct(device, "device", sizeof(flashcore_device_info)));
    FLASHCORE_TRY_ASSIGN(const Selection selection, predict_selection(args, given));
    return write_sized_struct(info, model_info(selection), "info", sizeof(flashcore_model_info));
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
    FLASHCORE_TRY(read_kernel_name(name));
    return success();
  });
}

flashcore_status flashcore_module_list_create(const flashcore_context_options *options, flashcore_module_list *list,
                                              flashcore_error *error) {
  clear(list);
  return guarded(error, [&]() -> Status {
    if (list == nullptr) return null_argument("list");
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    auto created = std::make_unique<flashcore_module_list_s>();
    FLASHCORE_TRY_ASSIGN(created->modules, known_modules(settings));
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
    if (index < 0 || index >= count) return index_error(index, count);
    return write_sized_struct(info, module_info(list->modules[static_cast<size_t>(index)]), "info",
                              sizeof(flashcore_module_info));
  });
}

void flashcore_module_list_destroy(flashcore_module_list list) { delete list; }

flashcore_status flashcore_module_read(const char *path, flashcore_module_info *info, void **cubin, char **record,
                                       flashcore_error *error) {
  clear(cubin), clear(record);
  return guarded(error, [&]() -> Status {
    if (path == nullptr) return null_argument("path");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const KnownModule module, read_module(path));
    return hand_out(module, info, cubin, record);
  });
}

flashcore_status flashcore_module_loop(const char *path, flashcore_loop_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (path == nullptr) return null_argument("path");
    if (info == nullptr) return null_argument("info");
    FLASHCORE_TRY_ASSIGN(const KnownModule module, read_module(path));
    FLASHCORE_TRY_ASSIGN(const ModuleLoop loop, steady_loop_of(module.file.entry.value()));
    return write_sized_struct(info, loop_info(loop), "info", sizeof(flashcore_loop_info));
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
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    FLASHCORE_TRY_ASSIGN(const ModuleRequest request, request_module(settings, module, arch));
    FLASHCORE_TRY_ASSIGN(const KnownModule obtained, obtain_module(settings, request));
    return hand_out(obtained, info, cubin, record);
  });
}

void flashcore_inspect_free(void *memory) { std::free(memory); }

flashcore_status flashcore_modules_compile(const flashcore_context_options *options, const char *kernel,
                                           const char *arch, const char *directory, flashcore_compile_progress progress,
                                           void *user, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (arch == nullptr) return null_argument("arch");
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    const auto tell = [&](int32_t done, int32_t total, const KnownModule &module, int64_t compile_us) {
      const flashcore_module_info info = module_info(module);
      return progress == nullptr || progress(user, done, total, &info, compile_us) == 0;
    };
    const char *named = kernel == nullptr ? "" : kernel;
    return directory == nullptr ? warm_modules(settings, named, arch, tell)
                                : compile_modules(settings, named, arch, directory, tell);
  });
}

flashcore_status flashcore_modules_export(const char *path, const char *directory, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (path == nullptr) return null_argument("path");
    if (directory == nullptr) return null_argument("directory");
    return export_module_file(path, directory);
  });
}

flashcore_status flashcore_modules_remove(const flashcore_context_options *options, int32_t what, int64_t most_bytes,
                                          int32_t dry_run, flashcore_removal_info *info, flashcore_error *error) {
  return guarded(error, [&]() -> Status {
    if (info == nullptr) return null_argument("info");
    if (what != FLASHCORE_REMOVE_UNUSABLE && what != FLASHCORE_REMOVE_ALL)
      return Error{
          FLASHCORE_INVALID_ARGUMENT,
          "what is " + std::to_string(what) + "; allowed: FLASHCORE_REMOVE_UNUSABLE (1), FLASHCORE_REMOVE_ALL (2)",
          "what"};
    FLASHCORE_TRY(check_struct_size(struct_size_of(info), "info", sizeof(flashcore_removal_info)));
    FLASHCORE_TRY_ASSIGN(const Settings settings, resolve_settings(options));
    FLASHCORE_TRY_ASSIGN(
        const CacheRemoval done,
        remove_cached_modules(settings, what == FLASHCORE_REMOVE_ALL ? Removed::all : Removed::unusable, most_bytes,
                              dry_run != 0));
    flashcore_removal_info content{};
    content.removed_files = done.removed_files, content.removed_bytes = done.removed_bytes;
    content.kept_files = done.kept_files, content.kept_bytes = done.kept_bytes;
    return write_sized_struct(info, content, "info", sizeof(flashcore_removal_info));
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
    const std::string_view fits = cut_text(report_text, static_cast<size_t>(capacity - 1));
    text[fits.copy(text, fits.size())] = '\0';
    return success();
  });
}

}  // extern "C"
