// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect doctor: what the library would use in this place and what to do where something is missing, then its
// kernels. The sentences are the library's; the JSON also has the devices as numbers.
#include <fmt/format.h>

#include "inspect.hpp"

namespace flashcore::tools {
namespace {

struct Devices {
  std::vector<flashcore_device_info> found;
  std::string remark;  // why there is none, or why one could not be described
};

Devices find_devices() {
  Devices devices;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  int32_t count = 0;
  flashcore_device_info info{};
  info.struct_size = sizeof(info);
  if (flashcore_device_count(&count, &error) != FLASHCORE_OK ||
      (count == 0 && flashcore_device_describe(0, &info, &error) != FLASHCORE_OK))
    devices.remark = error.message;
  for (int32_t ordinal = 0; ordinal < count; ++ordinal) {
    if (flashcore_device_describe(ordinal, &info, &error) == FLASHCORE_OK)
      devices.found.push_back(info);
    else
      devices.remark = fmt::format("device {}: {}", ordinal, error.message);
  }
  return devices;
}

std::vector<flashcore_kernel_info> find_kernels() {
  std::vector<flashcore_kernel_info> kernels;
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info info{};
    info.struct_size = sizeof(info);
    if (flashcore_kernel_describe(index, &info, nullptr) == FLASHCORE_OK) kernels.push_back(info);
  }
  return kernels;
}

std::string arch_range(const flashcore_kernel_info &kernel) {
  if (kernel.maximum_arch == 0) return fmt::format("sm_{} and later", kernel.minimum_arch);
  if (kernel.maximum_arch == kernel.minimum_arch) return fmt::format("sm_{}", kernel.minimum_arch);
  return fmt::format("sm_{} to sm_{}", kernel.minimum_arch, kernel.maximum_arch);
}

Json environment_json(const std::string &environment, const Devices &devices,
                      const std::vector<flashcore_kernel_info> &kernels) {
  Json json = schema_json("doctor");
  uint32_t version = flashcore_version();
  json["version"] = fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  json["environment"] = environment;
  json["devices"] = Json::array();
  for (const flashcore_device_info &device : devices.found)
    json["devices"].push_back(Json{{"ordinal", device.ordinal},
                                   {"name", device.name},
                                   {"arch", fmt::format("sm_{}", device.arch)},
                                   {"multiprocessors", device.multiprocessors},
                                   {"memory_bytes", device.memory_bytes},
                                   {"shared_memory_per_block_optin_bytes", device.shared_memory_per_block_optin_bytes},
                                   {"driver_version", device.driver_version}});
  json["device_remark"] = devices.remark;
  json["kernels"] = Json::array();
  for (const flashcore_kernel_info &kernel : kernels)
    json["kernels"].push_back(Json{{"name", kernel.name},
                                   {"summary", kernel.summary},
                                   {"minimum_arch", kernel.minimum_arch},
                                   {"maximum_arch", kernel.maximum_arch},
                                   {"specializations", kernel.specializations}});
  return json;
}

}  // namespace

Outcome<int> show_environment(const InspectCall &call) {
  TOOLS_TRY_ASSIGN(std::string environment, describe_environment(call.context));
  Devices devices = find_devices();
  std::vector<flashcore_kernel_info> kernels = find_kernels();
  if (call.json.wanted()) TOOLS_TRY(write_json(call, environment_json(environment, devices, kernels)));
  if (call.json.on_stdout()) return static_cast<int>(exit_ok);
  const Console &console = call.console;
  console.print(fmt::format("{}\n{}", console.paint(Mark::heading, "What flashcore would use here"),
                            environment_fields(environment).render(console)));
  FieldList table;
  for (const flashcore_kernel_info &kernel : kernels)
    table.add(kernel.name, fmt::format("{} ({}; {} modules for each architecture)", kernel.summary, arch_range(kernel),
                                       kernel.specializations));
  console.print(fmt::format("\n{}\n{}", console.paint(Mark::heading, "Kernels"), table.render(console)));
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
