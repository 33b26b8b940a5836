// SPDX-License-Identifier: Apache-2.0
//
// ModuleLoader: a selection -> a function that can be launched: loaded in this context already, else what the module source has, given to
// the driver. One load per module however many threads ask; a failure, and be it of memory, is told to everyone who waited and then
// forgotten. The dynamic shared-memory opt-in is set here, once per function.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>

#include "base/error.hpp"
#include "driver/cuda_driver.hpp"
#include "plan/select_kernel.hpp"
#include "runtime/module_source.hpp"
#include "runtime/settings.hpp"

namespace flashcore {

// Of a module's entry points, by their index in the passport; nullptr where it has no such one.
using ModuleFunctions = std::array<CudaFunction, kernels::most_stages>;

class ModuleLoader {
 public:
  ModuleLoader(const Settings &settings, const CudaDriver &driver, int32_t arch, int32_t shared_bytes_optin);
  ~ModuleLoader();  // unloads; the context must be current

  // The functions if they are loaded; no driver call.
  std::optional<ModuleFunctions> find(const Selection &selection);
  // The functions, loading or compiling them now. The CUDA context must be current. `variant`: the selection's, or null.
  Result<ModuleFunctions> load(const Selection &selection, const std::shared_ptr<const Variant> &variant = {});

  const ModuleSource &source() const { return source_; }
  int64_t found_loaded() const { return found_loaded_.load(std::memory_order_relaxed); }  // by load()

 private:
  struct Slot;    // one module: being loaded, loaded or failed
  class Loading;  // the duty of the thread that loads it
  using SlotKey = std::tuple<int32_t, uint64_t, std::array<int32_t, sizeof(kernels::Specialization) / sizeof(int32_t)>>;
  struct Loaded {
    CudaModule module = nullptr;
    ModuleFunctions functions{};
  };
  static SlotKey slot_key(const Selection &selection);
  Result<Loaded> load_now(const Selection &selection, const std::shared_ptr<const Variant> &variant);
  Result<Loaded> load_image(const ModuleRequest &request, const Bytes &cubin);
  Result<CudaFunction> prepare_function(const ModuleRequest &request, CudaModule module, const char *entry_point);

  const Settings &settings_;
  const CudaDriver &driver_;
  const int32_t arch_, shared_bytes_optin_;
  ModuleSource source_;
  std::atomic<int64_t> found_loaded_{0};
  std::mutex mutex_;
  std::condition_variable loaded_;
  std::map<SlotKey, std::shared_ptr<Slot>> slots_;
};

}  // namespace flashcore
