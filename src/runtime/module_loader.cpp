// SPDX-License-Identifier: Apache-2.0
#include "runtime/module_loader.hpp"

#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "plan/kernel_table.hpp"

namespace flashcore {

struct ModuleLoader::Slot {
  bool done = false;
  Loaded loaded;
  // Made before anybody can wait for the slot, so that there is something to tell when there is no memory left to say it with.
  std::optional<Error> error =
      Error{FLASHCORE_OUT_OF_HOST_MEMORY, flashcore_status_sentence(FLASHCORE_OUT_OF_HOST_MEMORY)};
};

// Whatever happens to the load, an exception too: the slot is done, those who wait are told, and a slot that failed is gone.
class ModuleLoader::Loading {
 public:
  Loading(ModuleLoader &loader, const SlotKey &key, Slot &slot) : loader_(loader), key_(key), slot_(slot) {}
  Loading(const Loading &) = delete;
  Loading &operator=(const Loading &) = delete;
  ~Loading() {
    const std::lock_guard lock(loader_.mutex_);
    slot_.done = true;
    if (slot_.error) loader_.slots_.erase(key_);
    loader_.loaded_.notify_all();
  }
  // Allocates nothing. Nobody else looks at the slot before it is done.
  void finish(Result<Loaded> result) {
    if (result.ok()) {
      slot_.loaded = result.value();
      slot_.error.reset();
    } else {
      slot_.error = std::move(result.error());
    }
  }

 private:
  ModuleLoader &loader_;
  const SlotKey &key_;
  Slot &slot_;
};

ModuleLoader::ModuleLoader(const Settings &settings, const CudaDriver &driver, int32_t arch, int32_t shared_bytes_optin)
    : settings_(settings), driver_(driver), arch_(arch), shared_bytes_optin_(shared_bytes_optin), source_(settings) {}

ModuleLoader::~ModuleLoader() {
  for (const auto &[key, slot] : slots_)
    if (slot->loaded.module != nullptr) driver_.module_unload(slot->loaded.module);
}

ModuleLoader::SlotKey ModuleLoader::slot_key(const Selection &selection) {
  SlotKey key{selection.kernel_index, selection.variant, {}};
  auto &choices = std::get<2>(key);
  static_assert(sizeof(choices) == sizeof(selection.specialization));
  std::memcpy(choices.data(), &selection.specialization, sizeof(selection.specialization));
  return key;
}

std::optional<ModuleFunctions> ModuleLoader::find(const Selection &selection) {
  const std::lock_guard lock(mutex_);
  const auto found = slots_.find(slot_key(selection));
  if (found == slots_.end() || !found->second->done) return std::nullopt;
  return found->second->loaded.functions;
}

Result<ModuleFunctions> ModuleLoader::load(const Selection &selection, const std::shared_ptr<const Variant> &variant) {
  const SlotKey key = slot_key(selection);
  std::shared_ptr<Slot> slot;
  {
    std::unique_lock lock(mutex_);
    if (const auto found = slots_.find(key); found != slots_.end()) {
      slot = found->second;
      loaded_.wait(lock, [&slot] { return slot->done; });
      if (slot->error) return *slot->error;
      found_loaded_.fetch_add(1, std::memory_order_relaxed);
      return slot->loaded.functions;
    }
    slot = std::make_shared<Slot>();
    slots_.emplace(key, slot);
  }
  {
    Loading loading(*this, key, *slot);
    try {
      loading.finish(load_now(selection, variant));
    } catch (const std::bad_alloc &) {  // the slot says so already
    }
  }
  if (slot->error) return *slot->error;
  return slot->loaded.functions;
}

Result<ModuleLoader::Loaded> ModuleLoader::load_now(const Selection &selection,
                                                    const std::shared_ptr<const Variant> &variant) {
  std::vector<ModuleRequest> requests;  // best architecture first
  for (const std::string &arch : module_archs(arch_)) {
    requests.push_back(make_module_request(selection.kernel_index, selection.specialization, arch,
                                           settings_.environment.nvrtc_append_flags, selection.variant));
    requests.back().variant = variant;
  }
  Loaded loaded;
  FLASHCORE_TRY(source_.obtain(requests, [&](const ModuleOffer &offer) -> Status {
    FLASHCORE_TRY_ASSIGN(loaded, load_image(offer.request, offer.cubin));
    return success();
  }));
  return loaded;
}

namespace {

// Unloads unless it is released, also when memory runs out on the way.
class ModuleHold {
 public:
  ModuleHold(const CudaDriver &driver, CudaModule module) : driver_(driver), module_(module) {}
  ModuleHold(const ModuleHold &) = delete;
  ModuleHold &operator=(const ModuleHold &) = delete;
  ~ModuleHold() { driver_.module_unload(module_); }
  CudaModule get() const { return module_; }
  CudaModule release() { return std::exchange(module_, nullptr); }

 private:
  const CudaDriver &driver_;
  CudaModule module_;
};

}  // namespace

Result<CudaFunction> ModuleLoader::prepare_function(const ModuleRequest &request, CudaModule module,
                                                    const char *entry_point) {
  const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(request.kernel_index)].passport;
  const int64_t dynamic_bytes = passport.dynamic_shared_bytes(request.specialization);
  FLASHCORE_TRY_ASSIGN(const CudaFunction function, driver_.module_function(module, entry_point));
  FLASHCORE_TRY_ASSIGN(const KernelAttributes attributes, driver_.function_attributes(function));
  const int64_t limit = shared_bytes_optin_ - attributes.static_shared_bytes;
  if (dynamic_bytes > limit)
    return Error{FLASHCORE_UNSUPPORTED, request.module + " needs " + std::to_string(dynamic_bytes) +
                                            " bytes of dynamic shared memory per block; the device allows " +
                                            std::to_string(limit)};
  // 48 KB need no opt-in; asking once per function and device keeps every launch free of it.
  if (dynamic_bytes > 48 * 1024 - attributes.static_shared_bytes)
    FLASHCORE_TRY(driver_.set_max_dynamic_shared_bytes(function, static_cast<int32_t>(dynamic_bytes)));
  return function;
}

Result<ModuleLoader::Loaded> ModuleLoader::load_image(const ModuleRequest &request, const Bytes &cubin) {
  const kernels::Passport &passport = *kernel_table()[static_cast<size_t>(request.kernel_index)].passport;
  FLASHCORE_TRY_ASSIGN(const CudaModule image, driver_.module_load(cubin.data()));
  ModuleHold module(driver_, image);
  Loaded loaded;
  for (int32_t i = 0; passport.entry_point(i) != nullptr; ++i) {
    FLASHCORE_TRY_ASSIGN(loaded.functions[static_cast<size_t>(i)],
                         prepare_function(request, module.get(), passport.entry_point(i)));
  }
  loaded.module = module.release();
  return loaded;
}

}  // namespace flashcore
