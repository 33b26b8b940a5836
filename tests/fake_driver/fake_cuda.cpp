// SPDX-License-Identifier: Apache-2.0
//
// The stand-in libcuda.so.1, first part: start, devices, contexts, modules and launches. Launches are recorded and
// compute nothing.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "cubin_image.hpp"
#include "fake_functions.hpp"
#include "tensor_map_image.hpp"

using fake::code_of;
using fake::Context;
using fake::context_stack;
using fake::enter;
using fake::enter_in_context;
using fake::enter_outside_capture;
using fake::Function;
using fake::known_stream;
using fake::Lock;
using fake::Module;
using fake::option;
using fake::refuse;
using fake::state;
using fake::TensorMapImage;

namespace {

CUdevice_v1 device_count() { return static_cast<CUdevice_v1>(option("devices")); }
CUcontext handle(Context *context) { return reinterpret_cast<CUcontext>(context); }
Context *context_of(CUcontext context) { return reinterpret_cast<Context *>(context); }

}  // namespace

namespace fake {

CUresult enter(const char *name) {
  const int32_t injected = state().plan.enter(name);
  if (injected != 0) return code_of(injected);
  if (option("stub") != 0) return CUDA_ERROR_STUB_LIBRARY;
  return state().life == State::initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

CUresult enter_in_context(const char *name) {
  const CUresult result = enter(name);
  if (result != CUDA_SUCCESS) return result;
  if (!context_stack().empty() && context_stack().back() != nullptr) return CUDA_SUCCESS;
  note_misuse(std::string(name) + " without a current context");
  return CUDA_ERROR_INVALID_CONTEXT;
}

CUresult enter_outside_capture(const char *name) {
  const CUresult result = enter_in_context(name);
  if (result != CUDA_SUCCESS || !any_capture() || capture_mode() == CU_STREAM_CAPTURE_MODE_RELAXED) return result;
  note_misuse(std::string(name) + " during a capture");
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

}  // namespace fake

CUresult fake_driver_get_version(int *version) {
  const Lock lock(state().mutex);
  const int32_t injected = state().plan.enter("cuDriverGetVersion");
  if (injected != 0) return code_of(injected);
  if (option("stub") != 0) return CUDA_ERROR_STUB_LIBRARY;
  *version = static_cast<int>(option("version"));
  return CUDA_SUCCESS;
}

CUresult fake_get_proc_address(const char *symbol, void **function, int version, cuuint64_t,
                               CUdriverProcAddressQueryResult *found) {
  struct Row {
    const char *name;
    int version;
    void *function;
  };
  static const Row rows[] = {
#define X(member, name, symbol, type, version) {name, version, reinterpret_cast<void *>(&fake_##member)},
#include "driver/cuda_functions.inc"
#undef X
  };
  *function = nullptr;
  for (const Row &row : rows) {
    if (std::strcmp(row.name, symbol) != 0) continue;
    if (version > option("version")) return CUDA_ERROR_INVALID_VALUE;
    if (version != row.version) break;
    *function = row.function;
  }
  if (found != nullptr)
    *found = *function != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  return *function != nullptr ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult fake_init(unsigned int) {
  const Lock lock(state().mutex);
  const int32_t injected = state().plan.enter("cuInit");
  if (injected != 0) return code_of(injected);
  if (option("stub") != 0) return CUDA_ERROR_STUB_LIBRARY;
  usleep(static_cast<useconds_t>(option("init_ms") * 1000));
  if (option("init") != 0) return code_of(option("init"));
  if (state().life == fake::State::inherited) return CUDA_ERROR_NOT_INITIALIZED;
  if (device_count() == 0) return CUDA_ERROR_NO_DEVICE;
  state().life = fake::State::initialised;
  return CUDA_SUCCESS;
}

CUresult fake_get_error_name(CUresult error, const char **name) {
  const Lock lock(state().mutex);
  const int32_t injected = state().plan.enter("cuGetErrorName");
  if (injected != 0) return code_of(injected);
  switch (static_cast<int>(error)) {
    case 0:
      *name = "CUDA_SUCCESS";
      break;
    case 1:
      *name = "CUDA_ERROR_INVALID_VALUE";
      break;
    case 2:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      break;
    case 100:
      *name = "CUDA_ERROR_NO_DEVICE";
      break;
    case 209:
      *name = "CUDA_ERROR_NO_BINARY_FOR_GPU";
      break;
    case 700:
      *name = "CUDA_ERROR_ILLEGAL_ADDRESS";
      break;
    case 802:
      *name = "CUDA_ERROR_SYSTEM_NOT_READY";
      break;
    default:
      *name = nullptr;
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}

// ---- devices

CUresult fake_device_get_count(int *count) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceGetCount");
  if (result == CUDA_SUCCESS) *count = device_count();
  return result;
}

CUresult fake_device_get(CUdevice_v1 *device, int ordinal) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceGet");
  if (result != CUDA_SUCCESS) return result;
  if (ordinal < 0 || ordinal >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult fake_device_get_name(char *name, int length, CUdevice_v1 device) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceGetName");
  if (result == CUDA_SUCCESS) std::snprintf(name, static_cast<size_t>(length), "Stand-in GPU %d", device);
  return result;
}

CUresult fake_device_total_memory(size_t *bytes, CUdevice_v1) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceTotalMem");
  if (result == CUDA_SUCCESS) *bytes = static_cast<size_t>(option("memory"));
  return result;
}

CUresult fake_device_get_attribute(int *value, CUdevice_attribute attribute, CUdevice_v1) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceGetAttribute");
  if (result != CUDA_SUCCESS) return result;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = static_cast<int>(option("arch") / 10);
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = static_cast<int>(option("arch") % 10);
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = static_cast<int>(option("sms"));
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = static_cast<int>(option("optin"));
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      *value = static_cast<int>(option("shared_sm"));
      break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      *value = 50 << 20;
      break;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
      *value = static_cast<int>(option("pools"));
      break;
    default:
      return refuse(CUDA_ERROR_INVALID_VALUE, "device attribute " + std::to_string(attribute));
  }
  return CUDA_SUCCESS;
}

// ---- contexts

CUresult fake_primary_context_retain(CUcontext *context, CUdevice_v1 device) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDevicePrimaryCtxRetain");
  if (result != CUDA_SUCCESS) return result;
  Context *primary = fake::primary_of(device);
  ++primary->retains;
  *context = handle(primary);
  return CUDA_SUCCESS;
}

CUresult fake_primary_context_release(CUdevice_v1 device) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDevicePrimaryCtxRelease");
  const auto found = state().primaries.find(device);
  if (found == state().primaries.end() || found->second->retains == 0)
    return refuse(CUDA_ERROR_INVALID_CONTEXT, "primary context released more often than retained");
  --found->second->retains;
  return result;
}

CUresult fake_context_get_current(CUcontext *context) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuCtxGetCurrent");
  if (result == CUDA_SUCCESS) *context = context_stack().empty() ? nullptr : handle(context_stack().back());
  return result;
}

CUresult fake_context_push(CUcontext context) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuCtxPushCurrent");
  if (result != CUDA_SUCCESS) return result;
  if (context_of(context)->primary && context_of(context)->retains == 0)
    return refuse(CUDA_ERROR_CONTEXT_IS_DESTROYED, "push of a released primary context");
  context_stack().push_back(context_of(context));
  return CUDA_SUCCESS;
}

CUresult fake_context_pop(CUcontext *context) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuCtxPopCurrent");
  if (context_stack().empty()) return refuse(CUDA_ERROR_INVALID_CONTEXT, "pop of an empty context stack");
  *context = handle(context_stack().back());
  context_stack().pop_back();
  return result;
}

// Everything has happened already; a capture on any stream forbids it, as cuStreamBeginCapture documents.
CUresult fake_context_synchronize() {
  const Lock lock(state().mutex);
  return enter_outside_capture("cuCtxSynchronize");
}

// ---- modules and functions

CUresult fake_module_load_data(CUmodule *module, const void *image) {
  const Lock lock(state().mutex);
  const CUresult result = enter_outside_capture("cuModuleLoadData");
  if (result != CUDA_SUCCESS) return result;
  const fake::CubinImage cubin = fake::read_cubin_image(image);
  if (!cubin.valid) return CUDA_ERROR_INVALID_IMAGE;
  const int device_arch = static_cast<int>(option("arch"));
  if (cubin.arch / 10 != device_arch / 10 || cubin.arch > device_arch) return CUDA_ERROR_NO_BINARY_FOR_GPU;
  auto *loaded = new Module{context_stack().back(), cubin.arch, cubin.kernels};
  state().modules.insert(loaded);
  *module = reinterpret_cast<CUmodule>(loaded);
  return CUDA_SUCCESS;
}

CUresult fake_module_unload(CUmodule module) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuModuleUnload");
  auto *loaded = reinterpret_cast<Module *>(module);
  if (state().modules.erase(loaded) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "unload of an unknown module");
  for (auto function = state().functions.begin(); function != state().functions.end();)
    if (function->first->module == loaded) {
      delete function->first;
      function = state().functions.erase(function);
    } else {
      ++function;
    }
  delete loaded;
  return result;
}

CUresult fake_module_get_function(CUfunction *function, CUmodule module, const char *name) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuModuleGetFunction");
  if (result != CUDA_SUCCESS) return result;
  auto *loaded = reinterpret_cast<Module *>(module);
  if (state().modules.count(loaded) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "function of an unknown module");
  if (loaded->kernels.count(name) == 0) return CUDA_ERROR_NOT_FOUND;
  constexpr int default_shared_bytes = 48 * 1024;
  auto *found = new Function{loaded, name, default_shared_bytes - static_cast<int>(option("static_shared"))};
  state().functions[found] = 1;
  *function = reinterpret_cast<CUfunction>(found);
  return CUDA_SUCCESS;
}

CUresult fake_tensor_map_encode_tiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank, void *address,
                                      const cuuint64_t *sizes, const cuuint64_t *strides_bytes, const cuuint32_t *box,
                                      const cuuint32_t *element_strides, CUtensorMapInterleave interleave,
                                      CUtensorMapSwizzle swizzle, CUtensorMapL2promotion promotion,
                                      CUtensorMapFloatOOBfill fill) {
  const CUresult result = enter("cuTensorMapEncodeTiled");
  if (result != CUDA_SUCCESS) return result;
  const auto at = reinterpret_cast<uintptr_t>(address);
  if (reinterpret_cast<uintptr_t>(map) % 64 != 0 || at == 0 || at % 16 != 0 || rank < 3 || rank > 5)
    return refuse(CUDA_ERROR_INVALID_VALUE, "a tensor map of a misplaced tensor, or in a misplaced struct");
  TensorMapImage image{};
  for (cuuint32_t i = 0; i < rank; ++i) {
    if (sizes[i] == 0 || sizes[i] > uint64_t{1} << 32 || box[i] == 0 || box[i] > 256 || element_strides[i] == 0 ||
        element_strides[i] > 8 || (i > 0 && (strides_bytes[i - 1] % 16 != 0 || strides_bytes[i - 1] >> 40 != 0)))
      return refuse(CUDA_ERROR_INVALID_VALUE, "a tensor map with dimension " + std::to_string(i) + " out of its range");
    image.sizes[i] = sizes[i], image.box[i] = box[i], image.element_strides[i] = element_strides[i];
    if (i > 0) image.strides_bytes[i - 1] = strides_bytes[i - 1];
  }
  constexpr cuuint32_t element_bytes = 2;  // of the types that the library has
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B && (box[0] * element_bytes > 128 || box[0] * element_bytes % 16 != 0))
    return refuse(CUDA_ERROR_INVALID_VALUE, "a tensor map whose box is wider than its permutation");
  image.address = at, image.mark = TensorMapImage::is_one;
  image.type = static_cast<uint8_t>(type), image.rank = static_cast<uint8_t>(rank);
  image.interleave = static_cast<uint8_t>(interleave), image.swizzle = static_cast<uint8_t>(swizzle);
  image.promotion = static_cast<uint8_t>(promotion), image.fill = static_cast<uint8_t>(fill);
  std::memcpy(map, &image, sizeof(image));
  return CUDA_SUCCESS;
}

CUresult fake_function_get_attribute(int *value, CUfunction_attribute attribute, CUfunction function) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuFuncGetAttribute");
  if (result != CUDA_SUCCESS) return result;
  auto *known = reinterpret_cast<Function *>(function);
  if (state().functions.count(known) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "attribute of an unknown function");
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = 64;
      break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
      *value = static_cast<int>(option("static_shared"));
      break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
      *value = 0;
      break;
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = 1024;
      break;
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = known->module->arch;
      break;
    default:
      return refuse(CUDA_ERROR_INVALID_VALUE, "function attribute " + std::to_string(attribute));
  }
  return CUDA_SUCCESS;
}

CUresult fake_function_set_attribute(CUfunction function, CUfunction_attribute attribute, int value) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuFuncSetAttribute");
  if (result != CUDA_SUCCESS) return result;
  auto *known = reinterpret_cast<Function *>(function);
  if (state().functions.count(known) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "attribute of an unknown function");
  fake::AttributeSet &set = state().attributes[{known->name, attribute}];
  ++set.times;
  set.value = value;
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_SUCCESS;
  if (value > option("optin") - option("static_shared"))
    return refuse(CUDA_ERROR_INVALID_VALUE, "more shared memory than the device has");
  known->max_dynamic_shared = value;
  return CUDA_SUCCESS;
}

// What both ways to launch are.
static CUresult launch(const char *call, const CUlaunchConfig &config, CUfunction function, void **params) {
  std::unique_lock lock(state().mutex);
  const CUresult result = enter_in_context(call);
  if (result != CUDA_SUCCESS) return result;
  auto *known = reinterpret_cast<Function *>(function);
  if (state().functions.count(known) == 0) return refuse(CUDA_ERROR_INVALID_HANDLE, "launch of an unknown function");
  if (known->module->context != context_stack().back())
    return refuse(CUDA_ERROR_INVALID_HANDLE, "launch in a foreign context");
  const CUstream stream = config.hStream;
  if (!known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, "launch on an unknown stream");
  // The caller's mistake and not the library's, so no misuse.
  if (!fake::is_default_stream(stream) && fake::context_of_stream(stream) != context_stack().back())
    return CUDA_ERROR_INVALID_HANDLE;
  const uint64_t threads = uint64_t{config.blockDimX} * config.blockDimY * config.blockDimZ;
  if (config.gridDimX == 0 || config.gridDimY == 0 || config.gridDimZ == 0 || config.gridDimX > 0x7fffffffu ||
      config.gridDimY > 65535 || config.gridDimZ > 65535 || threads == 0 || threads > 1024)
    return refuse(CUDA_ERROR_INVALID_VALUE, "grid or block out of range");
  if (static_cast<int64_t>(config.sharedMemBytes) > known->max_dynamic_shared)
    return refuse(CUDA_ERROR_INVALID_VALUE, "more dynamic shared memory than was asked for by attribute");
  uint32_t cluster = 0, programmatic = 0;
  for (unsigned int i = 0; i < config.numAttrs; ++i) {
    const CUlaunchAttribute &attribute = config.attrs[i];
    if (option("arch") < 90) return refuse(CUDA_ERROR_NOT_SUPPORTED, "a launch attribute of 9.0 on an older device");
    switch (attribute.id) {
      case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        cluster = attribute.value.clusterDim.x;
        if (cluster == 0 || cluster > 8 || config.gridDimX % cluster != 0 || attribute.value.clusterDim.y != 1 ||
            attribute.value.clusterDim.z != 1)
          return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        break;
      case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        programmatic = static_cast<uint32_t>(attribute.value.programmaticStreamSerializationAllowed);
        break;
      default:
        return refuse(CUDA_ERROR_INVALID_VALUE, "launch attribute " + std::to_string(attribute.id));
    }
  }
  if (option("record") == 0) return CUDA_SUCCESS;
  const auto being_captured = state().captures.find(stream);
  if (option("attend") != 0 && (being_captured == state().captures.end() || being_captured->second == 0)) {
    fake::attend(params[0]);
    state().device_us += fake::launch_us({config.gridDimX, config.gridDimY, config.gridDimZ});
  }
  auto *launch = new fake_launch{};
  std::snprintf(launch->kernel, sizeof(launch->kernel), "%s", known->name.c_str());
  launch->grid[0] = config.gridDimX, launch->grid[1] = config.gridDimY, launch->grid[2] = config.gridDimZ;
  launch->threads[0] = config.blockDimX, launch->threads[1] = config.blockDimY, launch->threads[2] = config.blockDimZ;
  launch->dynamic_shared_bytes = config.sharedMemBytes;
  launch->cluster = cluster, launch->programmatic = programmatic;
  launch->stream = stream;
  launch->context = context_stack().back();
  const auto capture = state().captures.find(stream);
  launch->captured = capture != state().captures.end() && capture->second != 0;
  launch->params_bytes = static_cast<int32_t>(std::min<int64_t>(option("params"), sizeof(launch->params)));
  if (launch->params_bytes > 0) std::memcpy(launch->params, params[0], static_cast<size_t>(launch->params_bytes));
  state().launches.push_back(launch);
  const auto pause_us = static_cast<useconds_t>(option("launch_us"));
  lock.unlock();
  if (pause_us != 0) usleep(pause_us);
  return CUDA_SUCCESS;
}

CUresult fake_launch_kernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                            unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared_bytes,
                            CUstream stream, void **params, void **) {
  CUlaunchConfig config{};
  config.gridDimX = grid_x, config.gridDimY = grid_y, config.gridDimZ = grid_z;
  config.blockDimX = block_x, config.blockDimY = block_y, config.blockDimZ = block_z;
  config.sharedMemBytes = shared_bytes, config.hStream = stream;
  return launch("cuLaunchKernel", config, function, params);
}

CUresult fake_launch_kernel_ex(const CUlaunchConfig *config, CUfunction function, void **params, void **) {
  return launch("cuLaunchKernelEx", *config, function, params);
}
