// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_loader.hpp"

#include <array>
#include <cstring>
#include <optional>

#include "plan/kernel_table.hpp"

namespace flashcore {

struct ModuleLoader::Slot {
  bool done = false;
  Loaded loaded;
  std::optional<Error> error;
};

namespace {

// Nothing on disk could be loaded and nothing may be compiled.
Error no_module(const ModuleRequest &request, const std::optional<Error> &refused) {
  Error error{FLASHCORE_COMPILER_UNAVAILABLE, "no module folder and no cache holds " + request.module + " for " + request.arch};
  if (refused) {
    error.message = "the driver refused the module " + request.module + " (" + refused->message + ")";
    error.driver_code = refused->driver_code;
  }
  error.message += ", and compiling is forbidden (jit_mode or FLASHCORE_JIT). Allow it, or ship the module: fc-inspect compile " +
                   request.arch + " --output DIR, and set FLASHCORE_MODULE_PATH=DIR.";
  return error;
}

}  // namespace

ModuleLoader::ModuleLoader(const Settings &settings, const CudaDriver &driver, int32_t arch, int32_t shared_bytes_optin)
    : settings_(settings), driver_(driver), arch_(arch), shared_bytes_optin_(shared_bytes_optin), store_(settings.store) {}

ModuleLoader::~ModuleLoader() {
  for (const auto &[key, slot] : slots_)
    if (slot->loaded.module != nullptr) driver_.module_unload(slot->loaded.module);
}

ModuleLoader::SlotKey ModuleLoader::slot_key(const Selection &selection) {
  SlotKey key{selection.kernel_index, {}};
  static_assert(sizeof(key.second) == sizeof(selection.specialization));
  std::memcpy(key.second.data(), &selection.specialization, sizeof(selection.specialization));
  return key;
}

CudaFunction ModuleLoader::find(const Selection &selection) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(slot_key(selection));
  return found != slots_.end() && found->second->done ? found->second->loaded.function : nullptr;
}

Result<CudaFunction> ModuleLoader::load(const Selection &selection) {
  const SlotKey key = slot_key(selection);
  std::shared_ptr<Slot> slot;
  {
    std::unique_lock lock(mutex_);
    if (const auto found = slots_.find(key); found != slots_.end()) {
      slot = found->second;
      loaded_.wait(lock, [&slot] { return slot->done; });
      if (slot->error) return *slot->error;
      counters_.from_process.fetch_add(1, std::memory_order_relaxed);
      return slot->loaded.function;
    }
    slot = std::make_shared<Slot>();
    slots_.emplace(key, slot);
  }
  // Whatever happens, waiters are told; std::bad_alloc too.
  Result<Loaded> result = Error{FLASHCORE_OUT_OF_HOST_MEMORY, flashcore_status_sentence(FLASHCORE_OUT_OF_HOST_MEMORY)};
  try {
    result = load_now(selection);
  } catch (const std::bad_alloc &) {
  }
  const std::lock_guard lock(mutex_);
  slot->done = true;
  if (result.ok()) slot->loaded = result.value();
  else {
    slot->error = result.error();
    slots_.erase(key);
  }
  loaded_.notify_all();
  if (!result.ok()) return std::move(result.error());
  return slot->loaded.function;
}

Result<ModuleLoader::Loaded> ModuleLoader::load_now(const Selection &selection) {
  std::vector<ModuleRequest> requests;  // best architecture first
  for (const std::string &arch : module_archs(arch_))
    requests.push_back(make_module_request(selection.kernel_index, selection.specialization, arch,
                                           settings_.environment.nvrtc_append_flags));
  bool found = false;
  std::optional<Error> refused;
  Result<Loaded> stored = load_from_store(requests, &found, &refused);
  if (found) return stored;
  if (!settings_.jit_allowed) return no_module(requests.front(), refused);
  // One process compiles, the others find its entry; if the lock cannot be had everyone compiles, which is only slower.
  Result<Loaded> result = Error{};
  store_.with_key_lock(requests.front().key, [&] {
    Result<Loaded> again = load_from_store({requests.front()}, &found, &refused);
    result = found ? std::move(again) : compile_and_load(requests.front());
  });
  return result;
}

// *found: an entry was there and loaded. An entry that the driver refuses counts as a miss: it may be a stale or foreign
// one, and a fresh compile settles it.
Result<ModuleLoader::Loaded> ModuleLoader::load_from_store(const std::vector<ModuleRequest> &requests, bool *found,
                                                          std::optional<Error> *refused) {
  const NvrtcLibrary *nvrtc = NvrtcLibrary::loaded();
  const std::string compiler_id = nvrtc == nullptr ? std::string() : nvrtc->compiler_id();
  *found = false;
  for (const ModuleRequest &request : requests) {
    const std::optional<FoundModule> entry = store_.find(request.arch, request.key, compiler_id);
    if (!entry) continue;
    Result<Loaded> loaded = load_image(request, entry->entry.cubin);
    if (!loaded.ok()) {
      if (loaded.error().status != FLASHCORE_CUDA_ERROR) {  // memory, a lost context, too little shared memory: not the entry's fault
        *found = true;
        return loaded;
      }
      counters_.refused_by_driver.fetch_add(1, std::memory_order_relaxed);
      *refused = std::move(loaded.error());
      continue;
    }
    auto &counter = entry->origin == ModuleOrigin::shipped ? counters_.from_shipped : counters_.from_user_cache;
    counter.fetch_add(1, std::memory_order_relaxed);
    *found = true;
    return loaded;
  }
  return Loaded{};
}

Result<ModuleLoader::Loaded> ModuleLoader::compile_and_load(const ModuleRequest &request) {
  Result<const NvrtcLibrary *> nvrtc = NvrtcLibrary::load(settings_.nvrtc_library, settings_.toolkit_directory);
  if (!nvrtc.ok()) {
    nvrtc.error().message = "no module folder and no cache holds " + request.module + " for " + request.arch + ", and " +
                            nvrtc.error().message;
    return std::move(nvrtc.error());
  }
  FLASHCORE_TRY_ASSIGN(const BuiltModule built, build_module(request, *nvrtc.value()));
  counters_.compiled.fetch_add(1, std::memory_order_relaxed);
  counters_.compile_us.fetch_add(built.record.compile_us, std::memory_order_relaxed);
  FLASHCORE_TRY_ASSIGN(const Loaded loaded, load_image(request, built.cubin));
  // Kept only after the driver took it; read back never: what runs is what was compiled here.
  store_.keep(built.record, built.encoded);
  return loaded;
}

Result<ModuleLoader::Loaded> ModuleLoader::load_image(const ModuleRequest &request, const Bytes &cubin) {
  const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(request.kernel_index)].passport;
  const int64_t dynamic_bytes = passport.dynamic_shared_bytes(request.specialization);
  Loaded loaded;
  FLASHCORE_TRY_ASSIGN(loaded.module, driver_.module_load(cubin.data()));
  Result<Loaded> result = [&]() -> Result<Loaded> {
    FLASHCORE_TRY_ASSIGN(loaded.function, driver_.module_function(loaded.module, passport.name));
    FLASHCORE_TRY_ASSIGN(const KernelAttributes attributes, driver_.function_attributes(loaded.function));
    const int64_t limit = shared_bytes_optin_ - attributes.static_shared_bytes;
    if (dynamic_bytes > limit)
      return Error{FLASHCORE_UNSUPPORTED, request.module + " needs " + std::to_string(dynamic_bytes) +
                                              " bytes of dynamic shared memory per block; the device allows " +
                                              std::to_string(limit)};
    // 48 KB need no opt-in; asking once per function and device keeps every launch free of it.
    if (dynamic_bytes > 48 * 1024 - attributes.static_shared_bytes)
      FLASHCORE_TRY(driver_.set_max_dynamic_shared_bytes(loaded.function, static_cast<int32_t>(dynamic_bytes)));
    return loaded;
  }();
  if (!result.ok()) driver_.module_unload(loaded.module);
  return result;
}

}  // namespace flashcore
