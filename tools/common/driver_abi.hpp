// SPDX-License-Identifier: Apache-2.0
//
// The little of the CUDA driver's ABI that cuda_graph.cpp needs, declared here because tools see include/ only and no
// cuda.h. tests/unit/tools/test_driver_abi.cpp holds every line against the real header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace flashcore::tools::cuda {

using Result = int32_t;  // CUresult
using Device = int32_t;  // CUdevice
// CUstream, CUcontext, CUgraph, CUgraphExec, CUgraphNode, CUfunction, CUkernel
using Handle = void *;

inline constexpr Result success = 0;
inline constexpr int32_t capture_mode_thread_local = 1;  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
inline constexpr int32_t node_type_kernel = 0;           // CU_GRAPH_NODE_TYPE_KERNEL
inline constexpr int32_t requested_version = 12000;      // whose types these are

// CUDA_KERNEL_NODE_PARAMS_v2
struct KernelNodeParams {
  Handle function;
  uint32_t grid_x, grid_y, grid_z;
  uint32_t block_x, block_y, block_z;
  uint32_t dynamic_shared_bytes;
  void **parameters;
  void **extra;
  Handle kernel;  // counts where function is null
  Handle context;
};

// CUlaunchAttributeValue, CUlaunchAttribute and CUlaunchConfig
struct LaunchAttributeValue {
  uint32_t cluster[3];
  char unused[52];
};
struct LaunchAttribute {
  int32_t id;
  char unused[4];
  LaunchAttributeValue value;
};
struct LaunchConfig {
  uint32_t grid[3], block[3], dynamic_shared_bytes;
  Handle stream;
  LaunchAttribute *attributes;
  uint32_t attribute_count;
};
inline constexpr int32_t attribute_cluster_dimension = 4;  // CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION

// X(member, name for cuGetProcAddress, exported symbol, result and parameters)
#define FLASHCORE_BENCH_CUDA_FUNCTIONS(X)                                                                             \
  X(init, "cuInit", "cuInit", Result(uint32_t))                                                                       \
  X(get_error_name, "cuGetErrorName", "cuGetErrorName", Result(Result, const char **))                                \
  X(device_get, "cuDeviceGet", "cuDeviceGet", Result(Device *, int32_t))                                              \
  X(device_pci_bus_id, "cuDeviceGetPCIBusId", "cuDeviceGetPCIBusId", Result(char *, int32_t, Device))                 \
  X(primary_context_retain, "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRetain", Result(Handle *, Device))         \
  X(context_set_current, "cuCtxSetCurrent", "cuCtxSetCurrent", Result(Handle))                                        \
  X(context_get_device, "cuCtxGetDevice", "cuCtxGetDevice", Result(Device *))                                         \
  X(stream_get_context, "cuStreamGetCtx", "cuStreamGetCtx", Result(Handle, Handle *))                                 \
  X(begin_capture, "cuStreamBeginCapture", "cuStreamBeginCapture_v2", Result(Handle, int32_t))                        \
  X(end_capture, "cuStreamEndCapture", "cuStreamEndCapture", Result(Handle, Handle *))                                \
  X(instantiate, "cuGraphInstantiateWithFlags", "cuGraphInstantiateWithFlags", Result(Handle *, Handle, uint64_t))    \
  X(launch_graph, "cuGraphLaunch", "cuGraphLaunch", Result(Handle, Handle))                                           \
  X(destroy_executable, "cuGraphExecDestroy", "cuGraphExecDestroy", Result(Handle))                                   \
  X(destroy_graph, "cuGraphDestroy", "cuGraphDestroy", Result(Handle))                                                \
  X(get_nodes, "cuGraphGetNodes", "cuGraphGetNodes", Result(Handle, Handle *, size_t *))                              \
  X(get_node_type, "cuGraphNodeGetType", "cuGraphNodeGetType", Result(Handle, int32_t *))                             \
  X(get_kernel_params, "cuGraphKernelNodeGetParams", "cuGraphKernelNodeGetParams_v2",                                 \
    Result(Handle, KernelNodeParams *))                                                                               \
  X(get_kernel_attribute, "cuGraphKernelNodeGetAttribute", "cuGraphKernelNodeGetAttribute",                           \
    Result(Handle, int32_t, LaunchAttributeValue *))                                                                  \
  X(launch_kernel_ex, "cuLaunchKernelEx", "cuLaunchKernelEx", Result(const LaunchConfig *, Handle, void **, void **)) \
  X(launch_kernel, "cuLaunchKernel", "cuLaunchKernel",                                                                \
    Result(Handle, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, Handle, void **, void **))

struct Functions {
#define X(member, name, symbol, ...) std::add_pointer_t<__VA_ARGS__> member = nullptr;
  FLASHCORE_BENCH_CUDA_FUNCTIONS(X)
#undef X
};

// The driver's own names, for messages.
namespace names {
#define X(member, name, symbol, ...) inline constexpr const char *member = name;
FLASHCORE_BENCH_CUDA_FUNCTIONS(X)
#undef X
}  // namespace names

}  // namespace flashcore::tools::cuda
