// SPDX-License-Identifier: Apache-2.0
//
// What a cubin says before anything is timed: compiled in other processes, judged by registers, spills and occupancy.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "../common/child_process.hpp"
#include "../common/output_file.hpp"
#include "tune.hpp"

namespace flashcore::tools {
namespace {

constexpr int32_t registers_per_multiprocessor = 65536, registers_per_thread_unit = 8;
constexpr int64_t reserved_shared_bytes = 1024;  // CUDA keeps them of every block
constexpr int32_t fewest_warps = 4;              // a multiprocessor has four schedulers
constexpr int worker_timeout_seconds = 300;

Outcome<flashcore_module_info> obtain(const flashcore_context_options &context, const std::string &module,
                                      const std::string &arch) {
  flashcore_module_info info{};
  info.struct_size = sizeof(info);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_module_obtain(&context, module.c_str(), arch.c_str(), &info, nullptr, nullptr, &error) != FLASHCORE_OK)
    return library_failure(fmt::format("compile {} for {}", module, arch), error);
  return info;
}

// Other processes, so that compilations share nothing and a compiler that crashes takes one with it. What goes wrong there
// is said again when the module is obtained here.
void compile_in_processes(const std::vector<Candidate> &candidates, const std::string &arch, int64_t jobs,
                          const Words &library_words) {
  std::error_code code;
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", code).string();
  if (code || jobs < 2) return;
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int64_t job = 0; job < jobs; ++job)
    threads.emplace_back([&] {
      for (size_t i; (i = next.fetch_add(1)) < candidates.size() && !interrupted();) {
        Words words = {self, "--compile-worker", arch, "--worker-module",
                       candidates[i].name()};  // starting costs little beside compiling
        words.insert(words.end(), library_words.begin(), library_words.end());
        static_cast<void>(run_process(words, worker_timeout_seconds));
      }
    });
  for (std::thread &thread : threads) thread.join();
}

}  // namespace

int32_t blocks_per_multiprocessor(int32_t registers, int32_t threads, int64_t shared_bytes,
                                  const flashcore_device_info &device) {
  const int32_t rounded =
      (registers + registers_per_thread_unit - 1) / registers_per_thread_unit * registers_per_thread_unit;
  const int64_t shared_per_multiprocessor = int64_t{device.shared_memory_per_block_optin_bytes} + reserved_shared_bytes;
  const int64_t by_registers = rounded > 0 ? registers_per_multiprocessor / (int64_t{rounded} * threads) : INT32_MAX;
  const int64_t by_shared = shared_per_multiprocessor / (shared_bytes + reserved_shared_bytes);
  return static_cast<int32_t>(std::min({by_registers, by_shared, int64_t{resident_threads(device.arch) / threads}}));
}

std::string prune_reason(const flashcore_kernel_resources &resources, int32_t threads,
                         const flashcore_device_info &device) {
  const int64_t shared_bytes = resources.static_shared_bytes + resources.dynamic_shared_bytes;
  if (resources.spill_store_bytes < 0) return "has a stack frame, and the compiler does not say whether it spills";
  if (resources.spill_store_bytes != 0 || resources.spill_load_bytes != 0)
    return fmt::format("spills {} bytes and loads {} again", resources.spill_store_bytes, resources.spill_load_bytes);
  if (shared_bytes > device.shared_memory_per_block_optin_bytes)
    return fmt::format("needs {} bytes of shared memory per block, the device allows {}", shared_bytes,
                       device.shared_memory_per_block_optin_bytes);
  const int32_t blocks = blocks_per_multiprocessor(resources.registers, threads, shared_bytes, device);
  if (blocks < 1)
    return fmt::format("{} registers in {} threads are more than a multiprocessor has", resources.registers, threads);
  if (blocks * threads / 32 < fewest_warps)
    return fmt::format("{} blocks of {} warps leave schedulers of a multiprocessor without a warp", blocks,
                       threads / 32);
  return {};
}

std::vector<StaticResult> check_statically(const std::vector<Candidate> &candidates,
                                           const flashcore_device_info &device, const std::string &arch,
                                           const flashcore_context_options &context, int64_t jobs,
                                           const Words &library_words) {
  compile_in_processes(candidates, arch, jobs, library_words);
  std::vector<StaticResult> results;
  for (const Candidate &candidate : candidates) {
    StaticResult result;
    if (interrupted()) break;
    const Outcome<flashcore_module_info> info = obtain(context, candidate.name(), arch);
    if (info.ok()) {
      result.info = info.value();
      const flashcore_kernel_resources &resources = result.info.resources;
      result.pruned = prune_reason(resources, resources.max_threads_per_block, device);
      result.blocks_per_multiprocessor =
          blocks_per_multiprocessor(resources.registers, resources.max_threads_per_block,
                                    resources.static_shared_bytes + resources.dynamic_shared_bytes, device);
    } else {
      result.pruned = info.failure().message;
    }
    results.push_back(std::move(result));
  }
  return results;
}

Outcome<int> run_compile_worker(const flashcore_context_options &context, const std::string &arch,
                                const std::string &module) {
  TOOLS_TRY(obtain(context, module, arch));
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
