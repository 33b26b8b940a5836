// SPDX-License-Identifier: Apache-2.0
//
// --verify: the rows of a table against what the library chooses without them, timed in turns.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "../common/output_file.hpp"
#include "timing.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Verified {
  double default_us = 0, row_us = 0;
  Verdict verdict = Verdict::same;
};

Outcome<Verified> verify_row(const Request &request, const TuningDevice &device, Sampler &sampler, const Row &row,
                             const Shape &shape) {
  TOOLS_TRY_ASSIGN(const Seeds seeds, seeds_of(device.context, shape));
  TOOLS_TRY_ASSIGN(ShapeClock clock, ShapeClock::make(device, sampler, shape, static_cast<int64_t>(request.seed)));
  TOOLS_TRY_ASSIGN(const ShapeClock::Duel duel, clock.duel(seeds.default_module, row.module));
  if (interrupted()) return Failure{exit_interrupted, "stopped"};
  return Verified{median(duel.first_us), median(duel.second_us),
                  judge(duel.first_us, duel.second_us, request.threshold)};
}

}  // namespace

Outcome<int> run_verify(const Request &request, const Console &console, JsonOutput &json) {
  TOOLS_TRY_ASSIGN(const TuningDevice device, TuningDevice::open(request.context));
  const std::string path = request.output.empty() ? default_table(device.arch) : request.output;
  std::error_code code;
  if (!std::filesystem::exists(path, code))
    return input_failure(
        fmt::format("there is no table {}; name one with --output, or run where ptx_cache/tuned is", path));
  TOOLS_TRY_ASSIGN(const std::vector<Row> rows, read_table(path));
  TOOLS_TRY_ASSIGN(Sampler sampler, Sampler::make(device.context, true));
  Table table({{"problem", Align::left},
               {"default\nus"},
               {"row\nus"},
               {"ratio"},
               {"verdict", Align::left},
               {"module", Align::left}});
  Json results{{"schema", "flashcore.tune.verify/1"},
               {"device", device.info.name},
               {"arch", device.arch},
               {"table", path},
               {"rows", Json::array()}};
  int64_t done = 0, slower = 0, faster = 0, failed = 0;
  std::optional<Failure> lost;
  {
    Progress progress(console, "verifying");
    for (const Row &row : rows) {
      if (interrupted() || lost) break;
      const Shape shape = shape_of(row, fmt::format("row {}", done + 1));
      progress.update(done, static_cast<int64_t>(rows.size()), problem_text(shape));
      const Outcome<Verified> one = verify_row(request, device, sampler, row, shape);
      if (interrupted()) break;
      ++done;
      if (!one.ok()) {
        const std::string &why = one.failure().message;
        results["rows"].push_back(Json{{"problem", problem_text(shape)}, {"module", row.module}, {"error", why}});
        table.add_row({{problem_text(shape)}, {}, {}, {}, {"FAILED", Mark::bad}, {why.substr(0, why.find('\n'))}});
        ++failed;
        Step alive = sampler.stream().synchronize();
        if (!alive.ok()) lost = std::move(alive.failure());
        continue;
      }
      const Verified &verified = one.value();
      results["rows"].push_back(Json{{"problem", problem_text(shape)},
                                     {"module", row.module},
                                     {"default_us", verified.default_us},
                                     {"row_us", verified.row_us},
                                     {"verdict", verdict_word(verified.verdict)}});
      slower += verified.verdict == Verdict::slower ? 1 : 0, faster += verified.verdict == Verdict::faster ? 1 : 0;
      table.add_row({{problem_text(shape)},
                     {fmt::format("{:.2f}", verified.default_us)},
                     {fmt::format("{:.2f}", verified.row_us)},
                     {fmt::format("{:.3f}", verified.row_us / verified.default_us)},
                     verdict_cell(verified.verdict),
                     {row.module}});
    }
  }
  results.update(Json{{"interrupted", interrupted()},
                      {"verified", done},
                      {"of", rows.size()},
                      {"faster", faster},
                      {"slower", slower},
                      {"failed", failed}});
  if (json.wanted()) TOOLS_TRY(json.write(console, results.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  if (!json.on_stdout())
    console.print(fmt::format("{}\n{}{} of {} rows verified: {} faster than without them, {} slower, {} failed\n",
                              console.paint(Mark::heading, fmt::format("{} on {}", printable(path), device.info.name)),
                              table.render(console, 2), done, rows.size(), faster, slower, failed));
  if (lost) return *lost;
  if (interrupted()) return static_cast<int>(exit_interrupted);
  return static_cast<int>(slower + failed > 0 ? exit_failed_check : exit_ok);
}

}  // namespace flashcore::tools
