// SPDX-License-Identifier: Apache-2.0
//
// The search on a device: shape by shape within the budget, with a state that survives.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "../common/output_file.hpp"
#include "timing.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

// What was fastest for other shapes is worth a try for this one, with its dtype, head dimension and mask.
void add_neighbours(const State &state, const Shape &shape, std::vector<Candidate> &seeds) {
  const std::vector<Candidate> own = seeds;
  for (const ShapeState &other : state.shapes) {
    if (other.shape.same_problem(shape)) continue;
    const std::pair<const std::string, Evaluation> *fastest = nullptr;
    for (const auto &one : other.evaluations)
      if (one.second.fate == Fate::timed && (fastest == nullptr || one.second.us < fastest->second.us)) fastest = &one;
    std::optional<Candidate> best = fastest == nullptr ? std::nullopt : parse_candidate(fastest->first);
    for (const Candidate &seed : own) {
      if (!best || best->kernel != seed.kernel) continue;
      best->take_problem_of(seed);
      if (std::find(seeds.begin(), seeds.end(), *best) == seeds.end()) seeds.push_back(*best);
    }
  }
}

class TimedSearch {
 public:
  TimedSearch(const Request &request, const TuningDevice &device, Sampler &sampler, State &state,
              const std::string &state_path, Progress &progress)
      : request_(request),
        device_(device),
        sampler_(sampler),
        state_(state),
        state_path_(state_path),
        progress_(progress) {}

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
  const std::string best = search.best() == nullptr
                               ? "nothing timed yet"
                               : fmt::format("best {:.2f} us {}", search.best_us(), *search.best());
  progress_.update(shapes_done, static_cast<int64_t>(request_.shapes.size()),
                   fmt::format("{}, generation {}, {}, {} timed of {}, {}", shape.name, search.generation(), step,
                               search.timed(), search.evaluations().size(), best));
}

Step TimedSearch::run_generations(ShapeClock &clock, Search &search, ShapeState &known, int64_t shapes_done,
                                  double until_us) {
  const Shape &shape = clock.shape();
  while (!interrupted() && clock_us() < until_us) {
    const std::vector<Candidate> generation = search.next_generation();
    if (generation.empty()) {
      known.converged = true;
      break;
    }
    show(shape, search, shapes_done, "compiling");
    const std::vector<StaticResult> results = check_statically(generation, device_.info, device_.arch, request_.context,
                                                               request_.jobs, request_.library_words);
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
  add_neighbours(state_, shape, seeds.value().candidates);
  Search search(seeds.value().candidates, request_.seed, request_.search);
  ShapeState &known = state_.of(shape);
  remember_state(known, request_.context, device_.arch, search);
  show(shape, search, shapes_done, "inputs and reference");
  Outcome<ShapeClock> clock = ShapeClock::make(device_, sampler_, shape, static_cast<int64_t>(request_.seed));
  if (!clock.ok()) return without(clock.failure());
  if (!known.converged || search.best() == nullptr)
    TOOLS_TRY(run_generations(clock.value(), search, known, shapes_done, until_us));
  tuned.timed = search.timed();
  tuned.pruned = static_cast<int64_t>(search.evaluations().size()) - tuned.timed;
  if (search.best() == nullptr) {
    if (interrupted()) return without({exit_interrupted, "stopped before anything was timed"});
    const auto first = search.evaluations().find(tuned.default_module);
    return without(
        {exit_failed_check, fmt::format("no candidate could be timed; {}: {}", tuned.default_module,
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
  Table table({{"shape", Align::left},
               {"timed"},
               {"pruned"},
               {"default\nus"},
               {"best\nus"},
               {"gain"},
               {"module", Align::left}});
  for (const TunedShape &one : tuned) {
    if (!one.problem.empty()) {
      table.add_row({{one.shape.name},
                     {},
                     {},
                     {},
                     {},
                     {"-", Mark::bad},
                     {one.problem.substr(0, one.problem.find('\n')), Mark::bad}});
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

std::string results_json(const std::vector<TunedShape> &tuned, const TuningDevice &device, const std::string &table,
                         const std::optional<Failure> &stopped) {
  Json json{{"schema", "flashcore.tune.search/1"},
            {"device", device.info.name},
            {"arch", device.arch},
            {"table", table},
            {"interrupted", interrupted()},
            {"stopped", stopped ? Json(stopped->message) : Json()},
            {"shapes", Json::array()}};
  for (const TunedShape &one : tuned) {
    Json shape{
        {"name", one.shape.name}, {"problem", problem_text(one.shape)}, {"timed", one.timed}, {"pruned", one.pruned}};
    if (!one.problem.empty()) {
      shape["error"] = one.problem;
    } else {
      shape.update(Json{{"default_module", one.default_module},
                        {"default_us", one.default_us},
                        {"best_module", one.best_module},
                        {"best_us", one.best_us},
                        {"verdict", verdict_word(one.verdict)}});
    }
    json["shapes"].push_back(std::move(shape));
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Step write_rows(const std::vector<TunedShape> &tuned, const std::string &path, const std::vector<Row> &older,
                const Console &console) {
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
  console.note(fmt::format("{} new row{}, {} in {}; rebuild the library to use them", newer.size(),
                           newer.size() == 1 ? "" : "s", rows.size(), path));
  return Done{};
}

}  // namespace

Outcome<int> run_search(const Request &request, const Console &console, JsonOutput &json) {
  const double begin_us = clock_us();
  TOOLS_TRY_ASSIGN(const TuningDevice device, TuningDevice::open(request.context));
  const std::string table = request.output.empty() ? default_table(device.arch) : request.output;
  TOOLS_TRY_ASSIGN(const std::vector<Row> older, read_table(table));
  { TOOLS_TRY_ASSIGN(const OutputFile writable, OutputFile::plan("output", table)); }
  const std::string path = state_file(request, device.arch, "");
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
      if (one.ok())
        tuned.push_back(std::move(one).value());
      else
        stopped = std::move(one.failure());
    }
  }
  TOOLS_TRY(write_state(state, path));
  if (json.wanted()) TOOLS_TRY(json.write(console, results_json(tuned, device, table, stopped)));
  if (!json.on_stdout())
    console.print(fmt::format(
        "{}\n{}", console.paint(Mark::heading, fmt::format("fc-tune on {} ({})", device.info.name, device.arch)),
        results_text(tuned, console)));
  TOOLS_TRY(write_rows(tuned, table, older, console));
  if (stopped) return *stopped;
  if (interrupted()) return static_cast<int>(exit_interrupted);
  const bool any_problem =
      std::any_of(tuned.begin(), tuned.end(), [](const TunedShape &one) { return !one.problem.empty(); });
  return static_cast<int>(any_problem ? exit_failed_check : exit_ok);
}

}  // namespace flashcore::tools
