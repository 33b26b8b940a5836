// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the public library on the stand-in driver share: a folder of their own for the module cache, filled
// once with the modules that the tests launch; contexts, a small problem in "device" memory, and the books.
#pragma once

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_library.hpp"
#include "flashcore/flashcore.h"
#include "flashcore/flashcore_inspect.h"
#include "run_in_child.hpp"

inline FakeCuda &fake() {
  static FakeCuda library(FAKE_LIBCUDA);
  return library;
}

inline flashcore_error fresh_error() {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  return error;
}

inline std::string describe(flashcore_status status, const flashcore_error &error) {
  return std::string(flashcore_status_name(status)) + " " + std::to_string(error.driver_code) + " [" + error.field +
         "] " + error.message;
}

inline bool contains(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
#define CHECK_TEXT(text, part)                                                                         \
  do {                                                                                                 \
    const std::string checked_text = (text), needed_part = (part);                                     \
    BOOST_TEST(contains(checked_text, needed_part), checked_text << " [lacks " << needed_part << "]"); \
  } while (0)

inline flashcore_context_options gpu_options(int32_t jit_mode,
                                             int32_t address_checks = FLASHCORE_ADDRESS_CHECKS_DEFAULT) {
  flashcore_context_options options = FLASHCORE_CONTEXT_OPTIONS_INIT;
  options.device_kind = FLASHCORE_DEVICE_CUDA;
  options.jit_mode = jit_mode;
  options.address_checks = address_checks;
  return options;
}

// Half precision, one sequence of 128, 64 dimensions, contiguous. Addresses are for the caller to set.
inline flashcore_attention_args small_args(const char *kernel = "") {
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1;
  args.heads_q = 2;
  args.seqlen_q = 128;
  args.seqlen_kv = 128;
  args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  std::snprintf(args.kernel, sizeof(args.kernel), "%s", kernel);
  return args;
}

// The same with its last eight keys new.
inline flashcore_attention_args appending_args() {
  flashcore_attention_args args = small_args();
  args.seqlen_new = 8;
  return args;
}

// Three states of half precision: two sequences of 16 rows, 4 heads of 64 columns, contiguous. Addresses are for the caller to set.
inline flashcore_merge_states_args small_merge() {
  flashcore_merge_states_args args = FLASHCORE_MERGE_STATES_ARGS_INIT;
  args.state_count = 3;
  args.batch = 2, args.seqlen_q = 16, args.heads_q = 4, args.head_dim_v = 64;
  args.output_states.dtype = FLASHCORE_DTYPE_FLOAT16;
  return args;
}

inline constexpr const char *large_shared_kernel = "fwd_wmma_64x64";  // needs the shared-memory opt-in

// The environment of every test program here: the stand-in as the driver, a cache folder of its own, no shipped
// modules.
class Sandbox {
 public:
  Sandbox() {
    char name[] = "/tmp/flashcore-test-XXXXXX";
    if (mkdtemp(name) == nullptr) throw std::runtime_error("mkdtemp failed");
    folder_ = name;
    std::filesystem::create_directory(folder_ + "/none");
    setenv("FLASHCORE_LIBCUDA", FAKE_LIBCUDA, 1);
    setenv("FLASHCORE_CACHE_DIR", (folder_ + "/cache").c_str(), 1);
    setenv("FLASHCORE_MODULE_PATH", (folder_ + "/none").c_str(), 1);
    for (const char *variable :
         {"FLASHCORE_CACHE", "FLASHCORE_JIT", "FLASHCORE_LIBNVRTC", "FLASHCORE_CHECK_ADDRESSES", "FAKE_CUDA"})
      unsetenv(variable);
  }
  ~Sandbox() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  static Sandbox &get() {
    static Sandbox sandbox;
    return sandbox;
  }

  const std::string &folder() const { return folder_; }

  // Compile the modules into the cache, in a child, so that this process starts as a fresh one. Empty, or why not.
  const std::string &fill_cache() {
    if (filled_) return why_not_;
    filled_ = true;
    why_not_ = run_in_child([] {
                 const flashcore_context_options options = gpu_options(FLASHCORE_JIT_ALLOWED);
                 flashcore_context context = nullptr;
                 flashcore_error error = fresh_error();
                 flashcore_status status = flashcore_context_create(&options, &context, &error);
                 for (const char *kernel : {"", large_shared_kernel}) {
                   const flashcore_attention_args args = small_args(kernel);
                   if (status == FLASHCORE_OK) status = flashcore_attention_prepare(context, &args, &error);
                 }
                 const flashcore_attention_args append = appending_args();
                 if (status == FLASHCORE_OK) status = flashcore_attention_prepare(context, &append, &error);
                 const flashcore_merge_states_args merge = small_merge();
                 if (status == FLASHCORE_OK) status = flashcore_merge_states_prepare(context, &merge, &error);
                 flashcore_context_destroy(context);
                 return status == FLASHCORE_OK ? std::string() : describe(status, error);
               }).text;
    return why_not_;
  }

 private:
  std::string folder_, why_not_;
  bool filled_ = false;
};

// For programs that start CUDA themselves: the modules are made before that.
struct FilledSandbox {
  FilledSandbox() { Sandbox::get().fill_cache(); }
};

// For every test that launches. A machine without a compiler has no modules; one whose compiler fails must not pass for
// it.
inline boost::test_tools::assertion_result modules_exist(boost::unit_test::test_unit_id) {
  const std::string &why_not = Sandbox::get().fill_cache();
  boost::test_tools::assertion_result result(!contains(why_not, "COMPILER_UNAVAILABLE"));
  result.message() << why_not;
  return result;
}

struct GpuContext {
  flashcore_context handle = nullptr;
  explicit GpuContext(int32_t jit_mode = FLASHCORE_JIT_FORBIDDEN,
                      int32_t address_checks = FLASHCORE_ADDRESS_CHECKS_DEFAULT) {
    const flashcore_context_options options = gpu_options(jit_mode, address_checks);
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_context_create(&options, &handle, &error);
    if (status != FLASHCORE_OK) throw std::runtime_error(describe(status, error));
  }
  GpuContext(const GpuContext &) = delete;
  GpuContext &operator=(const GpuContext &) = delete;
  ~GpuContext() { flashcore_context_destroy(handle); }
};

// The module that the small problem runs on; with `cubin` what is in it as well, for flashcore_inspect_free.
inline flashcore_module_info module_of_the_small_problem(void **cubin = nullptr) {
  GpuContext context;
  const flashcore_attention_args args = small_args();
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_module_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = fresh_error();
  if (flashcore_attention_explain(context.handle, &args, &explanation, &error) != FLASHCORE_OK ||
      flashcore_module_obtain(nullptr, explanation.module, "sm_89", &info, cubin, nullptr, &error) != FLASHCORE_OK)
    throw std::runtime_error(error.message);
  return info;
}

// What a compiler would give, without the time that it takes.
inline std::vector<char> cubin_of_the_small_problem() {
  void *cubin = nullptr;
  const flashcore_module_info info = module_of_the_small_problem(&cubin);
  std::vector<char> bytes(static_cast<char *>(cubin), static_cast<char *>(cubin) + info.cubin_bytes);
  flashcore_inspect_free(cubin);
  return bytes;
}

// Tensors of the small problem (or of `args`, when given).
struct GpuProblem {
  flashcore_context context;
  flashcore_attention_args args;
  uint64_t memory = 0;

  explicit GpuProblem(flashcore_context context_handle, const flashcore_attention_args &shape = small_args())
      : context(context_handle), args(shape) {
    const int64_t rows = std::max(args.seqlen_q, args.seqlen_kv);
    const int64_t tensor_bytes = (args.batch * rows * args.heads_q * args.head_dim * 2 + 255) / 256 * 256;
    flashcore_error error = fresh_error();
    if (flashcore_buffer_alloc(context, 4 * tensor_bytes, &memory, &error) != FLASHCORE_OK)
      throw std::runtime_error(error.message);
    args.query.data = memory;
    args.key.data = memory + static_cast<uint64_t>(tensor_bytes);
    args.value.data = memory + static_cast<uint64_t>(2 * tensor_bytes);
    args.output.data = memory + static_cast<uint64_t>(3 * tensor_bytes);
  }
  GpuProblem(const GpuProblem &) = delete;
  GpuProblem &operator=(const GpuProblem &) = delete;
  ~GpuProblem() { flashcore_buffer_free(context, memory, nullptr); }

  std::string forward(void *stream = nullptr) const {
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_attention_fwd(context, &args, stream, &error);
    return status == FLASHCORE_OK ? "OK" : describe(status, error);
  }
  std::string prepare() const {
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_attention_prepare(context, &args, &error);
    return status == FLASHCORE_OK ? "OK" : describe(status, error);
  }
};

// Tensors of the small merge.
struct GpuMerge {
  flashcore_context context;
  flashcore_merge_states_args args = small_merge();
  uint64_t memory[4] = {};  // states, their logarithms, output, lse

  static constexpr int64_t state_bytes = 2 * 16 * 4 * 64 * 2, lse_bytes = 2 * 16 * 4 * 4;

  explicit GpuMerge(flashcore_context context_handle) : context(context_handle) {
    const int64_t bytes[] = {args.state_count * state_bytes, args.state_count * lse_bytes, state_bytes, lse_bytes};
    flashcore_error error = fresh_error();
    for (int i = 0; i < 4; ++i)
      if (flashcore_buffer_alloc(context, bytes[i], &memory[i], &error) != FLASHCORE_OK)
        throw std::runtime_error(error.message);
    args.output_states.data = memory[0], args.lse_states.data = memory[1];
    args.output.data = memory[2], args.lse.data = memory[3];
  }
  GpuMerge(const GpuMerge &) = delete;
  GpuMerge &operator=(const GpuMerge &) = delete;
  ~GpuMerge() {
    for (const uint64_t address : memory) flashcore_buffer_free(context, address, nullptr);
  }

  std::string run(void *stream = nullptr) const {
    flashcore_error error = fresh_error();
    const flashcore_status status = flashcore_merge_states(context, &args, stream, &error);
    return status == FLASHCORE_OK ? "OK" : describe(status, error);
  }
};

// A fresh stand-in, and closed books afterwards.
struct Books {
  Books() {
    Sandbox::get();
    fake().fake_reset();
    fake().fake_set_current(nullptr);
  }
  ~Books() {
    fake().fake_clear_failures();
    BOOST_TEST(fake().open_resources() == "");
    BOOST_TEST(fake().fake_misuses() == 0, fake().fake_last_misuse());
    BOOST_TEST(fake().fake_get_current() == nullptr);
  }
};
