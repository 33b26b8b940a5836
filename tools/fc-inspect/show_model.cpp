// SPDX-License-Identifier: Apache-2.0
//
// fc-inspect show --model ARCH: what the cost model says of a shape on the GPU that stands for an architecture, for the model's
// own choice or for a kernel or a module that is named. No module file is needed.
#include <fmt/format.h>

#include "../common/model.hpp"
#include "inspect.hpp"

namespace flashcore::tools {
namespace {

Outcome<Shape> asked_shape(const Options &options) {
  if (options.has("shape")) return parse_shape(options.text("shape"), "option --shape");
  return parse_shape("mission 1 8 8 512 512 64 fp16 none", "the mission shape");
}

Json model_json(const Shape &shape, const flashcore_device_info &device, const flashcore_model_info &model) {
  Json json = schema_json("model");
  json["device"] = device.name;
  json["arch"] = device.arch;
  json["multiprocessors"] = device.multiprocessors;
  json["fitted"] = model_is_fitted(device.arch);
  json["shape"] = problem_text(shape);
  json["module"] = model.module;
  json["blocks_per_multiprocessor"] = model.blocks_per_multiprocessor;
  json["waves"] = model.waves;
  for (const auto &[key, value] : {std::pair{"launch_us", model.launch_us},
                                   {"tensor_us", model.tensor_us},
                                   {"mufu_us", model.mufu_us},
                                   {"issue_us", model.issue_us},
                                   {"shared_us", model.shared_us},
                                   {"l2_us", model.l2_us},
                                   {"throughput_us", model.throughput_us},
                                   {"latency_us", model.latency_us},
                                   {"merge_us", model.merge_us},
                                   {"total_us", model.total_us}})
    json[key] = value;
  json["bound"] = bound_word(model);
  return json;
}

std::string model_text(const Console &console, const Shape &shape, const flashcore_device_info &device,
                       const flashcore_model_info &model) {
  const auto us = [](double value) {
    return value > 0 ? fmt::format("{:.2f} us", value) : std::string("not modelled");
  };
  FieldList fields;
  fields.add("device", fmt::format("{}, {} multiprocessors", device.name, device.multiprocessors));
  fields.add("model", model_is_fitted(device.arch) ? "fitted on this architecture"
                                                   : "a prediction: nothing was measured on this architecture");
  fields.add("module", model.module);
  fields.add("blocks", fmt::format("{} resident on a multiprocessor, {:.2f} waves", model.blocks_per_multiprocessor,
                                   model.waves));
  fields.add("tensor cores", us(model.tensor_us));
  fields.add("exponentials", us(model.mufu_us));
  fields.add("issue slots", us(model.issue_us));
  fields.add("shared memory", us(model.shared_us));
  fields.add("L2", us(model.l2_us));
  fields.add("together", fmt::format("{:.2f} us, with what the units cost each other", model.throughput_us));
  fields.add("latency", fmt::format("{:.2f} us, the steps of a block one after the other", model.latency_us));
  fields.add("launch", us(model.launch_us));
  if (model.merge_us > 0) fields.add("merge", fmt::format("{:.2f} us, a second launch", model.merge_us));
  const double tflops = attention_flop(shape) / model.total_us * 1e-6;
  fields.add("total", fmt::format("{:.2f} us, {:.1f} TFLOP/s; bound by {}", model.total_us, tflops, bound_word(model)),
             Mark::good);
  return fmt::format("{}\n{}", console.paint(Mark::heading, problem_text(shape)), fields.render(console));
}

}  // namespace

Outcome<int> show_model(const InspectCall &call) {
  const Words names = call.options.words("argument");
  if (names.size() > 1)
    return usage_failure(
        fmt::format("show --model takes at most one kernel or module, but {} were given", names.size()));
  const std::string kernel = names.empty() ? std::string() : names[0];
  flashcore_error error = FLASHCORE_ERROR_INIT;
  if (!kernel.empty() && flashcore_kernel_check_name(kernel.c_str(), &error) != FLASHCORE_OK)
    return usage_failure(error.message);
  TOOLS_TRY_ASSIGN(const flashcore_device_info device, representative_device(call.options.text("model")));
  TOOLS_TRY_ASSIGN(const Shape shape, asked_shape(call.options));
  TOOLS_TRY_ASSIGN(const flashcore_model_info model, model_of(shape, kernel, device));
  if (call.json.wanted()) TOOLS_TRY(write_json(call, model_json(shape, device, model)));
  if (!call.json.on_stdout()) call.console.print(model_text(call.console, shape, device, model));
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
