// SPDX-License-Identifier: Apache-2.0
//
// The searches: on a device, shape by shape within the budget, with a state that survives; and by the model alone.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "../common/model.hpp"
#include "../common/output_file.hpp"
#include "timing.hpp"

namespace flashcore::tools {
namespace {

// What of an earlier run still holds: a module's key covers its source, its headers and its options, and all modules of a kernel
// share those, so that one of each kernel tells.
void remember_state(const ShapeState &known, const flashcore_context_options &context, const std::string &arch, Search &search) {
  std::map<std::string, bool> kernel_is_current;
  for (const auto &[module, evaluation] : known.evaluations) {
    const std::string kernel = module.substr(0, module.find('-'));
    const auto key = known.keys.find(module);
    if (key == known.keys.end() || key->second.empty()) continue;
    if (kernel_is_current.count(kernel) == 0) {
      flashcore_module_info info{};
      info.struct_size = sizeof(info);
      const bool there = flashcore_module_obtain(&context, module.c_str(), arch.c_str(), &info, nullptr, nullptr, nullptr) == FLASHCORE_OK;
      kernel_is_current[kernel] = there && key->second == info.key;
    }
    if (kernel_is_current[kernel]) search.remember(module, evaluation);
  }
}

class TimedSearch {
 public:
  TimedSearch(const Request &request, const TuningDevice &device, Sampler &sampler, State &state, const std::string &state_path, Progress &progress)
      : request_(request), device_(device), sampler_(sampler), state_(state), state_path_(state_path), progress_(progress) {}

  // A failure: the device is lost, or a file cannot be written.
  Outcome<TunedShape> tune(const Shape &shape, int64_t shapes_done, double until_us);

 private:
  Step run_generations(ShapeClock &clock, Search &search, ShapeState &known, int64_t shapes_done, double until_us);
  void show(const Shape &shape, const Search &search, int64_t shapes_done, const char *step);

  const Request &request_;
  const TuningDevice &device_;
  Sampler &sampler_;
  State &state_;
  const std::string &state_path_;
  Progress &progress_;
};

void TimedSearch::show(const Shape &shape, const Search &search, int64_t shapes_done, const char *step) {
  const std::string best = search.best() == nullptr ? "nothing timed yet" : fmt::format("best {:.2f} us {}", search.best_us(), *search.best());
  progress_.update(shapes_done, static_cast<int64_t>(request_.shapes.size()),
                   fmt::format("{}, generation {}, {}, {} timed of {}, {}", shape.name, search.generation(), step, search.timed(),
                               search.evaluations().size(), best));
}

Step TimedSearch::run_generations(ShapeClock &clock, Search &search, ShapeState &known, int64_t shapes_done, double until_us) {
  const Shape &shape = clock.shape();
  while (!interrupted() && clock_us() < until_us) {
    const std::vector<Candidate> generation = search.next_generation();
    if (generation.empty()) {
      known.converged = true;
      break;
    }
    show(shape, search, shapes_done, "compiling");
    const std::vector<StaticResult> results =
        check_statically(generation, device_.info, device_.arch, request_.context, request_.jobs, request_.library_words);
    for (size_t i = 0; i < results.size() && !interrupted() && clock_us() < until_us; ++i) {
      const std::string module = generation[i].name();
      Evaluation evaluation{Fate::pruned, 0, results[i].pruned};
      if (results[i].pruned.empty()) {
        show(shape, search, shapes_done, "timing");
        Outcome<Evaluation> timed = clock.evaluate(module, search.best_us());
        if (!timed.ok() && timed.failure().exit_code == exit_interrupted) break;
        if (!timed.ok()) return std::move(timed.failure());
        evaluation = std::move(timed).value();
      }
      search.record(generation[i], evaluation);
      known.evaluations[module] = evaluation;
      known.keys[module] = results[i].info.key;
    }
    TOOLS_TRY(write_state(state_, state_path_));
  }
  return Done{};
}

Outcome<TunedShape> TimedSearch::tune(const Shape &shape, int64_t shapes_done, double until_us) {
  TunedShape tuned;
  tuned.shape = shape;
  const auto without = [&](const Failure &failure) {
    tuned.problem = failure.message;
    return tuned;
  };
  Outcome<Seeds> seeds = seeds_of(device_.context, shape);
  if (!seeds.ok()) return without(seeds.failure());
  tuned.default_module = tuned.best_module = seeds.value().default_module;
  Search search(seeds.value().candidates, request_.seed, request_.search);
  ShapeState &known = state_.of(shape);
  remember_state(known, request_.context, device_.arch, search);
  show(shape, search, shapes_done, "inputs and reference");
  Outcome<ShapeClock> clock = ShapeClock::make(device_, sampler_, shape, static_cast<int64_t>(request_.seed));
  if (!clock.ok()) return without(clock.failure());
  if (!known.converged || search.best() == nullptr) TOOLS_TRY(run_generations(clock.value(), search, known, shapes_done, until_us));
  tuned.timed = search.timed();
  tuned.pruned = static_cast<int64_t>(search.evaluations().size()) - tuned.timed;
  if (search.best() == nullptr) {
    if (interrupted()) return without({exit_interrupted, "stopped before anything was timed"});
    const auto first = search.evaluations().find(tuned.default_module);
    return without({exit_failed_check, fmt::format("no candidate could be timed; {}: {}", tuned.default_module,
                                                   first == search.evaluations().end() ? "not tried" : first->second.reason)});
  }
  tuned.best_module = *search.best();
  tuned.default_us = tuned.best_us = search.best_us();
  if (tuned.best_module == tuned.default_module || interrupted()) return tuned;
  show(shape, search, shapes_done, "against the default, in turns");
  const Outcome<ShapeClock::Duel> duel = clock.value().duel(tuned.default_module, tuned.best_module);
  if (!duel.ok()) return without(duel.failure());
  if (interrupted()) return tuned;
  tuned.default_us = median(duel.value().first_us);
  tuned.best_us = median(duel.value().second_us);
  tuned.verdict = judge(duel.value().first_us, duel.value().second_us, request_.threshold);
  return tuned;
}

std::string results_text(const std::vector<TunedShape> &tuned, const Console &console) {
  Table table({{"shape", Align::left}, {"timed"}, {"pruned"}, {"default\nus"}, {"best\nus"}, {"gain"}, {"module", Align::left}});
  for (const TunedShape &one : tuned) {
    if (!one.problem.empty()) {
      table.add_row({{one.shape.name}, {}, {}, {}, {}, {"-", Mark::bad}, {one.problem.substr(0, one.problem.find('\n')), Mark::bad}});
      continue;
    }
    const double gain = one.default_us / one.best_us - 1;
    table.add_row({{one.shape.name},
                   {fmt::format("{}", one.timed)},
                   {fmt::format("{}", one.pruned)},
                   {fmt::format("{:.2f}", one.default_us)},
                   {fmt::format("{:.2f}", one.best_us)},
                   one.better() ? Cell{fmt::format("{:.1f} %", gain * 100), Mark::good} : Cell{"none"},
                   {one.better() ? one.best_module : "the default: " + one.default_module}});
  }
  return table.render(console, 2);
}

Outcome<std::vector<Row>> read_table(const std::string &path) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) return std::vector<Row>{};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream content;
  if (!file || !(content << file.rdbuf())) return input_failure(fmt::format("{} cannot be read, or holds nothing", path));
  return parse_table(content.str(), path);
}

Step write_rows(const std::vector<TunedShape> &tuned, const std::string &path, const std::vector<Row> &older, const Console &console) {
  std::vector<Shape> tuned_now;
  std::vector<TunedShape> good;
  for (const TunedShape &one : tuned)
    if (one.problem.empty()) tuned_now.push_back(one.shape), good.push_back(one);
  if (tuned_now.empty()) return Done{};
  const std::vector<Row> newer = rows_of(good), rows = merged(older, newer, tuned_now);
  const std::string text = table_text(rows);
  TOOLS_TRY_ASSIGN(OutputFile file, OutputFile::plan("output", path));
  const HeldInterrupts held;
  TOOLS_TRY(file.write({reinterpret_cast<const uint8_t *>(text.data()), text.size()}));
  TOOLS_TRY(file.commit());
  console.note(fmt::format("{} new row{}, {} in {}; rebuild the library to use them", newer.size(), newer.size() == 1 ? "" : "s", rows.size(), path));
  return Done{};
}

std::string state_path(const Request &request, const std::string &arch, const char *kind) {
  if (request.state == "none") return {};
  return request.state.empty() ? fmt::format("tune-{}{}.json", kind, arch) : request.state;
}

}  // namespace

Outcome<int> run_search(const Request &request, const Console &console) {
  const double begin_us = clock_us();
  TOOLS_TRY_ASSIGN(const TuningDevice device, TuningDevice::open(request.context));
  const std::string table = request.output.empty() ? default_table(device.arch) : request.output;
  TOOLS_TRY_ASSIGN(const std::vector<Row> older, read_table(table));
  { TOOLS_TRY_ASSIGN(const OutputFile writable, OutputFile::plan("output", table)); }
  const std::string path = state_path(request, device.arch, "");
  TOOLS_TRY_ASSIGN(State state, read_state(path, {device.arch, device.info.name, false, {}}));
  TOOLS_TRY(write_state(state, path));
  TOOLS_TRY_ASSIGN(Sampler sampler, Sampler::make(device.context, true));
  std::vector<TunedShape> tuned;
  std::optional<Failure> stopped;
  {
    Progress progress(console, "tuning");
    TimedSearch search(request, device, sampler, state, path, progress);
    const double end_us = begin_us + request.budget_us;
    for (size_t i = 0; i < request.shapes.size() && !interrupted() && !stopped; ++i) {
      // What is left goes in equal parts to the shapes that are left.
      const double left_us = end_us - clock_us(), share_us = left_us / static_cast<double>(request.shapes.size() - i);
      Outcome<TunedShape> one = search.tune(request.shapes[i], static_cast<int64_t>(i), clock_us() + share_us);
      if (one.ok()) tuned.push_back(std::move(one).value());
      else stopped = std::move(one.failure());
    }
  }
  TOOLS_TRY(write_state(state, path));
  console.print(fmt::format("{}\n{}", console.paint(Mark::heading, fmt::format("fc-tune on {} ({})", device.info.name, device.arch)),
                            results_text(tuned, console)));
  TOOLS_TRY(write_rows(tuned, table, older, console));
  if (stopped) return *stopped;
  if (interrupted()) return static_cast<int>(exit_interrupted);
  const bool any_problem = std::any_of(tuned.begin(), tuned.end(), [](const TunedShape &one) { return !one.problem.empty(); });
  return static_cast<int>(any_problem ? exit_failed_check : exit_ok);
}

// The same search with the cost model for a clock. The static check is the same, so that what it finds fits the GPU.
Outcome<int> run_static_search(const Request &request, const Console &console) {
  const double begin_us = clock_us();
  TOOLS_TRY_ASSIGN(const flashcore_device_info device, representative_device(request.arch));
  const std::string path = state_path(request, request.arch, "static-");
  TOOLS_TRY_ASSIGN(State state, read_state(path, {request.arch, device.name, true, {}}));
  TOOLS_TRY(write_state(state, path));
  console.note(fmt::format("no GPU is used: candidates are compiled for {} and ranked by the cost model{}; nothing is measured and no row is written",
                           request.arch, model_is_fitted(device.arch) ? "" : ", which is a prediction there"));
  Table table({{"shape", Align::left}, {"ranked"}, {"pruned"}, {"default\nus"}, {"best\nus"}, {"module", Align::left}});
  bool failed = false;
  {
    Progress progress(console, "ranking by the model");
    for (size_t i = 0; i < request.shapes.size() && !interrupted(); ++i) {
      const Shape &shape = request.shapes[i];
      const double left_us = begin_us + request.budget_us - clock_us();
      const double until_us = clock_us() + left_us / static_cast<double>(request.shapes.size() - i);
      const Outcome<flashcore_model_info> chosen = model_of(shape, "", device);
      if (!chosen.ok()) {
        table.add_row({{shape.name}, {}, {}, {}, {}, {chosen.failure().message, Mark::bad}});
        failed = true;
        continue;
      }
      std::vector<Candidate> seeds;
      for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
        flashcore_kernel_info kernel{};
        kernel.struct_size = sizeof(kernel);
        flashcore_error error = FLASHCORE_ERROR_INIT;
        if (flashcore_kernel_describe(index, &kernel, &error) != FLASHCORE_OK) return library_failure("list the kernels", error);
        const Outcome<flashcore_model_info> own = model_of(shape, kernel.name, device);
        if (kernel.by_name_only != 0 || !own.ok()) continue;
        if (const auto candidate = parse_candidate(own.value().module)) seeds.push_back(*candidate);
      }
      Search search(seeds, request.seed, request.search);
      ShapeState &known = state.of(shape);
      remember_state(known, request.context, request.arch, search);
      while (!interrupted() && clock_us() < until_us) {
        const std::vector<Candidate> generation = search.next_generation();
        if (generation.empty()) break;
        progress.update(static_cast<int64_t>(i), static_cast<int64_t>(request.shapes.size()),
                        fmt::format("{}, generation {}, {} ranked, {}", shape.name, search.generation(), search.timed(),
                                    search.best() == nullptr ? "nothing yet" : fmt::format("best {:.2f} us {}", search.best_us(), *search.best())));
        const std::vector<StaticResult> results =
            check_statically(generation, device, request.arch, request.context, request.jobs, request.library_words);
        for (size_t k = 0; k < results.size(); ++k) {
          const std::string module = generation[k].name();
          Evaluation evaluation{Fate::pruned, 0, results[k].pruned};
          const Outcome<flashcore_model_info> model = model_of(shape, module, device);
          if (evaluation.reason.empty() && !model.ok()) evaluation.reason = model.failure().message;
          if (evaluation.reason.empty()) evaluation = {Fate::timed, model.value().total_us, ""};
          search.record(generation[k], evaluation);
          known.evaluations[module] = evaluation;
          known.keys[module] = results[k].info.key;
        }
        TOOLS_TRY(write_state(state, path));
      }
      const int64_t ranked = search.timed();
      failed = failed || search.best() == nullptr;
      table.add_row({{shape.name},
                     {fmt::format("{}", ranked)},
                     {fmt::format("{}", static_cast<int64_t>(search.evaluations().size()) - ranked)},
                     {fmt::format("{:.2f}", chosen.value().total_us)},
                     {search.best() == nullptr ? "-" : fmt::format("{:.2f}", search.best_us())},
                     {search.best() == nullptr ? "nothing could be ranked" : *search.best()}});
    }
  }
  console.print(fmt::format("{}\n{}", console.paint(Mark::heading, fmt::format("fc-tune by the model alone, for {} ({})", device.name, request.arch)),
                            table.render(console, 2)));
  if (interrupted()) return static_cast<int>(exit_interrupted);
  return static_cast<int>(failed ? exit_failed_check : exit_ok);
}

Outcome<int> run_verify(const Request &request, const Console &console) {
  TOOLS_TRY_ASSIGN(const TuningDevice device, TuningDevice::open(request.context));
  const std::string path = request.output.empty() ? default_table(device.arch) : request.output;
  std::error_code code;
  if (!std::filesystem::exists(path, code))
    return input_failure(fmt::format("there is no table {}; name one with --output, or run where ptx_cache/tuned is", path));
  TOOLS_TRY_ASSIGN(const std::vector<Row> rows, read_table(path));
  TOOLS_TRY_ASSIGN(Sampler sampler, Sampler::make(device.context, true));
  Table table({{"problem", Align::left}, {"default\nus"}, {"row\nus"}, {"ratio"}, {"verdict", Align::left}, {"module", Align::left}});
  int64_t done = 0, slower = 0, faster = 0, failed = 0;
  {
    Progress progress(console, "verifying");
    for (const Row &row : rows) {
      if (interrupted()) break;
      const Shape shape = shape_of(row, fmt::format("row {}", done + 1));
      progress.update(done, static_cast<int64_t>(rows.size()), problem_text(shape));
      const auto fail = [&](const std::string &why) {
        table.add_row({{problem_text(shape)}, {}, {}, {}, {"FAILED", Mark::bad}, {why.substr(0, why.find('\n'))}});
        ++failed, ++done;
      };
      const Outcome<Seeds> seeds = seeds_of(device.context, shape);
      if (!seeds.ok()) {
        fail(seeds.failure().message);
        continue;
      }
      Outcome<ShapeClock> clock = ShapeClock::make(device, sampler, shape, static_cast<int64_t>(request.seed));
      if (!clock.ok()) {
        fail(clock.failure().message);
        continue;
      }
      const Outcome<ShapeClock::Duel> duel = clock.value().duel(seeds.value().default_module, row.module);
      if (!duel.ok()) {
        fail(duel.failure().message);
        TOOLS_TRY(sampler.stream().synchronize());
        continue;
      }
      if (interrupted()) break;
      const double before = median(duel.value().first_us), with = median(duel.value().second_us);
      const Verdict verdict = judge(duel.value().first_us, duel.value().second_us, request.threshold);
      slower += verdict == Verdict::slower ? 1 : 0, faster += verdict == Verdict::faster ? 1 : 0;
      const Cell cell = verdict == Verdict::slower ? Cell{"SLOWER", Mark::bad} : verdict == Verdict::faster ? Cell{"faster", Mark::good} : Cell{"same"};
      table.add_row({{problem_text(shape)}, {fmt::format("{:.2f}", before)}, {fmt::format("{:.2f}", with)}, {fmt::format("{:.3f}", with / before)}, cell, {row.module}});
      ++done;
    }
  }
  console.print(fmt::format("{}\n{}{} of {} rows verified: {} faster than without them, {} slower, {} failed\n",
                            console.paint(Mark::heading, fmt::format("{} on {}", path, device.info.name)), table.render(console, 2), done, rows.size(),
                            faster, slower, failed));
  if (interrupted()) return static_cast<int>(exit_interrupted);
  return static_cast<int>(slower + failed > 0 ? exit_failed_check : exit_ok);
}

}  // namespace flashcore::tools
