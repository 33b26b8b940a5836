// SPDX-License-Identifier: Apache-2.0
//
// The CUDA driver, found at run time. One list of functions (cuda_functions.inc: name and version) is resolved once
// into one table; the wrappers below give each call a plain signature and turn a CUresult into a sentence with a next
// step. Loading this library touches nothing; the first CudaDriver::load() does.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.hpp"
#include "driver/fork_guard.hpp"
#include "driver/handles.hpp"

namespace flashcore {

struct CudaDeviceProperties {
  int32_t ordinal = 0;
  int32_t arch = 0;  // 89
  int32_t multiprocessors = 0;
  int32_t shared_bytes_per_block_optin = 0;
  int32_t shared_bytes_per_multiprocessor = 0;
  int32_t l2_cache_bytes = 0;
  int64_t memory_bytes = 0;
  bool memory_pools = false;  // memory_alloc_async
  std::string name;
};

struct KernelAttributes {  // cuFuncGetAttribute
  int32_t registers = 0;
  int32_t static_shared_bytes = 0;
  int32_t local_bytes = 0;
  int32_t max_threads_per_block = 0;
  int32_t binary_arch = 0;  // 89
};

// What the driver knows of an address, seen from the current context.
struct PointerInfo {
  enum Kind { unknown, device, page_locked_host, managed };
  Kind kind = unknown;                            // unknown: memory that CUDA did not allocate, or that was freed
  int32_t ordinal = -1;                           // of the device that owns it
  uint64_t device_address = 0;                    // where kernels of the current context reach it; 0: they do not
  uint64_t allocation = 0, allocation_bytes = 0;  // what it lies in; of virtual memory the reserved range; 0: not known
};

struct LaunchShape {
  uint32_t grid[3];
  uint32_t threads;
  uint32_t dynamic_shared_bytes;
  uint32_t cluster = 0;                 // thread blocks of a cluster, along x; 0: the launch says nothing of it
  uint32_t programmatic_dependent = 0;  // 1: it may begin before the launch ahead of it on the stream has ended

  bool is_plain() const { return (cluster | programmatic_dependent) == 0; }
};

// A tensor of 16-bit elements as the copy engine goes through it: column, row, head, batch entry; or column, head, row, batch entry.
struct TensorMapLayout {
  bool bfloat16;
  uint64_t sizes[4];          // elements
  uint64_t strides_bytes[3];  // of all but columns: multiples of 16
  uint32_t box[4];            // what one copy takes; 64 columns
};

// What tells one stream from another, whatever names it has.
struct StreamIdentity {
  CudaStream handle = nullptr;
  uint64_t id = 0;  // of the thread's own stream among those that share CU_STREAM_PER_THREAD
  auto operator<=>(const StreamIdentity &) const = default;
};

class CudaDriver {
 public:
  // The driver, loaded and initialised (cuInit) on the first call of the process; `path` (may be empty) is the only
  // candidate when given. A failure is not remembered, so that a driver that appears later is found. NO_DRIVER,
  // DRIVER_TOO_OLD, NO_DEVICE, DEVICE_NOT_READY, CUDA_ERROR, FORKED. The object lives until the process ends.
  static Result<const CudaDriver *> load(const std::string &path);
  // Where the library was found, for people; empty before load().
  const std::string &path() const;
  int32_t version() const;  // 13000

  // True in a child of the process that called cuInit. A read of one word: the page is wiped at fork (MADV_WIPEONFORK).
  static bool forked() { return fork_guard::forked(); }

  Result<int32_t> device_count() const;
  Result<CudaDeviceProperties> device_properties(int32_t ordinal) const;

  // The device's primary context, which CUDA's runtime and everything built on it works in. Whatever else is current when the
  // device is opened, one of cuCtxCreate or a green one, belongs to somebody whose streams are not those of the callers to come.
  struct PrimaryContext {
    CudaContext context = nullptr;
    int32_t device = 0;  // the driver's handle of the ordinal, so that the release has nothing to ask for
  };
  Result<PrimaryContext> retain_primary_context(int32_t ordinal) const;
  void release_primary_context(const PrimaryContext &primary) const;
  // Make `context` current unless it is; pop() undoes exactly that.
  Result<bool> push_context(CudaContext context) const;  // value: was pushed
  void pop_context() const;
  Status context_synchronize() const;  // of the current one, all streams

  Result<CudaModule> module_load(const void *cubin) const;  // cuModuleLoadData
  void module_unload(CudaModule module) const;
  Result<CudaFunction> module_function(CudaModule module, const char *name) const;
  Result<KernelAttributes> function_attributes(CudaFunction function) const;
  Status set_max_dynamic_shared_bytes(CudaFunction function, int32_t bytes) const;

  // Host arithmetic: nothing of a context is asked for. `map`: 128 bytes, at a multiple of 64.
  Status encode_tensor_map(const TensorMapLayout &layout, uint64_t address, void *map) const;

  // The warm path: one driver call, of cuLaunchKernel where the shape is plain. `params` is the kernel's single by-value parameter.
  Status launch(CudaFunction function, const LaunchShape &shape, CudaStream stream, const void *params) const;
  Result<bool> stream_is_capturing(CudaStream stream) const;
  Result<StreamIdentity> stream_identity(CudaStream stream) const;

  Result<uint64_t> memory_alloc(int64_t bytes) const;
  // While a stream is being captured: the thread allows itself for the time what might be unsafe there. Memory that nobody frees before the
  // graph is gone is not.
  Result<uint64_t> memory_alloc_in_capture(int64_t bytes) const;
  Status memory_free(uint64_t address) const;
  // Stream-ordered: another stream may use the memory once this one has come to the allocation. Not in a capture of the stream, which would
  // take them into its graph.
  Result<uint64_t> memory_alloc_async(int64_t bytes, CudaStream stream) const;
  Status memory_free_async(uint64_t address, CudaStream stream) const;
  Result<void *> host_alloc(int64_t bytes) const;
  Status host_free(void *memory) const;
  Status copy_to_device(uint64_t destination, const void *source, int64_t bytes, CudaStream stream) const;
  Status copy_to_host(void *destination, uint64_t source, int64_t bytes, CudaStream stream) const;
  Status copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, CudaStream stream) const;
  Status memory_fill(uint64_t address, uint8_t value, int64_t bytes, CudaStream stream) const;
  // Ordinal of the device that owns the address; -1 for memory the driver does not know (plain host memory).
  Result<int32_t> pointer_device(uint64_t address) const;
  // One call, which is no work on a stream and so does not disturb a capture.
  Result<PointerInfo> pointer_info(uint64_t address) const;

  Result<CudaStream> stream_create() const;
  Status stream_destroy(CudaStream stream) const;
  Status stream_synchronize(CudaStream stream) const;
  Result<CudaEvent> event_create() const;
  Status event_destroy(CudaEvent event) const;
  Status event_record(CudaEvent event, CudaStream stream) const;
  Status event_synchronize(CudaEvent event) const;
  Result<double> event_elapsed_us(CudaEvent start, CudaEvent end) const;

 private:
  CudaDriver() = default;
  struct Functions;
  const Functions *functions_ = nullptr;
  std::string path_;
  int32_t version_ = 0;
};

}  // namespace flashcore
