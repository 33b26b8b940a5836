// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "arch.hpp"

namespace flashcore::tools {
namespace {

struct Representative {
  const char *name;  // of the modules' architecture
  int32_t multiprocessors;
  const char *device;
};
constexpr Representative representatives[] = {
    {"sm_80", 108, "NVIDIA A100"},
    {"sm_86", 72, "NVIDIA A10"},
    {"sm_89", 58, "NVIDIA L4"},
    {"sm_90a", 132, "NVIDIA H200"},
    {"sm_120", 188, "NVIDIA RTX PRO 6000 Blackwell"},
};

Words names_of_representatives() {
  Words names;
  for (const Representative &one : representatives) names.emplace_back(one.name);
  return names;
}

}  // namespace

Outcome<flashcore_device_info> representative_device(const std::string &arch) {
  for (const Representative &one : representatives) {
    if (arch != one.name) continue;
    flashcore_device_info device{};
    device.struct_size = sizeof(device);
    device.kind = FLASHCORE_DEVICE_CUDA;
    device.arch = arch_number(arch);
    device.multiprocessors = one.multiprocessors;
    device.shared_memory_per_block_optin_bytes = static_cast<int32_t>(shared_limit_bytes(arch));
    std::strncpy(device.name, one.device, sizeof(device.name) - 1);
    return device;
  }
  return usage_failure(fmt::format("architecture \"{}\" has no GPU that stands for it; allowed: {}{}", arch,
                                   listed(names_of_representatives()), did_you_mean(arch, names_of_representatives())));
}

Outcome<flashcore_model_info> model_of(const Shape &shape, const std::string &kernel,
                                       const flashcore_device_info &device) {
  const Args args = attention_args(shape, kernel);
  flashcore_model_info model{};
  model.struct_size = sizeof(model);
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (flashcore_kernel_model(&args, &device, &model, &error) != FLASHCORE_OK)
    return library_failure(fmt::format("ask the cost model about {}", problem_text(shape)), error);
  return model;
}

const char *bound_word(const flashcore_model_info &model) {
  if (model.latency_us > model.throughput_us) return "latency";
  const std::pair<const char *, double> units[] = {{"tensor cores", model.tensor_us},
                                                   {"exponentials", model.mufu_us},
                                                   {"issue slots", model.issue_us},
                                                   {"shared memory", model.shared_us},
                                                   {"L2", model.l2_us}};
  return std::max_element(std::begin(units), std::end(units),
                          [](const auto &a, const auto &b) { return a.second < b.second; })
      ->first;
}

bool model_is_fitted(int32_t arch) { return arch == 90; }

}  // namespace flashcore::tools
