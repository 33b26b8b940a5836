// SPDX-License-Identifier: Apache-2.0
//
// The driver's calls under plain signatures. Nothing here remembers anything: state belongs to the contexts above.
#include "driver/cuda_driver.hpp"

#include <iterator>

#include "driver/cuda_error.hpp"
#include "driver/cuda_function_table.hpp"

namespace flashcore {
namespace {

CUdeviceptr device_pointer(uint64_t address) { return static_cast<CUdeviceptr>(address); }

Status check(const CudaFunctionTable &functions, CUresult result, const char *call,
             CudaStage stage = CudaStage::working) {
  if (result == CUDA_SUCCESS) return success();
  return cuda_error(&functions, result, call, stage);
}

// For calls on ordinals: the driver's INVALID_DEVICE is then the caller's argument.
Status check_ordinal(const CudaFunctionTable &functions, CUresult result, const char *call, int32_t ordinal) {
  if (result != CUDA_ERROR_INVALID_DEVICE) return check(functions, result, call, CudaStage::opening);
  int count = 0;
  const bool counted = functions.device_get_count(&count) == CUDA_SUCCESS;
  return Error{FLASHCORE_INVALID_ARGUMENT,
               "CUDA device " + std::to_string(ordinal) + " does not exist; " +
                   (counted ? "the driver shows " + std::to_string(count) + " device(s), counted from 0"
                            : "ordinals count from 0") +
                   ". CUDA_VISIBLE_DEVICES may hide some.",
               "device_ordinal", CUDA_ERROR_INVALID_DEVICE};
}

Status read_attribute(const CudaFunctionTable &functions, CUdevice device, CUdevice_attribute attribute,
                      int32_t &value) {
  return check(functions, functions.device_get_attribute(&value, attribute, device), "cuDeviceGetAttribute",
               CudaStage::opening);
}

Status read_attribute(const CudaFunctionTable &functions, CUfunction function, CUfunction_attribute attribute,
                      int32_t &value) {
  return check(functions, functions.function_get_attribute(&value, attribute, function), "cuFuncGetAttribute");
}

// What the driver knows of an address. The plural call is the one that does not fail for memory it has never seen: such
// memory has no type.
struct PointerOwner {
  CUmemorytype type{};  // 0: unknown to the driver
  int32_t ordinal = -1;
};

Result<PointerOwner> pointer_owner(const CudaFunctionTable &functions, CUdeviceptr address) {
  PointerOwner owner;
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void *values[] = {&owner.type, &owner.ordinal};
  FLASHCORE_TRY(
      check(functions, functions.pointer_get_attributes(2, attributes, values, address), "cuPointerGetAttributes"));
  return owner;
}

Result<bool> is_page_locked(const CudaFunctionTable &functions, const void *memory) {
  FLASHCORE_TRY_ASSIGN(const PointerOwner owner,
                       pointer_owner(functions, static_cast<CUdeviceptr>(reinterpret_cast<uintptr_t>(memory))));
  return owner.type == CU_MEMORYTYPE_HOST;
}

CUlaunchConfig launch_config(const LaunchShape &shape, CudaStream stream, CUlaunchAttribute (&attributes)[2]) {
  CUlaunchConfig config{};
  config.gridDimX = shape.grid[0], config.gridDimY = shape.grid[1], config.gridDimZ = shape.grid[2];
  config.blockDimX = shape.threads, config.blockDimY = config.blockDimZ = 1;
  config.sharedMemBytes = shape.dynamic_shared_bytes;
  config.hStream = stream;
  config.attrs = attributes;
  if (shape.cluster != 0) {
    CUlaunchAttribute &attribute = attributes[config.numAttrs++] = {};
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = shape.cluster, attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
  }
  if (shape.programmatic_dependent != 0) {
    CUlaunchAttribute &attribute = attributes[config.numAttrs++] = {};
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  return config;
}

}  // namespace

const std::string &CudaDriver::path() const { return path_; }
int32_t CudaDriver::version() const { return version_; }

Result<int32_t> CudaDriver::device_count() const {
  int count = 0;
  FLASHCORE_TRY(check(*functions_, functions_->device_get_count(&count), "cuDeviceGetCount", CudaStage::opening));
  return count;
}

Result<CudaDeviceProperties> CudaDriver::device_properties(int32_t ordinal) const {
  CudaDeviceProperties properties;
  properties.ordinal = ordinal;
  CUdevice device{};
  FLASHCORE_TRY(check_ordinal(*functions_, functions_->device_get(&device, ordinal), "cuDeviceGet", ordinal));
  int32_t major = 0, minor = 0;
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, major));
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, minor));
  properties.arch = major * 10 + minor;
  FLASHCORE_TRY(
      read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, properties.multiprocessors));
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
                               properties.shared_bytes_per_block_optin));
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR,
                               properties.shared_bytes_per_multiprocessor));
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, properties.l2_cache_bytes));
  int32_t memory_pools = 0;
  FLASHCORE_TRY(read_attribute(*functions_, device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, memory_pools));
  properties.memory_pools = memory_pools != 0;
  size_t memory_bytes = 0;
  FLASHCORE_TRY(check(*functions_, functions_->device_total_memory(&memory_bytes, device), "cuDeviceTotalMem",
                      CudaStage::opening));
  properties.memory_bytes = static_cast<int64_t>(memory_bytes);
  char name[256] = {};
  FLASHCORE_TRY(check(*functions_, functions_->device_get_name(name, sizeof(name) - 1, device), "cuDeviceGetName",
                      CudaStage::opening));
  properties.name = name;
  return properties;
}

Result<CudaDriver::PrimaryContext> CudaDriver::retain_primary_context(int32_t ordinal) const {
  CUdevice device{};
  FLASHCORE_TRY(check_ordinal(*functions_, functions_->device_get(&device, ordinal), "cuDeviceGet", ordinal));
  PrimaryContext primary;
  primary.device = device;
  FLASHCORE_TRY(check(*functions_, functions_->primary_context_retain(&primary.context, device),
                      "cuDevicePrimaryCtxRetain", CudaStage::opening));
  return primary;
}

void CudaDriver::release_primary_context(const PrimaryContext &primary) const {
  if (!forked()) functions_->primary_context_release(primary.device);
}

Result<bool> CudaDriver::push_context(CudaContext context) const {
  CUcontext current = nullptr;
  FLASHCORE_TRY(check(*functions_, functions_->context_get_current(&current), "cuCtxGetCurrent"));
  if (current == context) return false;
  FLASHCORE_TRY(check(*functions_, functions_->context_push(context), "cuCtxPushCurrent"));
  return true;
}

void CudaDriver::pop_context() const {
  CUcontext popped = nullptr;
  if (!forked()) functions_->context_pop(&popped);
}

Status CudaDriver::context_synchronize() const {
  return check(*functions_, functions_->context_synchronize(), "cuCtxSynchronize");
}

Result<CudaModule> CudaDriver::module_load(const void *cubin) const {
  CUmodule module = nullptr;
  FLASHCORE_TRY(check(*functions_, functions_->module_load_data(&module, cubin), "cuModuleLoadData"));
  return module;
}

void CudaDriver::module_unload(CudaModule module) const {
  if (module != nullptr && !forked()) functions_->module_unload(module);
}

Result<CudaFunction> CudaDriver::module_function(CudaModule module, const char *name) const {
  CUfunction function = nullptr;
  FLASHCORE_TRY(check(*functions_, functions_->module_get_function(&function, module, name), "cuModuleGetFunction"));
  return function;
}

Result<KernelAttributes> CudaDriver::function_attributes(CudaFunction function) const {
  KernelAttributes attributes;
  FLASHCORE_TRY(read_attribute(*functions_, function, CU_FUNC_ATTRIBUTE_NUM_REGS, attributes.registers));
  FLASHCORE_TRY(
      read_attribute(*functions_, function, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, attributes.static_shared_bytes));
  FLASHCORE_TRY(read_attribute(*functions_, function, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, attributes.local_bytes));
  FLASHCORE_TRY(
      read_attribute(*functions_, function, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, attributes.max_threads_per_block));
  FLASHCORE_TRY(read_attribute(*functions_, function, CU_FUNC_ATTRIBUTE_BINARY_VERSION, attributes.binary_arch));
  return attributes;
}

Status CudaDriver::set_max_dynamic_shared_bytes(CudaFunction function, int32_t bytes) const {
  return check(*functions_,
               functions_->function_set_attribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes),
               "cuFuncSetAttribute");
}

Status CudaDriver::encode_tensor_map(const TensorMapLayout &layout, uint64_t address, void *map) const {
  static constexpr uint32_t every_element[4] = {1, 1, 1, 1};
  return check(*functions_,
               functions_->tensor_map_encode_tiled(
                   static_cast<CUtensorMap *>(map),
                   layout.bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
                   reinterpret_cast<void *>(address), layout.sizes, layout.strides_bytes, layout.box, every_element,
                   CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                   CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
               "cuTensorMapEncodeTiled");
}

Status CudaDriver::launch(CudaFunction function, const LaunchShape &shape, CudaStream stream,
                          const void *params) const {
  void *arguments[] = {const_cast<void *>(params)};  // the driver copies from it and writes nothing
  if (shape.is_plain())
    return check(*functions_,
                 functions_->launch_kernel(function, shape.grid[0], shape.grid[1], shape.grid[2], shape.threads, 1, 1,
                                           shape.dynamic_shared_bytes, stream, arguments, nullptr),
                 "cuLaunchKernel");
  CUlaunchAttribute attributes[2];
  const CUlaunchConfig config = launch_config(shape, stream, attributes);
  return check(*functions_, functions_->launch_kernel_ex(&config, function, arguments, nullptr), "cuLaunchKernelEx");
}

Result<bool> CudaDriver::stream_is_capturing(CudaStream stream) const {
  CUstreamCaptureStatus status{};
  FLASHCORE_TRY(check(*functions_, functions_->stream_is_capturing(stream, &status), "cuStreamIsCapturing"));
  return status != CU_STREAM_CAPTURE_STATUS_NONE;
}

Result<StreamIdentity> CudaDriver::stream_identity(CudaStream stream) const {
  if (stream == CU_STREAM_LEGACY) return StreamIdentity{};
  StreamIdentity identity{stream, 0};
  if (stream != CU_STREAM_PER_THREAD) return identity;
  unsigned long long id = 0;
  FLASHCORE_TRY(check(*functions_, functions_->stream_get_id(stream, &id), "cuStreamGetId"));
  identity.id = id;
  return identity;
}

Result<uint64_t> CudaDriver::memory_alloc(int64_t bytes) const {
  if (bytes == 0) return uint64_t{0};
  CUdeviceptr address = 0;
  FLASHCORE_TRY(check(*functions_, functions_->memory_alloc(&address, static_cast<size_t>(bytes)), "cuMemAlloc"));
  return static_cast<uint64_t>(address);  // the driver aligns to 256 bytes
}

Result<uint64_t> CudaDriver::memory_alloc_in_capture(int64_t bytes) const {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  const auto exchange = [&] {
    return check(*functions_, functions_->thread_exchange_capture_mode(&mode), "cuThreadExchangeStreamCaptureMode");
  };
  FLASHCORE_TRY(exchange());
  Result<uint64_t> address = memory_alloc(bytes);
  Status restored = exchange();
  if (restored.ok() || !address.ok()) return address;
  static_cast<void>(memory_free(address.value()));
  return std::move(restored).error();
}

Status CudaDriver::memory_free(uint64_t address) const {
  if (address == 0) return success();
  return check(*functions_, functions_->memory_free(device_pointer(address)), "cuMemFree");
}

Result<uint64_t> CudaDriver::memory_alloc_async(int64_t bytes, CudaStream stream) const {
  CUdeviceptr address = 0;
  FLASHCORE_TRY(check(*functions_, functions_->memory_alloc_async(&address, static_cast<size_t>(bytes), stream),
                      "cuMemAllocAsync"));
  return static_cast<uint64_t>(address);
}

Status CudaDriver::memory_free_async(uint64_t address, CudaStream stream) const {
  return check(*functions_, functions_->memory_free_async(device_pointer(address), stream), "cuMemFreeAsync");
}

Result<void *> CudaDriver::host_alloc(int64_t bytes) const {
  void *memory = nullptr;
  if (bytes == 0) return memory;
  FLASHCORE_TRY(check(*functions_,
                      functions_->host_alloc(&memory, static_cast<size_t>(bytes), CU_MEMHOSTALLOC_PORTABLE),
                      "cuMemHostAlloc"));
  return memory;
}

Status CudaDriver::host_free(void *memory) const {
  if (memory == nullptr) return success();
  return check(*functions_, functions_->host_free(memory), "cuMemFreeHost");
}

// The asynchronous copies may return before pageable memory has been read or written; the promise is that they do not.
Status CudaDriver::copy_to_device(uint64_t destination, const void *source, int64_t bytes, CudaStream stream) const {
  if (bytes == 0) return success();
  FLASHCORE_TRY_ASSIGN(const bool page_locked, is_page_locked(*functions_, source));
  FLASHCORE_TRY(
      check(*functions_,
            functions_->copy_to_device_async(device_pointer(destination), source, static_cast<size_t>(bytes), stream),
            "cuMemcpyHtoDAsync"));
  return page_locked ? success() : stream_synchronize(stream);
}

Status CudaDriver::copy_to_host(void *destination, uint64_t source, int64_t bytes, CudaStream stream) const {
  if (bytes == 0) return success();
  FLASHCORE_TRY_ASSIGN(const bool page_locked, is_page_locked(*functions_, destination));
  FLASHCORE_TRY(
      check(*functions_,
            functions_->copy_to_host_async(destination, device_pointer(source), static_cast<size_t>(bytes), stream),
            "cuMemcpyDtoHAsync"));
  return page_locked ? success() : stream_synchronize(stream);
}

Status CudaDriver::copy_on_device(uint64_t destination, uint64_t source, int64_t bytes, CudaStream stream) const {
  if (bytes == 0) return success();
  return check(*functions_,
               functions_->copy_on_device_async(device_pointer(destination), device_pointer(source),
                                                static_cast<size_t>(bytes), stream),
               "cuMemcpyDtoDAsync");
}

Status CudaDriver::memory_fill(uint64_t address, uint8_t value, int64_t bytes, CudaStream stream) const {
  if (bytes == 0) return success();
  return check(*functions_,
               functions_->memory_set_async(device_pointer(address), value, static_cast<size_t>(bytes), stream),
               "cuMemsetD8Async");
}

Result<int32_t> CudaDriver::pointer_device(uint64_t address) const {
  FLASHCORE_TRY_ASSIGN(const PointerOwner owner, pointer_owner(*functions_, device_pointer(address)));
  return owner.type == CUmemorytype{} ? -1 : owner.ordinal;
}

Result<PointerInfo> CudaDriver::pointer_info(uint64_t address) const {
  CUmemorytype type{};
  unsigned int managed = 0;  // the driver writes a byte or a word
  int ordinal = -1;
  CUdeviceptr device_address = 0, begin = 0;
  size_t bytes = 0;
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE,      CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                      CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,   CU_POINTER_ATTRIBUTE_DEVICE_POINTER,
                                      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *values[] = {&type, &managed, &ordinal, &device_address, &begin, &bytes};
  static_assert(std::size(attributes) == std::size(values));
  FLASHCORE_TRY(
      check(*functions_,
            functions_->pointer_get_attributes(std::size(attributes), attributes, values, device_pointer(address)),
            "cuPointerGetAttributes"));
  PointerInfo info;
  if (type == CUmemorytype{}) return info;
  info.kind = managed != 0                 ? PointerInfo::managed
              : type == CU_MEMORYTYPE_HOST ? PointerInfo::page_locked_host
                                           : PointerInfo::device;
  info.ordinal = ordinal;
  info.device_address = device_address;
  info.allocation = begin;
  info.allocation_bytes = bytes;
  return info;
}

Result<CudaStream> CudaDriver::stream_create() const {
  CUstream stream = nullptr;
  FLASHCORE_TRY(check(*functions_, functions_->stream_create(&stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate"));
  return stream;
}

Status CudaDriver::stream_destroy(CudaStream stream) const {
  if (stream == nullptr) return success();
  return check(*functions_, functions_->stream_destroy(stream), "cuStreamDestroy");
}

Status CudaDriver::stream_synchronize(CudaStream stream) const {
  return check(*functions_, functions_->stream_synchronize(stream), "cuStreamSynchronize");
}

Result<CudaEvent> CudaDriver::event_create() const {
  CUevent event = nullptr;
  FLASHCORE_TRY(check(*functions_, functions_->event_create(&event, CU_EVENT_DEFAULT), "cuEventCreate"));
  return event;
}

Status CudaDriver::event_destroy(CudaEvent event) const {
  if (event == nullptr) return success();
  return check(*functions_, functions_->event_destroy(event), "cuEventDestroy");
}

Status CudaDriver::event_record(CudaEvent event, CudaStream stream) const {
  return check(*functions_, functions_->event_record(event, stream), "cuEventRecord");
}

Status CudaDriver::event_synchronize(CudaEvent event) const {
  return check(*functions_, functions_->event_synchronize(event), "cuEventSynchronize");
}

Result<double> CudaDriver::event_elapsed_us(CudaEvent start, CudaEvent end) const {
  float milliseconds = 0;
  FLASHCORE_TRY(check(*functions_, functions_->event_elapsed_time(&milliseconds, start, end), "cuEventElapsedTime"));
  return static_cast<double>(milliseconds) * 1000.0;
}

}  // namespace flashcore
