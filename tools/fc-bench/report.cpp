// SPDX-License-Identifier: Apache-2.0
//
// Results for people: what was measured on what, one block of lines per shape, and what could not be measured and why.
#include <fmt/format.h>

#include <algorithm>

#include "../common/statistics.hpp"
#include "bench.hpp"

namespace flashcore::tools {
namespace {

std::string microseconds(double value) {
  return fmt::format("{:.{}f}", value, value < 100 ? 2 : value < 10000 ? 1 : 0);
}
std::string rate(double value) { return value < 1000 ? fmt::format("{:.3g}", value) : fmt::format("{:.0f}", value); }
std::string percent(double share) { return fmt::format("{:.1f}", share * 100); }

std::string kernel_text(const std::string &asked, const std::string &kernel) {
  return asked == "auto" && !kernel.empty() ? "auto: " + kernel : kernel.empty() ? asked : kernel;
}

std::string state_text(const GpuState &state) {
  if (state.fields.empty()) return state.unavailable.empty() ? "not asked" : state.unavailable;
  std::string text;
  for (const auto &[name, value] : state.fields)
    if (name != "name" && name != "driver_version")
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, value);
  return text;
}

std::string driver_text(const Results &results) {
  const int32_t version = results.context.device.driver_version;
  std::string text = fmt::format("CUDA {}.{}", version / 1000, version % 1000 / 10);
  for (const auto &[name, value] : results.before.fields)
    if (name == "driver_version") text += fmt::format(", NVIDIA driver {}", value);
  return text;
}

void add_peak(const Results &results, FieldList &fields) {
  const VendorPeak *peak = find_vendor_peak(results.context.device);
  if (peak != nullptr)
    fields.add("vendor peak",
               fmt::format("{:.5g} TFLOP/s, {:.5g} GB/s ({})", peak->tensor_tflops, peak->memory_gbytes, peak->source));
  else
    fields.add("vendor peak", "not known for this device, so no shares of it");
}

std::string header_text(const Results &results, const Console &console) {
  FieldList fields;
  const flashcore_device_info &device = results.context.device;
  if (results.on_gpu()) {
    fields.add("device", fmt::format("{} (cuda:{}, sm_{}, {} SMs)", device.name, device.ordinal, device.arch,
                                     device.multiprocessors));
    fields.add("driver", driver_text(results));
    fields.add("before", state_text(results.before));
    fields.add("after", state_text(results.after));
    add_peak(results, fields);
  } else {
    fields.add("device", fmt::format("{}, {}", device.name, results.host_cpu));
  }
  if (results.context.device_reason[0] != '\0') fields.add("because", results.context.device_reason);
  fields.add("commit", results.commit);
  fields.add("inputs", fmt::format("random normal, seed {}", results.seed));
  if (results.event_pair_us)
    fields.add(
        "clock",
        fmt::format("GPU events; two of them with nothing between are {:.2f} us apart, which warm and cold include",
                    *results.event_pair_us));
  else if (results.action == Action::measure)
    fields.add("clock", "host; wall time of the call");
  if (!results.stopped.empty()) fields.add("stopped", results.stopped, Mark::bad);
  if (results.interrupted) fields.add("interrupted", "what follows is what was done until then", Mark::warning);
  return console.paint(Mark::heading, "fc-bench") + "\n" + fields.render(console);
}

// --- Rows of shapes ------------------------------------------------------------------------------------------------

Cell check_cell(const CheckResult &check) {
  if (!check.done) return {"-"};
  return check.passed() ? Cell{"ok", Mark::good} : Cell{"FAILED", Mark::bad};
}

std::vector<Cell> row_cells(const Row &row, const VendorPeak *peak) {
  const SampleSummary time = summarise(row.samples_us);
  const double tflops = attention_flop(row.shape) / time.p50 / 1e6,
               gbytes = attention_bytes(row.shape) / time.p50 / 1e3;
  return {{kernel_text(row.kernel_asked, row.kernel)},
          {row.mode},
          {fmt::format("{}", row.samples_us.size())},
          {microseconds(time.p50)},
          {microseconds(time.p90)},
          {microseconds(time.p99)},
          {rate(tflops)},
          {peak == nullptr ? "-" : percent(tflops / peak->tensor_tflops)},
          {rate(gbytes)},
          {peak == nullptr ? "-" : percent(gbytes / peak->memory_gbytes)},
          {row.host_us.empty() ? "-" : microseconds(median(row.host_us))},
          {row.model_us > 0 ? microseconds(row.model_us) : "-"},
          check_cell(row.check)};
}

// One table, so that all blocks have the same columns: a heading goes before the first row of each shape.
std::string rows_text(const Results &results, const Console &console) {
  const VendorPeak *peak = results.on_gpu() ? find_vendor_peak(results.context.device) : nullptr;
  Table table({{"kernel", Align::left},
               {"mode", Align::left},
               {"n"},
               {"p50\nus"},
               {"p90\nus"},
               {"p99\nus"},
               {"TFLOP\n/s"},
               {"% of\npeak"},
               {"GB/s"},
               {"% of\npeak"},
               {"host\nus"},
               {"model\nus"},
               {"check", Align::left}});
  std::vector<const Row *> shown;
  for (const Row &row : results.rows)
    if (row.status == RowStatus::ok) shown.push_back(&row);
  if (shown.empty()) return "";
  for (const Row *row : shown) table.add_row(row_cells(*row, peak));
  const std::vector<std::string> lines = table.render_rows(console, 2);
  std::string text = table.render_header(console, 2);
  for (size_t i = 0; i < shown.size(); ++i) {
    const Shape &shape = shown[i]->shape;
    if (i == 0 || !shape.same_problem(shown[i - 1]->shape))
      text += fmt::format("{}: {}\n", console.paint(Mark::heading, shape.name), problem_text(shape));
    text += lines[i];
  }
  return text;
}

std::string check_problem(const Row &row) {
  const CheckResult &check = row.check;
  std::string text = check.problem;
  if (!check.gate.passes(check.error))
    text +=
        fmt::format("{}error {}; allowed {}", text.empty() ? "" : "\n", check.error.describe(), check.gate.describe());
  if (!(check.lse_ratio <= 1))
    text += fmt::format("{}LSE is at {:.3g} of its gate", text.empty() ? "" : "\n", check.lse_ratio);
  return text;
}

// What could not be measured or was wrong, once for all modes of a shape and kernel that say the same.
struct Trouble {
  std::string who, modes, text;
  bool refused;
};

std::vector<Trouble> find_troubles(const Results &results) {
  std::vector<Trouble> troubles;
  for (const Row &row : results.rows) {
    if (row.status == RowStatus::ok && row.check.passed()) continue;
    const std::string text = row.status == RowStatus::ok ? "check failed: " + check_problem(row) : row.reason;
    const std::string who = fmt::format("{}, {}", row.shape.name, kernel_text(row.kernel_asked, row.kernel));
    Trouble *last = troubles.empty() ? nullptr : &troubles.back();
    if (last != nullptr && last->who == who && last->text == text)
      last->modes += ", " + row.mode;
    else
      troubles.push_back({who, row.mode, text, row.status == RowStatus::refused});
  }
  return troubles;
}

std::string problems_text(const Results &results, const Console &console) {
  FieldList refused, failed;
  bool any_refused = false, any_failed = false;
  for (const Trouble &trouble : find_troubles(results)) {
    const std::string who = trouble.modes.empty() ? trouble.who : fmt::format("{} ({})", trouble.who, trouble.modes);
    (trouble.refused ? refused : failed).add(who, trouble.text, trouble.refused ? Mark::plain : Mark::bad);
    (trouble.refused ? any_refused : any_failed) = true;
  }
  std::string text;
  if (any_refused) text += "\n" + console.paint(Mark::heading, "refused") + "\n" + refused.render(console);
  if (any_failed) text += "\n" + console.paint(Mark::heading, "failed") + "\n" + failed.render(console);
  return text;
}

// --- Starts and host cost ------------------------------------------------------------------------------------------

std::string startup_text(const Results &results, const Console &console) {
  Table table({{"case", Align::left},
               {"n"},
               {"process\nstart"},
               {"context\ncreate"},
               {"buffers"},
               {"first\ncall"},
               {"of it in\nNVRTC"},
               {"second\ncall"},
               {"first\nresult"},
               {"served by", Align::left}});
  FieldList problems;
  bool any = false;
  for (const StartupResult &result : results.startup) {
    const auto middle = [&](auto value) {
      std::vector<double> values;
      for (const StartupRun &run : result.runs) values.push_back(value(run));
      return format_duration_us(median(std::move(values)));
    };
    const bool alone = result.what == StartupCase::driver_alone;
    if (!result.runs.empty())
      table.add_row(
          {{startup_word(result.what)},
           {fmt::format("{}", result.runs.size())},
           {middle([](const StartupRun &run) { return run.start_us; })},
           {middle([](const StartupRun &run) { return run.create_us; })},
           {alone ? "-" : middle([](const StartupRun &run) { return run.buffers_us; })},
           {alone ? "-" : middle([](const StartupRun &run) { return run.first_us; })},
           {result.served_by != "compiled" ? "-" : middle([](const StartupRun &run) { return run.compile_us; })},
           {alone ? "-" : middle([](const StartupRun &run) { return run.second_us; })},
           {alone ? "-" : middle([](const StartupRun &run) { return run.total_us(); })},
           {result.served_by.empty() ? "-" : result.served_by}});
    if (!result.problem.empty()) problems.add(startup_word(result.what), result.problem, Mark::bad), any = true;
  }
  std::string text = table.render(console, 2);
  if (any) text += "\n" + console.paint(Mark::heading, "failed") + "\n" + problems.render(console);
  return text;
}

std::string host_cost_text(const Results &results, const Console &console) {
  Table table({{"shape", Align::left},
               {"kernel", Align::left},
               {"calls"},
               {"call\np50 us"},
               {"call\np90 us"},
               {"launch\np50 us"},
               {"launch\np90 us"},
               {"difference\nof p50, us"}});
  FieldList problems;
  bool any = false;
  for (const HostCostRow &row : results.host_cost) {
    const std::string kernel = kernel_text(row.kernel_asked, row.kernel);
    if (row.status != RowStatus::ok) {
      problems.add(fmt::format("{}, {}: {}", row.shape.name, kernel, status_word(row.status)), row.reason,
                   row.status == RowStatus::failed ? Mark::bad : Mark::plain);
      any = true;
      continue;
    }
    const SampleSummary call = summarise(row.call_us), launch = summarise(row.launch_us);
    table.add_row({{row.shape.name},
                   {kernel},
                   {fmt::format("{}", row.call_us.size())},
                   {fmt::format("{:.3f}", call.p50)},
                   {fmt::format("{:.3f}", call.p90)},
                   {fmt::format("{:.3f}", launch.p50)},
                   {fmt::format("{:.3f}", launch.p90)},
                   {fmt::format("{:+.3f}", call.p50 - launch.p50)}});
  }
  std::string text = table.render(console, 2);
  if (any) text += "\n" + console.paint(Mark::heading, "not measured") + "\n" + problems.render(console);
  return text;
}

}  // namespace

std::string results_text(const Results &results, const Console &console) {
  const std::string header = header_text(results, console) + "\n";
  switch (results.action) {
    case Action::startup:
      return header + startup_text(results, console);
    case Action::host_cost:
      return header + host_cost_text(results, console);
    default:
      return header + rows_text(results, console) + problems_text(results, console);
  }
}

}  // namespace flashcore::tools
