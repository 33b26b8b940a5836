// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect doctor: what the library would use in this place and what to do where something is missing, a verdict, which is what becomes of
// a small call, and the kernels. The sentences are the library's; the JSON also has the devices as numbers.
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

struct Verdict {
  std::string text;
  bool works = false;
};

const char *source_of(const flashcore_context_info &info) {
  if (info.modules_compiled > 0) return "compiled now";
  return info.modules_from_user_cache > 0 ? "from the user cache" : "shipped";
}

// Everything that comes before the launch of a first call.
Verdict prepare_small_call(flashcore_context context, const flashcore_device_info &device,
                           const flashcore_context_info &reasons) {
  // Why there is no driver or no device stands above already.
  int32_t count = 0;
  const bool said = flashcore_device_count(&count, nullptr) != FLASHCORE_OK || count == 0;
  if (device.kind == FLASHCORE_DEVICE_CPU)
    return {fmt::format("calls are computed on the CPU device, {}: {}", device.name,
                        said ? "there is no usable GPU" : reasons.device_reason),
            true};
  flashcore_attention_args args = FLASHCORE_ATTENTION_ARGS_INIT;
  args.batch = 1, args.heads_q = 8, args.seqlen_q = 512, args.seqlen_kv = 512, args.head_dim = 64;
  args.query.dtype = FLASHCORE_DTYPE_FLOAT16;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_attention_explanation explanation{};
  explanation.struct_size = sizeof(explanation);
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  if (flashcore_attention_explain(context, &args, &explanation, &error) != FLASHCORE_OK ||
      flashcore_attention_prepare(context, &args, &error) != FLASHCORE_OK ||
      flashcore_context_describe(context, &info, &error) != FLASHCORE_OK)
    return {fmt::format("calls on {} fail: {}", device.name, error.message)};
  return {fmt::format("calls are computed on {}; {} was loaded, {}", device.name, explanation.module, source_of(info)),
          true};
}

Verdict judge(const flashcore_context_options &options) {
  flashcore_error error = FLASHCORE_ERROR_INIT;
  flashcore_context context = nullptr;
  if (flashcore_context_create(&options, &context, &error) != FLASHCORE_OK)
    return {fmt::format("no context can be made: {}", error.message)};
  flashcore_device_info device{};
  device.struct_size = sizeof(device);
  flashcore_context_info info{};
  info.struct_size = sizeof(info);
  Verdict verdict;
  if (flashcore_context_describe_device(context, &device, &error) != FLASHCORE_OK ||
      flashcore_context_describe(context, &info, &error) != FLASHCORE_OK)
    verdict = {fmt::format("a context says nothing of itself: {}", error.message)};
  else
    verdict = prepare_small_call(context, device, info);
  flashcore_context_destroy(context);
  return verdict;
}

Json environment_json(const std::string &environment, const Devices &devices, const Verdict &verdict,
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
  json["verdict"] = Json{{"works", verdict.works}, {"text", verdict.text}};
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
  const Verdict verdict = judge(call.context);
  const int code = verdict.works ? exit_ok : exit_failed_check;
  if (call.json.wanted()) TOOLS_TRY(write_json(call, environment_json(environment, devices, verdict, kernels)));
  if (call.json.on_stdout()) return code;
  const Console &console = call.console;
  FieldList fields = environment_fields(environment);
  fields.add("verdict", printable(verdict.text), verdict.works ? Mark::good : Mark::bad);
  console.print(
      fmt::format("{}\n{}", console.paint(Mark::heading, "What flashcore would use here"), fields.render(console)));
  FieldList table;
  for (const flashcore_kernel_info &kernel : kernels)
    table.add(kernel.name, fmt::format("{} ({}; {} modules for each architecture)", kernel.summary, arch_range(kernel),
                                       kernel.specializations));
  console.print(fmt::format("\n{}\n{}", console.paint(Mark::heading, "Kernels"), table.render(console)));
  return code;
}

}  // namespace flashcore::tools
