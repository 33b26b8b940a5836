// SPDX-License-Identifier: Apache-2.0
//
// The command line of fc-tune as a Request.
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <thread>

#include "tune.hpp"

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

constexpr const char *default_shapes = "tune";
constexpr int64_t most_jobs = 256;

void add_words(po::options_description &group, const char *name, const char *placeholder, const char *help) {
  group.add_options()(name, po::value<Words>()->composing()->value_name(placeholder), help);
}

po::options_description what_group() {
  po::options_description group("What to tune", help_columns());
  add_words(
      group, "shapes", "NAME|FILE",
      "shapes of a file, or of one that comes along: tune (default), mission, short, long, sweep, decode; repeatable");
  add_words(group, "shape", "LINE", "one shape, as a line of such a file: \"1 8 8 512 512 64 fp16 none\"; repeatable");
  add_flag(
      group, "verify",
      "instead: time the rows of --output against what the library chooses without them; exit 1 where one is slower");
  add_value(group, "arch", "ARCH",
            "instead: search by the cost model alone, without a GPU, for the GPU that stands for ARCH; writes no rows");
  return group;
}

po::options_description how_group() {
  po::options_description group("How", help_columns());
  add_value(group, "budget", "TIME",
            "time for all shapes together, such as 90s or 10m (10m); Ctrl-C ends earlier and keeps what was found");
  add_value(group, "state", "FILE", "resume from this file and keep it up to date (tune-<arch>.json); none: no file");
  add_value(group, "device", "WHERE", "cuda (default) or cuda:N");
  add_value(group, "jobs", "N", "compilations at once (all processors)");
  add_value(group, "population", "N", "candidates of a generation (24)");
  add_value(group, "patience", "N", "generations without a faster candidate that end a search (4)");
  add_value(group, "threshold", "PERCENT", "smaller differences of the medians are noise (1)");
  add_value(group, "seed", "N", "seed of the search and of the inputs (1)");
  return group;
}

po::options_description rows_group() {
  po::options_description group("Rows", help_columns());
  add_value(
      group, "output", "FILE",
      "the table of tuned rows to update (ptx_cache/tuned/<arch>.tsv where that folder is, else tuned-<arch>.tsv)");
  return group;
}

Step read_device(const Options &options, Request &request) {
  const std::string device = options.text("device", "cuda");
  int32_t ordinal = 0;
  bool known = device == "cuda";
  if (device.starts_with("cuda:")) {
    const char *begin = device.data() + 5, *end = device.data() + device.size();
    const auto [stopped, code] = std::from_chars(begin, end, ordinal);
    known = code == std::errc() && stopped == end && ordinal >= 0 && ordinal <= 9999;
  }
  if (!known)
    return usage_failure(fmt::format("option --device is \"{}\", but must be cuda, or cuda:0 to cuda:9999{}", device,
                                     device_hint(device, {"cuda"})));
  request.context.device_kind = FLASHCORE_DEVICE_CUDA;
  request.context.device_ordinal = ordinal;
  return Done{};
}

Step add_shape(Shape shape, Request &request) {
  if (shape.name.empty())
    shape.name =
        fmt::format("b{}-h{}-{}x{}-d{}", shape.batch, shape.heads_q, shape.seqlen_q, shape.seqlen_kv, shape.head_dim);
  const auto twin = std::find_if(request.shapes.begin(), request.shapes.end(),
                                 [&](const Shape &other) { return other.same_problem(shape); });
  if (twin == request.shapes.end())
    request.shapes.push_back(std::move(shape));
  else
    request.notes.push_back(fmt::format("{} is the same problem as {} and is tuned once", shape.name, twin->name));
  return Done{};
}

Step read_all_shapes(const Options &options, Request &request) {
  Words names = options.words("shapes");
  const Words lines = options.words("shape");
  if (names.empty() && lines.empty()) names = {default_shapes};
  for (const std::string &line : lines) {
    TOOLS_TRY_ASSIGN(Shape shape, parse_shape(line, "option --shape"));
    TOOLS_TRY(add_shape(std::move(shape), request));
  }
  for (const std::string &name : names) {
    TOOLS_TRY_ASSIGN(std::vector<Shape> shapes, read_shapes(name));
    for (Shape &shape : shapes) TOOLS_TRY(add_shape(std::move(shape), request));
  }
  return Done{};
}

Step read_action(const Options &options, Request &request) {
  request.arch = options.text("arch");
  if (options.has("compile-worker")) {
    request.action = Action::compile_worker;
    request.arch = options.text("compile-worker");
    request.worker_module = options.text("worker-module");
    return Done{};
  }
  if (options.flag("verify") && options.has("arch"))
    return usage_failure("options --verify and --arch exclude each other: rows are verified on a GPU");
  if (options.flag("verify") && (options.has("shapes") || options.has("shape")))
    return usage_failure("option --verify times the rows' own problems; it does not go with --shapes or --shape");
  if (options.has("arch") && options.has("output"))
    return usage_failure("option --output is for measured rows; a static search (--arch) writes none");
  if (options.flag("verify")) request.action = Action::verify;
  if (options.has("arch")) request.action = Action::search_statically;
  return Done{};
}

Step read_numbers(const Options &options, Request &request) {
  if (options.has("budget")) {
    TOOLS_TRY_ASSIGN(request.budget_us, parse_duration_us("budget", options.text("budget")));
  }
  TOOLS_TRY_ASSIGN(const auto jobs, options.integer("jobs", 1, most_jobs));
  request.jobs = jobs.value_or(std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, most_jobs));
  TOOLS_TRY_ASSIGN(const auto population, options.integer("population", 2, 1000));
  request.search.population = static_cast<int32_t>(population.value_or(request.search.population));
  TOOLS_TRY_ASSIGN(const auto patience, options.integer("patience", 1, 1000));
  request.search.patience = static_cast<int32_t>(patience.value_or(request.search.patience));
  TOOLS_TRY_ASSIGN(const auto seed, options.integer("seed", 0, INT64_MAX));
  request.seed = static_cast<uint64_t>(seed.value_or(1));
  TOOLS_TRY_ASSIGN(const auto threshold, options.real("threshold"));
  if (threshold && *threshold < 0)
    return usage_failure(
        fmt::format("option --threshold is \"{}\", but must be 0 or more, in percent", options.text("threshold")));
  request.threshold = threshold.value_or(1) / 100;
  return Done{};
}

}  // namespace

Outcome<double> parse_duration_us(const std::string &option, const std::string &text) {
  const struct {
    const char *unit;
    double us;
  } units[] = {{"ms", 1e3}, {"s", 1e6}, {"m", 6e7}, {"h", 3.6e9}};
  double number = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string unit = code == std::errc() ? std::string(end, text.data() + text.size()) : "";
  for (const auto &one : units)
    if (unit == one.unit && number > 0 && std::isfinite(number)) return number * one.us;
  return usage_failure(fmt::format(
      "option --{} is \"{}\", but must be a time above 0 with its unit: 500ms, 90s, 10m or 1h", option, text));
}

std::string default_table(const std::string &arch) {
  std::error_code code;
  const bool in_sources = std::filesystem::is_directory("ptx_cache/tuned", code);
  return in_sources ? fmt::format("ptx_cache/tuned/{}.tsv", arch) : fmt::format("tuned-{}.tsv", arch);
}

std::vector<po::options_description> shown_option_groups() {
  return {what_group(), how_group(), rows_group(), library_options(), output_options()};
}

po::options_description all_options() {
  po::options_description all;
  for (const auto &group : shown_option_groups()) all.add(group);
  add_value(all, "compile-worker", "ARCH", "one process of the static check");
  add_value(all, "worker-module", "MODULE", "what it compiles");
  return all;
}

Outcome<Request> make_request(const Options &options) {
  Request request;
  TOOLS_TRY_ASSIGN(request.context, make_context_options(options));
  TOOLS_TRY(read_device(options, request));
  TOOLS_TRY(read_action(options, request));
  TOOLS_TRY(read_numbers(options, request));
  if (request.action == Action::search || request.action == Action::search_statically)
    TOOLS_TRY(read_all_shapes(options, request));
  request.state = options.text("state");
  request.output = options.text("output");
  for (const char *option : {"module-path", "cache-dir", "nvrtc"})
    if (options.has(option))
      request.library_words.insert(request.library_words.end(), {std::string("--") + option, options.text(option)});
  return request;
}

}  // namespace flashcore::tools
