// SPDX-License-Identifier: Apache-2.0
//
// The stand-in libcuda.so.1, third part: what the library itself never calls, but a benchmark does. A capture lasts
// from begin to end, its graph is the list of launches in between, and to launch a graph counts and does nothing.
#include <cstring>

#include "fake_functions.hpp"

using fake::enter;
using fake::enter_in_context;
using fake::known_stream;
using fake::Lock;
using fake::refuse;
using fake::state;

namespace {

struct Graph;

struct Node {
  Graph *graph;
  const fake_launch *launch;
  void *parameters[1];  // the launch's bytes, where option "params" kept some
};

struct Graph {
  std::vector<Node *> nodes;  // its own

  ~Graph() {
    for (const Node *node : nodes) delete node;
  }
};

// Begun captures: where in the list of launches each one began. Guarded by the state's mutex.
std::map<void *, size_t> &begun() {
  static auto *const books = new std::map<void *, size_t>;
  return *books;
}

// A handle of the launch's kernel: launches remember none, and any of the same name that may have as much shared memory
// does the same nothing.
CUfunction function_of(const fake_launch &launch) {
  for (const auto &[function, unused] : state().functions)
    if (function->name == launch.kernel &&
        function->max_dynamic_shared >= static_cast<int64_t>(launch.dynamic_shared_bytes))
      return reinterpret_cast<CUfunction>(function);
  return nullptr;
}

}  // namespace

#define EXPORTED(type, name, symbol) extern "C" FAKE_EXPORT std::remove_pointer_t<type> name __asm__(symbol);
EXPORTED(PFN_cuCtxSetCurrent_v4000, fake_context_set_current, "cuCtxSetCurrent")
EXPORTED(PFN_cuCtxGetDevice_v2000, fake_context_get_device, "cuCtxGetDevice")
EXPORTED(PFN_cuDeviceGetPCIBusId_v4010, fake_device_get_pci_bus_id, "cuDeviceGetPCIBusId")
EXPORTED(PFN_cuStreamGetCtx_v9020, fake_stream_get_context, "cuStreamGetCtx")
EXPORTED(PFN_cuStreamBeginCapture_v10010, fake_begin_capture, "cuStreamBeginCapture_v2")
EXPORTED(PFN_cuStreamEndCapture_v10000, fake_end_capture, "cuStreamEndCapture")
EXPORTED(PFN_cuGraphInstantiateWithFlags_v11040, fake_instantiate, "cuGraphInstantiateWithFlags")
EXPORTED(PFN_cuGraphLaunch_v10000, fake_launch_graph, "cuGraphLaunch")
EXPORTED(PFN_cuGraphExecDestroy_v10000, fake_destroy_executable, "cuGraphExecDestroy")
EXPORTED(PFN_cuGraphDestroy_v10000, fake_destroy_graph, "cuGraphDestroy")
EXPORTED(PFN_cuGraphGetNodes_v10000, fake_get_nodes, "cuGraphGetNodes")
EXPORTED(PFN_cuGraphNodeGetType_v10000, fake_get_node_type, "cuGraphNodeGetType")
EXPORTED(PFN_cuGraphKernelNodeGetParams_v12000, fake_get_kernel_params, "cuGraphKernelNodeGetParams_v2")
EXPORTED(PFN_cuGraphKernelNodeGetAttribute_v11000, fake_get_kernel_attribute, "cuGraphKernelNodeGetAttribute")

CUresult fake_context_set_current(CUcontext context) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuCtxSetCurrent");
  if (result != CUDA_SUCCESS) return result;
  if (!fake::context_stack().empty()) fake::context_stack().pop_back();
  fake::context_stack().push_back(reinterpret_cast<fake::Context *>(context));
  return CUDA_SUCCESS;
}

CUresult fake_context_get_device(CUdevice_v1 *device) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuCtxGetDevice");
  if (result == CUDA_SUCCESS) *device = fake::context_stack().back()->ordinal;
  return result;
}

CUresult fake_device_get_pci_bus_id(char *text, int length, CUdevice device) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuDeviceGetPCIBusId");
  if (result == CUDA_SUCCESS) std::snprintf(text, static_cast<size_t>(length), "0000:%02x:00.0", device + 1);
  return result;
}

CUresult fake_stream_get_context(CUstream stream, CUcontext *context) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuStreamGetCtx");
  if (result != CUDA_SUCCESS) return result;
  if (!known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, "context of an unknown stream");
  if (stream == nullptr && state().primaries.empty()) return CUDA_ERROR_INVALID_CONTEXT;
  *context = reinterpret_cast<CUcontext>(stream == nullptr ? state().primaries.begin()->second
                                                           : fake::context_of_stream(stream));
  return CUDA_SUCCESS;
}

CUresult fake_begin_capture(CUstream stream, CUstreamCaptureMode) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamBeginCapture");
  if (result != CUDA_SUCCESS) return result;
  if (stream == nullptr || !known_stream(stream))
    return refuse(CUDA_ERROR_INVALID_VALUE, "capture of no or an unknown stream");
  if (begun().count(stream) != 0) return refuse(CUDA_ERROR_ILLEGAL_STATE, "capture of a stream that is captured");
  begun()[stream] = state().launches.size();
  state().captures[stream] = 1;
  return CUDA_SUCCESS;
}

CUresult fake_end_capture(CUstream stream, CUgraph *graph) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuStreamEndCapture");
  const auto capture = begun().find(stream);
  if (capture == begun().end()) return refuse(CUDA_ERROR_ILLEGAL_STATE, "end of a capture that never began");
  auto *captured = new Graph;
  for (size_t i = capture->second; i < state().launches.size(); ++i)
    if (state().launches[i]->stream == stream)
      captured->nodes.push_back(
          new Node{captured, state().launches[i], {const_cast<unsigned char *>(state().launches[i]->params)}});
  begun().erase(capture);
  state().captures.erase(stream);
  *graph = reinterpret_cast<CUgraph>(captured);
  return result;
}

CUresult fake_instantiate(CUgraphExec *executable, CUgraph graph, unsigned long long) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuGraphInstantiateWithFlags");
  if (result != CUDA_SUCCESS) return result;
  auto *instance = new Graph;  // outlives the graph that it was made from
  for (const Node *node : reinterpret_cast<Graph *>(graph)->nodes) instance->nodes.push_back(new Node(*node));
  *executable = reinterpret_cast<CUgraphExec>(instance);
  return result;
}

CUresult fake_launch_graph(CUgraphExec executable, CUstream stream) {
  const Lock lock(state().mutex);
  const CUresult result = enter_in_context("cuGraphLaunch");
  if (result != CUDA_SUCCESS) return result;
  if (executable == nullptr || !known_stream(stream)) return refuse(CUDA_ERROR_INVALID_HANDLE, "launch of no graph");
  for (const Node *node : reinterpret_cast<Graph *>(executable)->nodes) {
    state().device_us += fake::launch_us(node->launch->grid);
    if (fake::option("attend") != 0 && node->launch->params_bytes > 0) fake::attend(node->launch->params);
  }
  return CUDA_SUCCESS;
}

CUresult fake_destroy_executable(CUgraphExec executable) {
  const Lock lock(state().mutex);
  delete reinterpret_cast<Graph *>(executable);
  return enter("cuGraphExecDestroy");
}

CUresult fake_destroy_graph(CUgraph graph) {
  const Lock lock(state().mutex);
  delete reinterpret_cast<Graph *>(graph);
  return enter("cuGraphDestroy");
}

CUresult fake_get_nodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuGraphGetNodes");
  if (result != CUDA_SUCCESS) return result;
  const auto &all = reinterpret_cast<Graph *>(graph)->nodes;
  if (nodes == nullptr) *count = all.size();
  for (size_t i = 0; nodes != nullptr && i < *count; ++i)
    nodes[i] = i < all.size() ? reinterpret_cast<CUgraphNode>(all[i]) : nullptr;
  return CUDA_SUCCESS;
}

CUresult fake_get_node_type(CUgraphNode, CUgraphNodeType *type) {
  const Lock lock(state().mutex);
  *type = CU_GRAPH_NODE_TYPE_KERNEL;
  return enter("cuGraphNodeGetType");
}

CUresult fake_get_kernel_params(CUgraphNode node, CUDA_KERNEL_NODE_PARAMS_v2 *params) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuGraphKernelNodeGetParams");
  if (result != CUDA_SUCCESS) return result;
  auto *known = reinterpret_cast<Node *>(node);
  *params = {};
  params->func = function_of(*known->launch);
  params->gridDimX = known->launch->grid[0];
  params->gridDimY = known->launch->grid[1];
  params->gridDimZ = known->launch->grid[2];
  params->blockDimX = known->launch->threads[0];
  params->blockDimY = known->launch->threads[1];
  params->blockDimZ = known->launch->threads[2];
  params->sharedMemBytes = known->launch->dynamic_shared_bytes;
  params->kernelParams = known->parameters;
  return CUDA_SUCCESS;
}

CUresult fake_get_kernel_attribute(CUgraphNode node, CUkernelNodeAttrID attribute, CUkernelNodeAttrValue_v1 *value) {
  const Lock lock(state().mutex);
  const CUresult result = enter("cuGraphKernelNodeGetAttribute");
  if (result != CUDA_SUCCESS) return result;
  if (attribute != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) return CUDA_ERROR_INVALID_VALUE;
  *value = {};
  const uint32_t cluster = reinterpret_cast<Node *>(node)->launch->cluster;
  if (cluster != 0) value->clusterDim.x = cluster, value->clusterDim.y = value->clusterDim.z = 1;
  return CUDA_SUCCESS;
}
