// SPDX-License-Identifier: Apache-2.0
//
// --startup, the child's side: one start, from opening the device to the second result, timed and printed as JSON.
// Inputs are made and the result is checked outside of the times.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "../common/check.hpp"
#include "../common/cuda_graph.hpp"
#include "../common/inputs.hpp"
#include "opened_device.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

// By the context's own counters.
const char *serving_layer(const ContextInfo &info) {
  if (info.device.kind != FLASHCORE_DEVICE_CUDA) return "";
  if (info.modules_compiled > 0) return "compiled";
  if (info.modules_from_user_cache > 0) return "user cache";
  if (info.modules_from_shipped > 0) return "shipped";
  return "none";
}

void add_device(const ContextInfo &info, Json &json) {
  json["device_kind"] = info.device.kind;
  json["device_ordinal"] = info.device.ordinal;
  json["device_arch"] = info.device.arch;
  json["device_multiprocessors"] = info.device.multiprocessors;
  json["device_driver_version"] = info.device.driver_version;
  json["device_name"] = info.device.name;
  json["device_reason"] = info.device_reason;
  json["nvrtc_version"] = info.nvrtc_version;
  json["compile_us"] = info.compile_us;
  json["served_by"] = serving_layer(info);
}

Outcome<double> timed_call_us(const Stream &stream, const Args &args) {
  const double begin_us = clock_us();
  TOOLS_TRY(stream.attend(args));
  TOOLS_TRY(stream.synchronize());
  return clock_us() - begin_us;
}

// As a program that uses the library does it: open, stream, memory and inputs, call, call again.
Step start(const Request &request, Json &json) {
  const Shape &shape = request.shapes.front();
  const std::string &kernel = request.kernels.back();
  const HostTensors host = draw_tensors(NormalBits(shape.dtype), shape, request.seed, 0);
  double begin_us = clock_us();
  TOOLS_TRY_ASSIGN(const Context context, Context::open(request.context));
  json["create_us"] = clock_us() - begin_us;

  begin_us = clock_us();
  TOOLS_TRY_ASSIGN(const Stream stream, Stream::make(context, 0));
  TOOLS_TRY_ASSIGN(const TensorSet set, TensorSet::make(context, host));
  TOOLS_TRY_ASSIGN(const Buffer lse_buffer, make_lse(context, shape));
  json["buffers_us"] = clock_us() - begin_us;

  Args args = attention_args(shape, kernel);
  set.use_in(args);
  args.lse.data = lse_buffer.address();
  TOOLS_TRY_ASSIGN(json["first_us"], timed_call_us(stream, args));
  TOOLS_TRY_ASSIGN(json["second_us"], timed_call_us(stream, args));

  std::vector<uint16_t> output(host.query.size());
  std::vector<float> lse(static_cast<size_t>(lse_buffer.bytes()) / sizeof(float));
  TOOLS_TRY(set.output.download(output.data()));
  TOOLS_TRY(lse_buffer.download(lse.data()));
  const CheckResult check = check_output(shape, compute_reference(shape, host), output, lse);
  if (!check.passed()) json["problem"] = fmt::format("the result is wrong: error {}", check.error.describe());
  TOOLS_TRY_ASSIGN(const ContextInfo info, context.describe());
  add_device(info, json);
  json["module"] = explain_kernel(context, shape, kernel).module;
  if (const Outcome<GraphDriver> driver = GraphDriver::load();
      driver.ok() && driver.value().make_current(stream.get()).ok()) {
    const Outcome<std::string> bus_id = driver.value().pci_bus_id();
    if (bus_id.ok()) json["bus_id"] = bus_id.value();
  }
  return Done{};
}

}  // namespace

Outcome<int> run_startup_child(const Request &request, double main_us, const Console &console) {
  Json json{{"main_us", main_us}};
  if (*request.startup_child == StartupCase::driver_alone) {
    TOOLS_TRY_ASSIGN(json["create_us"], start_driver_alone_us(request.context.device_ordinal));
  } else {
    TOOLS_TRY(start(request, json));
  }
  console.print(json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
  return static_cast<int>(exit_ok);
}

}  // namespace flashcore::tools
