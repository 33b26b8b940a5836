// SPDX-License-Identifier: Apache-2.0
//
// The reader against the compiler's own words: each kernel is compiled for each architecture, and what the reader finds
// in the image must be what ptxas printed about it. No GPU is needed. FLASHCORE_LIBNVRTC may name another NVRTC.
#define BOOST_TEST_DYN_LINK 1
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <ostream>
#include <regex>

#include "cubin/cubin_reader.hpp"
#include "driver/nvrtc_library.hpp"

namespace {

using namespace flashcore;
namespace data = boost::unit_test::data;

const Result<const NvrtcLibrary *> &nvrtc() {
  const char *path = std::getenv("FLASHCORE_LIBNVRTC");
  static const Result<const NvrtcLibrary *> library = NvrtcLibrary::load(path != nullptr ? path : "", "");
  return library;
}

boost::test_tools::assertion_result nvrtc_found(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result found(nvrtc().ok());
  if (!nvrtc().ok()) found.message() << nvrtc().error().message;
  return found;
}

struct Program {
  const char *name;  // also of its kernel
  const char *source;
  const char *option;  // nullptr: none
};
std::ostream &operator<<(std::ostream &stream, const Program &program) { return stream << program.name; }

const Program programs[] = {
    {"trivial", R"(extern "C" __global__ void trivial(float *p, float a) { p[threadIdx.x] *= a; })", nullptr},
    {"shared", R"(extern "C" __global__ void shared(float *p) {
       __shared__ float tile[1234];
       tile[threadIdx.x] = p[threadIdx.x];
       __syncthreads();
       p[threadIdx.x] = tile[threadIdx.x * 7 % 1234];
     })",
     nullptr},
    {"dynamic_shared", R"(extern "C" __global__ void __launch_bounds__(96) dynamic_shared(double *p) {
       extern __shared__ double tile[];
       tile[threadIdx.x] = p[threadIdx.x];
       __syncthreads();
       p[threadIdx.x] = tile[95 - threadIdx.x];
     })",
     nullptr},
    {"spilling", R"(extern "C" __global__ void __launch_bounds__(1024, 2) spilling(const float *p, float *o, int n) {
       float a[80];
       for (int i = 0; i < 80; ++i) a[i] = p[i * 256 + threadIdx.x];
       for (int k = 0; k < n; ++k) {
         float s = 0;
     #pragma unroll
         for (int i = 0; i < 80; ++i) s += a[i] * a[(i * 7 + 3) % 80];
     #pragma unroll
         for (int i = 0; i < 80; ++i) a[i] = a[i] * s + a[(i + 1) % 80];
       }
       for (int i = 0; i < 80; ++i) o[i * 256 + threadIdx.x] = a[i];
     })",
     nullptr},
    {"spilling_doubles", R"(extern "C" __global__ void spilling_doubles(const double *p, double *o, int n) {
       double a[60];
       for (int i = 0; i < 60; ++i) a[i] = p[i * 256 + threadIdx.x];
       for (int k = 0; k < n; ++k) {
         double s = 0;
     #pragma unroll
         for (int i = 0; i < 60; ++i) s += a[i] * a[(i * 7 + 3) % 60];
     #pragma unroll
         for (int i = 0; i < 60; ++i) a[i] = a[i] * s + a[(i + 1) % 60];
       }
       for (int i = 0; i < 60; ++i) o[i * 256 + threadIdx.x] = a[i];
     })",
     "--maxrregcount=32"},
    {"stack_array", R"(extern "C" __global__ void stack_array(const int *index, float *o, int n) {
       float a[100];
       for (int k = 0; k < 100; ++k) a[k] = k * n;
       for (int k = 0; k < n; ++k) a[index[k]] += k;
       float s = 0;
       for (int k = 0; k < n; ++k) s += a[index[k + n]];
       o[threadIdx.x] = s;
     })",
     nullptr},
    {"barriers", R"(extern "C" __global__ void barriers(float *p, int a, long long b, char c) {
       asm volatile("bar.sync 3, 64;");
       p[a + b + c] += 1;
     })",
     nullptr},
    // From sm_100 on two sections each hold these bytes.
    {"tables", R"(
     #define TEN(x) x, x, x, x, x, x, x, x, x, x
     __device__ const int numbers[] = {TEN(TEN(TEN(1)))};
     __device__ const char *const words[] = {TEN(TEN(TEN("a word")))};
     extern "C" __global__ void tables(int *o, const char **p, int i) { o[0] = numbers[i], p[0] = words[i]; })",
     nullptr},
};
const char *const archs[] = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_120", "sm_120a"};

bool is_supported(const std::string &arch) {
  const Result<std::vector<int32_t>> supported = nvrtc().value()->supported_archs();
  BOOST_REQUIRE(supported.ok());
  const int number = std::stoi(arch.substr(3));
  return std::find(supported.value().begin(), supported.value().end(), number) != supported.value().end();
}

NvrtcOutput compiled(const Program &program, const std::string &arch) {
  std::vector<std::string> options{"--gpu-architecture=" + arch, "--std=c++17", "--ptxas-options=-v"};
  if (program.option != nullptr) options.emplace_back(program.option);
  Result<NvrtcOutput> output = nvrtc().value()->compile("program.cu", program.source, {}, options);
  BOOST_REQUIRE_MESSAGE(output.ok(), (output.ok() ? "" : output.error().message));
  BOOST_REQUIRE_MESSAGE(output.value().compiled, output.value().log);
  return std::move(output).value();
}

// The number before or in `pattern`; `absent` where ptxas does not print it.
int32_t said(const std::string &log, const std::string &pattern, int32_t absent) {
  std::smatch match;
  return std::regex_search(log, match, std::regex(pattern)) ? std::stoi(match[1]) : absent;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(cubin_of_nvrtc, *boost::unit_test::precondition(nvrtc_found))

BOOST_DATA_TEST_CASE(reader_agrees_with_ptxas, data::make(programs) * data::make(archs), program, arch) {
  if (!is_supported(arch)) {
    BOOST_TEST_MESSAGE("this NVRTC does not know " << arch);
    return;
  }
  const NvrtcOutput output = compiled(program, arch);
  const Result<CubinInfo> info = read_cubin(output.cubin);
  BOOST_REQUIRE_MESSAGE(info.ok(), (info.ok() ? "" : info.error().message));
  BOOST_TEST("sm_" + std::to_string(info.value().arch) + (info.value().arch_specific ? "a" : "") == arch);
  BOOST_TEST(info.value().toolkit == nvrtc().value()->version() / 100 + nvrtc().value()->version() % 100 / 10);
  BOOST_REQUIRE(info.value().kernels.size() == 1u);
  const KernelResources &kernel = info.value().kernels[0];
  BOOST_TEST_CONTEXT(output.log) {
    BOOST_TEST(kernel.name == program.name);
    BOOST_TEST(kernel.registers == said(output.log, "Used (\\d+) registers", -1));
    BOOST_TEST(kernel.static_shared_bytes == said(output.log, "(\\d+) bytes smem", 0));
    BOOST_TEST(kernel.stack_bytes == said(output.log, "(\\d+) bytes stack frame", -1));
    if (kernel.spill_store_bytes >= 0) {
      BOOST_TEST(kernel.spill_store_bytes == said(output.log, "(\\d+) bytes spill stores", -1));
      BOOST_TEST(kernel.spill_load_bytes == said(output.log, "(\\d+) bytes spill loads", -1));
    } else {
      BOOST_TEST(info.value().toolkit < 129);
    }
    BOOST_TEST(kernel.constant_bytes == said(output.log, "(\\d+) bytes cmem\\[0\\]", kernel.constant_bytes));
    BOOST_TEST(kernel.barriers == said(output.log, "used (\\d+) barriers", kernel.barriers));
  }
}

// What ptxas does not print, from the source: parameters and launch bounds.
BOOST_AUTO_TEST_CASE(parameters_and_launch_bounds) {
  const auto resources = [](const Program &program) {
    return read_cubin(compiled(program, "sm_90a").cubin).value().kernels[0];
  };
  BOOST_TEST(resources(programs[0]).parameter_bytes == 12);
  BOOST_TEST(resources(programs[0]).max_threads_per_block == 0);
  BOOST_TEST(resources(programs[2]).max_threads_per_block == 96);
  BOOST_TEST(resources(programs[3]).max_threads_per_block == 1024);
  BOOST_TEST(resources(programs[6]).parameter_bytes == 25);
  BOOST_TEST(resources(programs[6]).barriers == 4);
  const Program required = {
      "required", R"(extern "C" __global__ void __block_size__((8, 4, 2)) required(float *p) { *p = 1; })", nullptr};
  if (nvrtc().value()->version() >= 13000) BOOST_TEST(resources(required).required_threads == 64);
}

// The programs are worth their time only if they do what they are named for.
BOOST_AUTO_TEST_CASE(programs_spill_and_use_the_stack) {
  const std::string spilling = compiled(programs[3], "sm_90a").log, stack = compiled(programs[5], "sm_90a").log;
  BOOST_TEST(said(spilling, "(\\d+) bytes spill stores", 0) > 0);
  BOOST_TEST(said(stack, "(\\d+) bytes stack frame", 0) > 0);
  BOOST_TEST(said(stack, "(\\d+) bytes spill stores", -1) == 0);
}

// What tests/cli/test_shipped_modules.py looks for in the logs of modules: where ptxas makes products wait for each other, or ignores
// a request for registers, the log of NVRTC says so.
BOOST_AUTO_TEST_CASE(log_tells_what_was_given_up) {
  const Program serialized = {
      "serialized",
      R"(extern "C" __global__ void __launch_bounds__(128) serialized(float *p, long long a, long long b, int n) {
       float c[4] = {};
       for (int i = 0; i < n; ++i) {
         asm volatile("wgmma.fence.sync.aligned;");
         asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%0, %1, %2, %3}, %4, %5, 1, 1, 1, 0, 0;"
                      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "l"(a), "l"(b));
         asm volatile("wgmma.commit_group.sync.aligned;");
         c[0] *= 2;
         asm volatile("wgmma.wait_group.sync.aligned 0;");
       }
       p[threadIdx.x] = c[0] + c[1] + c[2] + c[3];
     })",
      nullptr};
  const Program ignored = {"ignored", R"(extern "C" __global__ void ignored(float *p) {
       asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
       p[threadIdx.x] = 1;
     })",
                           nullptr};
  for (const Program &program : {serialized, ignored}) {
    const std::string log = compiled(program, "sm_90a").log;
    BOOST_TEST_MESSAGE(log);
    BOOST_TEST(log.find("(C75") != std::string::npos, program.name << ": " << log);
  }
  BOOST_TEST(compiled(programs[0], "sm_90a").log.find("(C75") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
