// SPDX-License-Identifier: Apache-2.0
#include "opened_device.hpp"

#include <flashcore/flashcore_inspect.h>
#include <fmt/format.h>

#include <sstream>

namespace flashcore::tools {
namespace {

// The selector has a line for every kernel, "name: reason". Who asked for one kernel, or a module of it, wants its line only;
// a refusal that is not the selector's is a sentence of its own.
std::string reason_of(const std::string &reasons, const std::string &kernel_or_module) {
  const std::string kernel = kernel_or_module.substr(0, kernel_or_module.find('-'));
  std::istringstream lines(reasons);
  for (std::string line; !kernel.empty() && std::getline(lines, line);)
    if (line.starts_with(kernel + ": ")) return line.substr(kernel.size() + 2);
  return reasons.substr(0, reasons.find_last_not_of('\n') + 1);
}

}  // namespace

Outcome<OpenedDevice> open_device(const Request &request, Results &results) {
  TOOLS_TRY_ASSIGN(Context context, Context::open(request.context));
  TOOLS_TRY_ASSIGN(const ContextInfo info, context.describe());
  results.context = info;
  return OpenedDevice{std::move(context), info};
}

std::string kernel_word(const std::string &kernel) { return kernel.empty() ? "auto" : kernel; }

Explained explain_kernel(const Context &context, const Shape &shape, const std::string &kernel) {
  Explained explained;
  explained.kernel = kernel;
  const Outcome<flashcore_attention_explanation> answer = context.explain(attention_args(shape, kernel));
  if (!answer.ok()) {
    explained.reason = answer.failure().message;
    return explained;
  }
  explained.supported = answer.value().supported != 0;
  explained.module = answer.value().module;
  if (explained.supported) {
    explained.kernel = answer.value().kernel;
    return explained;
  }
  explained.reason = reason_of(answer.value().reasons, kernel);
  return explained;
}

Outcome<Words> known_kernels() {
  Words names;
  flashcore_error error = FLASHCORE_ERROR_INIT;
  for (int32_t i = 0; i < flashcore_kernel_count(); ++i) {
    flashcore_kernel_info info{};
    info.struct_size = sizeof(info);
    if (flashcore_kernel_describe(i, &info, &error) != FLASHCORE_OK) return library_failure("list the kernels", error);
    if (info.operation == FLASHCORE_OPERATION_ATTENTION_FWD) names.emplace_back(info.name);
  }
  return names;
}

}  // namespace flashcore::tools
