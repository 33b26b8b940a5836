// SPDX-License-Identifier: Apache-2.0
//
// Clocks, power and temperature as nvidia-smi tells them. It is only asked; it is never told to change anything.
#include <fmt/format.h>

#include <sstream>

#include "child_process.hpp"
#include "measuring.hpp"

namespace flashcore::tools {
namespace {

constexpr int timeout_seconds = 20;
// The last field has had two names; a field that nvidia-smi does not know makes it refuse all of them.
constexpr const char *field_lists[] = {
    "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,"
    "clocks_event_reasons.active",
    "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu,"
    "clocks_throttle_reasons.active",
    "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,power.draw,power.limit,temperature.gpu"};

Words split_at_commas(const std::string &line) {
  Words parts;
  std::istringstream rest(line);
  for (std::string part; std::getline(rest, part, ',');) {
    part.erase(0, part.find_first_not_of(' '));
    part.erase(part.find_last_not_of(" \r\n") + 1);
    parts.push_back(part);
  }
  return parts;
}

std::string first_line(const FinishedProcess &finished) {
  const std::string &text = finished.err.empty() ? finished.out : finished.err;
  return text.substr(0, text.find('\n'));
}

}  // namespace

GpuState read_gpu_state(const std::string &gpu) {
  GpuState state;
  for (const char *list : field_lists) {
    const Outcome<FinishedProcess> asked = run_process(
        {"nvidia-smi", "--id=" + gpu, std::string("--query-gpu=") + list, "--format=csv,noheader"}, timeout_seconds);
    if (!asked.ok()) return {{}, asked.failure().message};
    if (asked.value().timed_out) return {{}, fmt::format("nvidia-smi did not answer within {} s", timeout_seconds)};
    if (asked.value().exit_code != 0) {
      state.unavailable =
          fmt::format("nvidia-smi ended with {}: {}", asked.value().exit_code, first_line(asked.value()));
      continue;
    }
    const Words names = split_at_commas(list), values = split_at_commas(asked.value().out);
    if (values.size() != names.size())
      return {{},
              fmt::format("nvidia-smi gave {} values for {} fields: {}", values.size(), names.size(),
                          first_line(asked.value()))};
    for (size_t i = 0; i < names.size(); ++i) state.fields.emplace_back(names[i], values[i]);
    state.unavailable.clear();
    return state;
  }
  return state;
}

}  // namespace flashcore::tools
