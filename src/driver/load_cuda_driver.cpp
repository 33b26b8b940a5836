// SPDX-License-Identifier: Apache-2.0
//
// From nothing to an initialised driver: find the library, check that it is a driver and new enough, resolve the list
// of functions, cuInit. What the functions are called for is cuda_driver.cpp's business.
#include <memory>

#include "driver/cuda_error.hpp"
#include "driver/cuda_function_table.hpp"
#include "driver/fork_guard.hpp"
#include "driver/shared_object.hpp"

namespace flashcore {
namespace {

constexpr int32_t minimum_version = 12000;  // cuGetProcAddress_v2, and cubins of every CUDA 12 toolkit

// The process's driver: CUDA itself is one per process, and every context shares it. Published once, never destroyed,
// so that nothing runs at exit. No lock guards it: racing loaders do the same work twice and the first one is kept,
// which leaves no lock that a fork could copy in its locked state.
constinit std::atomic<const CudaDriver *> process_driver{nullptr};

// The plain soname comes first and with ".1": under WSL the name without it is another library. Then WSL's and NixOS's
// folders.
constexpr const char *default_names[] = {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1",
                                         "/run/opengl-driver/lib/libcuda.so.1"};

// A path that was asked for is the only candidate: to go on to another library would hide the mistake.
Result<SharedObject> open_cuda_library(const std::string &path) {
  if (!path.empty()) {
    Result<SharedObject> library = SharedObject::open(path);
    if (library.ok()) return library;
    return Error{FLASHCORE_NO_DRIVER, "the CUDA driver library asked for could not be loaded (" +
                                          library.error().message + "). Correct or unset FLASHCORE_LIBCUDA."};
  }
  std::string reasons;
  for (const char *name : default_names) {
    Result<SharedObject> library = SharedObject::open(name);
    if (library.ok()) return library;
    reasons += (reasons.empty() ? "" : "; ") + library.error().message;
  }
  return Error{FLASHCORE_NO_DRIVER,
               "no CUDA driver library was found (" + reasons +
                   "). Install the NVIDIA driver (Debian: nvidia-driver with libcuda1; in a container: the "
                   "NVIDIA container toolkit, with the capability \"compute\"), or set FLASHCORE_LIBCUDA to its "
                   "path."};
}

Error at_library(const std::string &path, Error error) {
  error.message = path + ": " + error.message;
  return error;
}

Result<int32_t> driver_version(const SharedObject &library) {
  const auto get_version = reinterpret_cast<PFN_cuDriverGetVersion_v2020>(library.symbol("cuDriverGetVersion"));
  if (get_version == nullptr)
    return Error{FLASHCORE_NO_DRIVER, library.path() + " is no CUDA driver library: it has no cuDriverGetVersion."};
  int version = 0;
  const CUresult result = get_version(&version);
  if (result != CUDA_SUCCESS)
    return at_library(library.path(), cuda_error(nullptr, result, "cuDriverGetVersion", CudaStage::opening));
  if (version < minimum_version)
    return Error{FLASHCORE_DRIVER_TOO_OLD,
                 "the NVIDIA driver (" + library.path() + ") supports CUDA " + std::to_string(version / 1000) + "." +
                     std::to_string(version % 1000 / 10) + "; needed: 12.0 or newer, which is driver 525 or newer."};
  return version;
}

void *find_function(const SharedObject &library, PFN_cuGetProcAddress_v12000 get_proc_address, const char *name,
                    const char *symbol, int version) {
  void *function = nullptr;
  if (get_proc_address == nullptr) return library.symbol(symbol);
  CUdriverProcAddressQueryResult found{};
  const CUresult result = get_proc_address(name, &function, version, CU_GET_PROC_ADDRESS_DEFAULT, &found);
  return result == CUDA_SUCCESS && function != nullptr ? function : library.symbol(symbol);
}

Status resolve_functions(const SharedObject &library, CudaFunctionTable &table) {
  const auto get_proc_address = reinterpret_cast<PFN_cuGetProcAddress_v12000>(library.symbol("cuGetProcAddress_v2"));
  const char *missing = nullptr;
#define X(member, name, symbol, type, version)                                                            \
  table.member = reinterpret_cast<type>(find_function(library, get_proc_address, name, symbol, version)); \
  if (table.member == nullptr && missing == nullptr) missing = name;
#include "driver/cuda_functions.inc"
#undef X
  if (missing == nullptr) return success();
  return Error{FLASHCORE_NO_DRIVER, library.path() + " is no complete CUDA driver library: it has no " + missing + "."};
}

Status initialise(const CudaFunctionTable &table, const std::string &path) {
  fork_guard::arm();
  const CUresult result = table.init(0);
  if (result == CUDA_SUCCESS) return success();
  fork_guard::disarm();
  return at_library(path, cuda_error(&table, result, "cuInit", CudaStage::opening));
}

}  // namespace

Result<const CudaDriver *> CudaDriver::load(const std::string &path) {
  if (forked()) return forked_error();
  const CudaDriver *loaded = process_driver.load(std::memory_order_acquire);
  if (loaded != nullptr) return loaded;

  FLASHCORE_TRY_ASSIGN(SharedObject library, open_cuda_library(path));
  FLASHCORE_TRY_ASSIGN(const int32_t version, driver_version(library));
  auto functions = std::make_unique<Functions>();
  FLASHCORE_TRY(resolve_functions(library, *functions));
  std::unique_ptr<CudaDriver> driver(new CudaDriver);
  driver->functions_ = functions.get();
  driver->path_ = library.path();
  driver->version_ = version;
  library.keep();  // from cuInit on the driver may have threads: it is never closed again
  FLASHCORE_TRY(initialise(*functions, driver->path_));
  if (!process_driver.compare_exchange_strong(loaded, driver.get())) return loaded;
  functions.release();
  return driver.release();
}

}  // namespace flashcore
