// SPDX-License-Identifier: Apache-2.0
//
// What fc-bench declares of the CUDA driver's ABI, against the real headers: every function's parameters, the one
// struct, the constants.
#define BOOST_TEST_MODULE unit_driver_abi
#include <cuda.h>
#include <cudaTypedefs.h>

#include <boost/test/unit_test.hpp>
#include <cstring>
#include <set>
#include <string>
#include <type_traits>

#include "../common/driver_abi.hpp"

namespace cuda_abi = flashcore::tools::cuda;

namespace {

// How a type travels in a call: all pointers alike, an enumeration as its integer, integers by size and sign.
template <typename T>
struct Travels {
  static constexpr int as = std::is_pointer_v<T> ? 1 : std::is_signed_v<T> ? 100 + sizeof(T) : 200 + sizeof(T);
};
template <typename T>
requires std::is_enum_v<T>
struct Travels<T> {
  // The driver's enumerations hold no negative values, so their sign does not matter; fc-bench takes int32_t for all.
  static constexpr int as = sizeof(T) == sizeof(int) ? 100 + sizeof(int) : 0;
};

template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename OurResult, typename... Ours, typename TheirResult, typename... Theirs>
requires(sizeof...(Ours) == sizeof...(Theirs)) struct SameCall<OurResult (*)(Ours...), TheirResult (*)(Theirs...)>
    : std::bool_constant<Travels<OurResult>::as == Travels<TheirResult>::as &&
                         ((Travels<Ours>::as == Travels<Theirs>::as) && ...)> {
};

#define SAME_CALL(member, type) \
  static_assert(SameCall<decltype(cuda_abi::Functions::member), type>::value, #member " is not " #type)
SAME_CALL(init, PFN_cuInit_v2000);
SAME_CALL(get_error_name, PFN_cuGetErrorName_v6000);
SAME_CALL(device_get, PFN_cuDeviceGet_v2000);
SAME_CALL(device_pci_bus_id, PFN_cuDeviceGetPCIBusId_v4010);
SAME_CALL(primary_context_retain, PFN_cuDevicePrimaryCtxRetain_v7000);
SAME_CALL(context_set_current, PFN_cuCtxSetCurrent_v4000);
SAME_CALL(context_get_device, PFN_cuCtxGetDevice_v2000);
SAME_CALL(stream_get_context, PFN_cuStreamGetCtx_v9020);
SAME_CALL(begin_capture, PFN_cuStreamBeginCapture_v10010);
SAME_CALL(end_capture, PFN_cuStreamEndCapture_v10000);
SAME_CALL(instantiate, PFN_cuGraphInstantiateWithFlags_v11040);
SAME_CALL(launch_graph, PFN_cuGraphLaunch_v10000);
SAME_CALL(destroy_executable, PFN_cuGraphExecDestroy_v10000);
SAME_CALL(destroy_graph, PFN_cuGraphDestroy_v10000);
SAME_CALL(get_nodes, PFN_cuGraphGetNodes_v10000);
SAME_CALL(get_node_type, PFN_cuGraphNodeGetType_v10000);
SAME_CALL(get_kernel_params, PFN_cuGraphKernelNodeGetParams_v12000);
SAME_CALL(get_kernel_attribute, PFN_cuGraphKernelNodeGetAttribute_v11000);
SAME_CALL(launch_kernel_ex, PFN_cuLaunchKernelEx_v11060);
SAME_CALL(launch_kernel, PFN_cuLaunchKernel_v4000);
// The comparison itself can fail.
static_assert(!SameCall<decltype(cuda_abi::Functions::stream_get_context), PFN_cuStreamGetCtx_v12050>::value);
static_assert(!SameCall<decltype(cuda_abi::Functions::instantiate), PFN_cuGraphInstantiateWithParams_v12000>::value);

#define SAME_FIELD(ours, theirs)                                                                              \
  static_assert(offsetof(cuda_abi::KernelNodeParams, ours) == offsetof(CUDA_KERNEL_NODE_PARAMS_v2, theirs) && \
                sizeof(cuda_abi::KernelNodeParams::ours) == sizeof(CUDA_KERNEL_NODE_PARAMS_v2::theirs))
static_assert(sizeof(cuda_abi::KernelNodeParams) == sizeof(CUDA_KERNEL_NODE_PARAMS_v2));
SAME_FIELD(function, func);
SAME_FIELD(grid_x, gridDimX);
SAME_FIELD(grid_y, gridDimY);
SAME_FIELD(grid_z, gridDimZ);
SAME_FIELD(block_x, blockDimX);
SAME_FIELD(block_y, blockDimY);
SAME_FIELD(block_z, blockDimZ);
SAME_FIELD(dynamic_shared_bytes, sharedMemBytes);
SAME_FIELD(parameters, kernelParams);
SAME_FIELD(extra, extra);
SAME_FIELD(kernel, kern);
SAME_FIELD(context, ctx);

#define SAME_PLACE(ours, our_field, theirs, their_field) \
  static_assert(offsetof(cuda_abi::ours, our_field) == offsetof(theirs, their_field))
static_assert(sizeof(cuda_abi::LaunchAttribute) == sizeof(CUlaunchAttribute));
static_assert(sizeof(cuda_abi::LaunchAttributeValue) == sizeof(CUlaunchAttributeValue));
static_assert(sizeof(cuda_abi::LaunchConfig) == sizeof(CUlaunchConfig));
SAME_PLACE(LaunchAttribute, id, CUlaunchAttribute, id);
SAME_PLACE(LaunchAttribute, value, CUlaunchAttribute, value);
SAME_PLACE(LaunchAttributeValue, cluster, CUlaunchAttributeValue, clusterDim);
SAME_PLACE(LaunchConfig, grid, CUlaunchConfig, gridDimX);
SAME_PLACE(LaunchConfig, block, CUlaunchConfig, blockDimX);
SAME_PLACE(LaunchConfig, dynamic_shared_bytes, CUlaunchConfig, sharedMemBytes);
SAME_PLACE(LaunchConfig, stream, CUlaunchConfig, hStream);
SAME_PLACE(LaunchConfig, attributes, CUlaunchConfig, attrs);
SAME_PLACE(LaunchConfig, attribute_count, CUlaunchConfig, numAttrs);
static_assert(cuda_abi::attribute_cluster_dimension == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);

static_assert(cuda_abi::success == CUDA_SUCCESS);
static_assert(cuda_abi::capture_mode_thread_local == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
static_assert(cuda_abi::node_type_kernel == CU_GRAPH_NODE_TYPE_KERNEL);

#define TEXT_OF(x) #x
#define EXPORTED_AS(x) TEXT_OF(x)

}  // namespace

// cuda.h renames a function to its newest version; where that is the version asked for, the symbols must agree.
BOOST_AUTO_TEST_CASE(symbols_are_those_of_the_header) {
  BOOST_TEST(std::string(EXPORTED_AS(cuStreamBeginCapture)) == "cuStreamBeginCapture_v2");
  BOOST_TEST(std::string(EXPORTED_AS(cuGraphKernelNodeGetParams)) == "cuGraphKernelNodeGetParams_v2");
  std::set<std::string> names, symbols;
  size_t rows = 0;
#define X(member, name, symbol, ...)                 \
  names.insert(name);                                \
  symbols.insert(symbol);                            \
  BOOST_TEST(std::string(symbol).starts_with(name)); \
  ++rows;
  FLASHCORE_BENCH_CUDA_FUNCTIONS(X)
#undef X
  BOOST_TEST(names.size() == rows);
  BOOST_TEST(symbols.size() == rows);
  BOOST_TEST(rows == 20u);  // as many as are compared above
}
