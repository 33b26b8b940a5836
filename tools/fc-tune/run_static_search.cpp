// SPDX-License-Identifier: Apache-2.0
//
// --arch: the same search with the cost model for a clock. The static check is the same, so that what it finds fits the GPU
// that stands for the architecture.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "../common/model.hpp"
#include "../common/output_file.hpp"
#include "tune.hpp"

namespace flashcore::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Ranked {
  flashcore_model_info chosen{};  // by the model, among the shipped modules
  int64_t ranked = 0, pruned = 0;
  std::string best;
  double best_us = 0;
};

class StaticSearch {
 public:
  StaticSearch(const Request &request, const flashcore_device_info &device, State &state, const std::string &state_path,
               Progress &progress)
      : request_(request), device_(device), state_(state), state_path_(state_path), progress_(progress) {}

  Outcome<Ranked> rank(const Shape &shape, int64_t shapes_done, double until_us);

 private:
  Outcome<std::vector<Candidate>> seeds(const Shape &shape) const;
  void judge_generation(const std::vector<Candidate> &generation, const Shape &shape, Search &search,
                        ShapeState &known) const;

  const Request &request_;
  const flashcore_device_info &device_;
  State &state_;
  const std::string &state_path_;
  Progress &progress_;
};

// What the model chooses of each of the library's own kernels.
Outcome<std::vector<Candidate>> StaticSearch::seeds(const Shape &shape) const {
  std::vector<Candidate> seeds;
  for (int32_t index = 0; index < flashcore_kernel_count(); ++index) {
    flashcore_kernel_info kernel{};
    kernel.struct_size = sizeof(kernel);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_kernel_describe(index, &kernel, &error) != FLASHCORE_OK)
      return library_failure("list the kernels", error);
    if (kernel.by_name_only != 0 || kernel.operation != FLASHCORE_OPERATION_ATTENTION_FWD) continue;
    const Outcome<flashcore_model_info> own = model_of(shape, kernel.name, device_);
    if (!own.ok()) continue;  // a kernel that does not serve the shape
    if (const auto candidate = parse_candidate(own.value().module)) seeds.push_back(*candidate);
  }
  return seeds;
}

void StaticSearch::judge_generation(const std::vector<Candidate> &generation, const Shape &shape, Search &search,
                                    ShapeState &known) const {
  const std::vector<StaticResult> results =
      check_statically(generation, device_, request_.arch, request_.context, request_.jobs, request_.library_words);
  for (size_t i = 0; i < results.size(); ++i) {
    const std::string module = generation[i].name();
    Evaluation evaluation{Fate::pruned, 0, results[i].pruned};
    if (evaluation.reason.empty()) {
      const Outcome<flashcore_model_info> model = model_of(shape, module, device_);
      if (model.ok())
        evaluation = {Fate::timed, model.value().total_us, ""};
      else
        evaluation.reason = model.failure().message;
    }
    search.record(generation[i], evaluation);
    known.evaluations[module] = evaluation;
    known.keys[module] = results[i].info.key;
  }
}

Outcome<Ranked> StaticSearch::rank(const Shape &shape, int64_t shapes_done, double until_us) {
  Ranked ranked;
  TOOLS_TRY_ASSIGN(ranked.chosen, model_of(shape, "", device_));
  TOOLS_TRY_ASSIGN(const std::vector<Candidate> begin, seeds(shape));
  Search search(begin, request_.seed, request_.search);
  ShapeState &known = state_.of(shape);
  remember_state(known, request_.context, request_.arch, search);
  while (!interrupted() && clock_us() < until_us) {
    const std::vector<Candidate> generation = search.next_generation();
    if (generation.empty()) break;
    progress_.update(
        shapes_done, static_cast<int64_t>(request_.shapes.size()),
        fmt::format("{}, generation {}, {} ranked, {}", shape.name, search.generation(), search.timed(),
                    search.best() == nullptr ? "nothing yet"
                                             : fmt::format("best {:.2f} us {}", search.best_us(), *search.best())));
    judge_generation(generation, shape, search, known);
    TOOLS_TRY(write_state(state_, state_path_));
  }
  ranked.ranked = search.timed();
  ranked.pruned = static_cast<int64_t>(search.evaluations().size()) - ranked.ranked;
  if (search.best() != nullptr) ranked.best = *search.best(), ranked.best_us = search.best_us();
  return ranked;
}

Json ranked_json(const Shape &shape, const Outcome<Ranked> &one) {
  Json json{{"name", shape.name}, {"problem", problem_text(shape)}};
  if (!one.ok()) {
    json["error"] = one.failure().message;
    return json;
  }
  const Ranked &ranked = one.value();
  json.update(Json{{"ranked", ranked.ranked},
                   {"pruned", ranked.pruned},
                   {"default_us", ranked.chosen.total_us},
                   {"best_us", ranked.best.empty() ? Json() : Json(ranked.best_us)},
                   {"best_module", ranked.best.empty() ? Json() : Json(ranked.best)}});
  return json;
}

}  // namespace

Outcome<int> run_static_search(const Request &request, const Console &console, JsonOutput &json) {
  const double end_us = clock_us() + request.budget_us;
  TOOLS_TRY_ASSIGN(const flashcore_device_info device, representative_device(request.arch));
  const std::string path = state_file(request, request.arch, "static-");
  TOOLS_TRY_ASSIGN(State state, read_state(path, {request.arch, device.name, true, {}}));
  TOOLS_TRY(write_state(state, path));
  console.note(fmt::format(
      "no GPU is used: candidates are compiled for {} and ranked by the cost model{}; nothing is measured and no row is written",
      request.arch, model_is_fitted(device.arch) ? "" : ", which is a prediction there"));
  Table table({{"shape", Align::left}, {"ranked"}, {"pruned"}, {"default\nus"}, {"best\nus"}, {"module", Align::left}});
  Json results{{"schema", "flashcore.tune.static/1"},
               {"device", device.name},
               {"arch", request.arch},
               {"shapes", Json::array()}};
  bool failed = false;
  {
    Progress progress(console, "ranking by the model");
    StaticSearch search(request, device, state, path, progress);
    for (size_t i = 0; i < request.shapes.size() && !interrupted(); ++i) {
      const Shape &shape = request.shapes[i];
      const double share_us = (end_us - clock_us()) / static_cast<double>(request.shapes.size() - i);
      const Outcome<Ranked> one = search.rank(shape, static_cast<int64_t>(i), clock_us() + share_us);
      failed = failed || !one.ok() || one.value().best.empty();
      results["shapes"].push_back(ranked_json(shape, one));
      if (!one.ok()) {
        table.add_row({{shape.name}, {}, {}, {}, {}, {one.failure().message, Mark::bad}});
        continue;
      }
      const Ranked &ranked = one.value();
      table.add_row({{shape.name},
                     {fmt::format("{}", ranked.ranked)},
                     {fmt::format("{}", ranked.pruned)},
                     {fmt::format("{:.2f}", ranked.chosen.total_us)},
                     {ranked.best.empty() ? "-" : fmt::format("{:.2f}", ranked.best_us)},
                     {ranked.best.empty() ? "nothing could be ranked" : ranked.best}});
    }
  }
  results["interrupted"] = interrupted();
  if (json.wanted()) TOOLS_TRY(json.write(console, results.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  if (!json.on_stdout())
    console.print(fmt::format(
        "{}\n{}",
        console.paint(Mark::heading, fmt::format("fc-tune by the model alone, for {} ({})", device.name, request.arch)),
        table.render(console, 2)));
  if (interrupted()) return static_cast<int>(exit_interrupted);
  return static_cast<int>(failed ? exit_failed_check : exit_ok);
}

}  // namespace flashcore::tools
