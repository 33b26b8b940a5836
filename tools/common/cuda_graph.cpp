// SPDX-License-Identifier: Apache-2.0
//
// dlopen, the list of driver_abi.hpp, and thin calls. Every failure names the driver function and its CUresult.
#include "cuda_graph.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "driver_abi.hpp"
#include "measuring.hpp"

namespace flashcore::tools {

struct GraphFunctions : cuda::Functions {};

namespace {

using Functions = std::shared_ptr<const GraphFunctions>;

Failure driver_failure(const GraphFunctions &functions, const char *function, cuda::Result result) {
  const char *name = nullptr;
  if (functions.get_error_name(result, &name) != cuda::success || name == nullptr) name = "an error without a name";
  return {exit_failed_check, fmt::format("{} of the CUDA driver failed: {} ({})", function, name, result)};
}

#define TRY_CUDA(functions, member, ...)                                                                          \
  do {                                                                                                            \
    const cuda::Result try_cuda_result = (functions).member(__VA_ARGS__);                                         \
    if (try_cuda_result != cuda::success) return driver_failure(functions, cuda::names::member, try_cuda_result); \
  } while (0)

using GetProcAddress = cuda::Result(const char *, void **, int32_t, uint64_t, int32_t *);

void *find_function(void *library, GetProcAddress *get_proc_address, const char *name, const char *symbol) {
  void *function = nullptr;
  int32_t status = 0;
  if (get_proc_address != nullptr &&
      get_proc_address(name, &function, cuda::requested_version, 0, &status) == cuda::success && function != nullptr)
    return function;
  return dlsym(library, symbol);
}

Outcome<Functions> resolve_functions(void *library) {
  auto *get_proc_address = reinterpret_cast<GetProcAddress *>(dlsym(library, "cuGetProcAddress_v2"));
  auto functions = std::make_shared<GraphFunctions>();
  std::string missing;
#define X(member, name, symbol, ...)                                                                         \
  functions->member =                                                                                        \
      reinterpret_cast<decltype(functions->member)>(find_function(library, get_proc_address, name, symbol)); \
  if (functions->member == nullptr) missing += std::string(missing.empty() ? "" : ", ") + name;
  FLASHCORE_BENCH_CUDA_FUNCTIONS(X)
#undef X
  if (!missing.empty())
    return Failure{exit_failed_check,
                   fmt::format("the CUDA driver library lacks {}; needed for graphs: CUDA 12.0", missing)};
  return Functions(std::move(functions));
}

}  // namespace

// --- Graph ---------------------------------------------------------------------------------------------------------

Graph::~Graph() {
  if (executable_ != nullptr) driver_->destroy_executable(executable_);
  if (graph_ != nullptr) driver_->destroy_graph(graph_);
}

Step Graph::launch(void *stream) const {
  TRY_CUDA(*driver_, launch_graph, executable_, stream);
  return Done{};
}

Outcome<Graph::Kernel> Graph::only_kernel() const {
  size_t count = 0;
  TRY_CUDA(*driver_, get_nodes, graph_, nullptr, &count);
  if (count != 1)
    return Failure{exit_failed_check,
                   fmt::format("one call became {} graph nodes, but a bare launch stands for one kernel", count)};
  cuda::Handle node = nullptr;
  TRY_CUDA(*driver_, get_nodes, graph_, &node, &count);
  int32_t type = -1;
  TRY_CUDA(*driver_, get_node_type, node, &type);
  if (type != cuda::node_type_kernel)
    return Failure{exit_failed_check, fmt::format("the call became a graph node of type {}, which is no kernel", type)};
  cuda::KernelNodeParams params{};
  TRY_CUDA(*driver_, get_kernel_params, node, &params);
  cuda::LaunchAttributeValue cluster{};
  TRY_CUDA(*driver_, get_kernel_attribute, node, cuda::attribute_cluster_dimension, &cluster);
  Kernel kernel;
  kernel.driver_ = driver_;
  kernel.function_ = params.function != nullptr ? params.function : params.kernel;  // cuLaunchKernel takes both
  kernel.grid_[0] = params.grid_x, kernel.grid_[1] = params.grid_y, kernel.grid_[2] = params.grid_z;
  kernel.block_[0] = params.block_x, kernel.block_[1] = params.block_y, kernel.block_[2] = params.block_z;
  std::copy_n(cluster.cluster, 3, kernel.cluster_);
  kernel.dynamic_shared_bytes_ = params.dynamic_shared_bytes;
  kernel.parameters_ = params.parameters;
  kernel.extra_ = params.extra;
  if (kernel.function_ == nullptr || (kernel.parameters_ == nullptr && kernel.extra_ == nullptr))
    return Failure{exit_failed_check, "cuGraphKernelNodeGetParams gave neither a function nor its parameters"};
  return kernel;
}

int32_t Graph::Kernel::launch(void *stream) const {
  if (cluster_[0] > 1) {
    cuda::LaunchAttribute attribute{
        cuda::attribute_cluster_dimension, {}, {{cluster_[0], cluster_[1], cluster_[2]}, {}}};
    const cuda::LaunchConfig config{{grid_[0], grid_[1], grid_[2]},
                                    {block_[0], block_[1], block_[2]},
                                    dynamic_shared_bytes_,
                                    stream,
                                    &attribute,
                                    1};
    return driver_->launch_kernel_ex(&config, function_, parameters_, extra_);
  }
  return driver_->launch_kernel(function_, grid_[0], grid_[1], grid_[2], block_[0], block_[1], block_[2],
                                dynamic_shared_bytes_, stream, parameters_, extra_);
}

std::string Graph::Kernel::describe() const {
  return fmt::format("grid {} x {} x {}, block {}{}, {} bytes of dynamic shared memory", grid_[0], grid_[1], grid_[2],
                     block_[0] * block_[1] * block_[2],
                     cluster_[0] > 1 ? fmt::format(", clusters of {}", cluster_[0]) : "", dynamic_shared_bytes_);
}

Failure Graph::launch_failure(int32_t result) const {
  return driver_failure(*driver_, cuda::names::launch_kernel, result);
}

// --- GraphDriver ---------------------------------------------------------------------------------------------------

Outcome<GraphDriver> GraphDriver::load() {
  // By its soname, and only if it is there: the very library that libflashcore opened, wherever that came from.
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
  if (library == nullptr)
    return Failure{exit_no_device,
                   "no CUDA driver library (libcuda.so.1) is loaded in this process, so there are no graphs"};
  TOOLS_TRY_ASSIGN(Functions functions, resolve_functions(library));
  return GraphDriver(std::move(functions));
}

Step GraphDriver::make_current(void *stream) const {
  cuda::Handle context = nullptr;
  TRY_CUDA(*functions_, stream_get_context, stream, &context);
  TRY_CUDA(*functions_, context_set_current, context);
  return Done{};
}

Outcome<std::string> GraphDriver::pci_bus_id() const {
  cuda::Device device = 0;
  char text[64] = {};
  TRY_CUDA(*functions_, context_get_device, &device);
  TRY_CUDA(*functions_, device_pci_bus_id, text, sizeof(text), device);
  return std::string(text);
}

Outcome<Graph> GraphDriver::capture(void *stream, const std::function<Step()> &calls) const {
  Graph graph(functions_);
  TRY_CUDA(*functions_, begin_capture, stream, cuda::capture_mode_thread_local);
  Step called = calls();
  // Always, so that the stream can be used again; after a failed call it is that failure that counts.
  const cuda::Result ended = functions_->end_capture(stream, &graph.graph_);
  TOOLS_TRY(std::move(called));
  if (ended != cuda::success) return driver_failure(*functions_, cuda::names::end_capture, ended);
  TRY_CUDA(*functions_, instantiate, &graph.executable_, graph.graph_, 0);
  return graph;
}

// --- The driver alone ----------------------------------------------------------------------------------------------

Outcome<double> start_driver_alone_us(int32_t ordinal) {
  const char *asked = std::getenv("FLASHCORE_LIBCUDA");
  const char *path = asked != nullptr && *asked != '\0' ? asked : "libcuda.so.1";
  const double begin_us = clock_us();
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return Failure{exit_no_device, fmt::format("no CUDA driver library: {}", dlerror())};
  TOOLS_TRY_ASSIGN(const Functions functions, resolve_functions(library));
  cuda::Device device = 0;
  cuda::Handle context = nullptr;
  TRY_CUDA(*functions, init, 0);
  TRY_CUDA(*functions, device_get, &device, ordinal);
  TRY_CUDA(*functions, primary_context_retain, &context, device);
  return clock_us() - begin_us;
}

}  // namespace flashcore::tools
