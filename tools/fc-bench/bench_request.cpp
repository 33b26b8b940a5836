// SPDX-License-Identifier: Apache-2.0
//
// The command line of fc-bench as a Request: which options there are, which values they may have, and which exclude
// each other. Shapes files are read here; no device is opened.
#include <flashcore/flashcore_inspect.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>

#include "bench.hpp"
#include "opened_device.hpp"

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

constexpr const char *default_shapes = "mission";
constexpr StartupCase startup_cases[] = {StartupCase::driver_alone, StartupCase::compile, StartupCase::user_cache,
                                         StartupCase::shipped, StartupCase::cpu};

void add_words(po::options_description &group, const char *name, const char *placeholder, const char *help) {
  group.add_options()(name, po::value<Words>()->composing()->value_name(placeholder), help);
}

po::options_description what_group() {
  po::options_description group("What to measure", help_columns());
  add_words(
      group, "shapes", "NAME|FILE",
      "shapes of a file, or of one that comes along: mission (default), short, long, sweep, decode, tune; repeatable");
  add_words(group, "shape", "LINE", "one shape, as a line of such a file: \"1 8 8 512 512 64 fp16 none\"; repeatable");
  add_words(group, "kernel", "NAME",
            "this kernel or module too, beside the library's own choice (auto); repeatable; all: every kernel");
  add_flag(group, "no-auto", "only the kernels that --kernel names");
  add_value(group, "mode", "LIST", "some of graph,warm,cold, or all (graph,cold; on the CPU device: warm)");
  add_flag(group, "startup", "instead: from process start to first result, with empty and filled module caches");
  add_flag(group, "host-cost", "instead: what a call costs the host, beside a bare cuLaunchKernel of the same kernel");
  add_flag(group, "list", "print the shapes and end");
  return group;
}

po::options_description how_group() {
  po::options_description group("How", help_columns());
  add_value(group, "device", "WHERE", "auto (default: the first usable GPU, else the CPU), cpu, cuda or cuda:N");
  add_value(
      group, "samples", "N",
      "samples per row (100, fewer where a call takes long), processes of --startup (5), bursts of --host-cost (100)");
  add_value(group, "warmup", "N", "samples before them that do not count (20)");
  add_value(group, "sets", "N", "inputs and outputs to rotate among (up to 8 within 400 MB; 1 on the CPU device)");
  add_value(group, "seed", "N", "seed of the random normal inputs (1)");
  add_value(group, "threads", "N", "threads of the CPU device (all)");
  add_value(group, "cache", "MODE", "user cache: rw, ro or off (else FLASHCORE_CACHE, else rw)");
  add_value(group, "jit", "MODE", "on or off: may NVRTC compile what no cache holds (else FLASHCORE_JIT, else on)");
  return group;
}

po::options_description compare_group() {
  po::options_description group("Comparing", help_columns());
  add_value(group, "compare", "FILE",
            "compare with the JSON of an older run; exit 1 when a row is slower beyond noise");
  add_value(group, "load", "FILE", "with --compare: take the newer results from this JSON instead of measuring");
  add_value(group, "threshold", "PERCENT", "smaller changes of the median are noise (3)");
  return group;
}

// --- Values --------------------------------------------------------------------------------------------------------

Step read_device(const Options &options, flashcore_context_options &context) {
  const std::string device = options.text("device", "auto");
  if (device == "auto" || device == "cpu" || device == "cuda") {
    context.device_kind = device == "auto"  ? FLASHCORE_DEVICE_AUTO
                          : device == "cpu" ? FLASHCORE_DEVICE_CPU
                                            : FLASHCORE_DEVICE_CUDA;
    return Done{};
  }
  int32_t ordinal = -1;
  if (device.starts_with("cuda:")) {
    const char *begin = device.data() + 5, *end = device.data() + device.size();
    const auto [stopped, code] = std::from_chars(begin, end, ordinal);
    if (code != std::errc() || stopped != end || ordinal > 9999) ordinal = -1;
  }
  if (ordinal < 0)
    return usage_failure(
        fmt::format("option --device is \"{}\", but must be one of: auto, cpu, cuda, cuda:0 to cuda:9999{}", device,
                    device_hint(device, {"auto", "cpu", "cuda"})));
  context.device_kind = FLASHCORE_DEVICE_CUDA;
  context.device_ordinal = ordinal;
  return Done{};
}

Step read_context(const Options &options, Request &request) {
  TOOLS_TRY_ASSIGN(request.context, make_context_options(options));
  TOOLS_TRY(read_device(options, request.context));
  TOOLS_TRY_ASSIGN(const auto threads, options.integer("threads", 1, 4096));
  request.context.cpu_threads = static_cast<int32_t>(threads.value_or(0));
  TOOLS_TRY_ASSIGN(request.context.cache_mode, options.choice("cache",
                                                              {{"rw", FLASHCORE_CACHE_READ_WRITE},
                                                               {"ro", FLASHCORE_CACHE_READ_ONLY},
                                                               {"off", FLASHCORE_CACHE_OFF}},
                                                              FLASHCORE_CACHE_DEFAULT));
  TOOLS_TRY_ASSIGN(
      request.context.jit_mode,
      options.choice("jit", {{"on", FLASHCORE_JIT_ALLOWED}, {"off", FLASHCORE_JIT_FORBIDDEN}}, FLASHCORE_JIT_DEFAULT));
  return Done{};
}

void add_shape(Shape shape, Request &request) {
  if (shape.name.empty())
    shape.name =
        fmt::format("b{}-h{}-{}x{}-d{}", shape.batch, shape.heads_q, shape.seqlen_q, shape.seqlen_kv, shape.head_dim);
  const auto twin = std::find_if(request.shapes.begin(), request.shapes.end(),
                                 [&](const Shape &other) { return other.same_problem(shape); });
  if (twin == request.shapes.end())
    request.shapes.push_back(std::move(shape));
  else
    request.notes.push_back(fmt::format("{} is the same problem as {} and is measured once", shape.name, twin->name));
}

Step read_all_shapes(const Options &options, Request &request) {
  Words names = options.words("shapes");
  const Words lines = options.words("shape");
  if (names.empty() && lines.empty()) names = {default_shapes};
  for (const std::string &line : lines) {
    TOOLS_TRY_ASSIGN(Shape shape, parse_shape(line, "option --shape"));
    add_shape(std::move(shape), request);
  }
  for (const std::string &name : names) {
    TOOLS_TRY_ASSIGN(std::vector<Shape> shapes, read_shapes(name));
    for (Shape &shape : shapes) add_shape(std::move(shape), request);
  }
  return Done{};
}

Step read_kernels(const Options &options, Request &request) {
  TOOLS_TRY_ASSIGN(const Words known, known_kernels());
  if (!options.flag("no-auto")) request.kernels.emplace_back();
  for (const std::string &name : options.words("kernel")) {
    Words added = {name};
    if (name == "all")
      added = known;
    else if (name == "auto")
      added = {""};
    else if (flashcore_error error = FLASHCORE_ERROR_INIT;
             name != "cpu" && flashcore_kernel_check_name(name.c_str(), &error) != FLASHCORE_OK)
      return usage_failure(
          fmt::format("option --kernel is \"{}\", but must be all, auto, cpu (the CPU device's), a kernel or a "
                      "module: {}{}",
                      name, error.message, did_you_mean(name, known)));
    for (std::string &kernel : added)
      if (std::count(request.kernels.begin(), request.kernels.end(), kernel) == 0)
        request.kernels.push_back(std::move(kernel));
  }
  if (request.kernels.empty()) return usage_failure("option --no-auto leaves no kernel: name some with --kernel");
  return Done{};
}

Step read_modes(const Options &options, Request &request) {
  std::string given = options.text("mode");
  if (!options.has("mode")) return Done{};
  if (given == "all") given = "graph,warm,cold";
  for (size_t begin = 0; begin <= given.size();) {
    const size_t end = std::min(given.find(',', begin), given.size());
    const std::string word = given.substr(begin, end - begin);
    const size_t before = request.modes.size();
    for (const Mode mode : {Mode::graph, Mode::warm, Mode::cold})
      if (word == mode_word(mode)) request.modes.push_back(mode);
    if (request.modes.size() == before)
      return usage_failure(fmt::format("option --mode is \"{}\", but must be all or some of: graph,warm,cold{}",
                                       options.text("mode"), did_you_mean(word, {"all", "graph", "warm", "cold"})));
    begin = end + 1;
  }
  return Done{};
}

Step read_numbers(const Options &options, Request &request) {
  TOOLS_TRY_ASSIGN(request.samples, options.integer("samples", 1, 100000));
  TOOLS_TRY_ASSIGN(request.warmup, options.integer("warmup", 0, 100000));
  TOOLS_TRY_ASSIGN(request.sets, options.integer("sets", 1, 65536));
  TOOLS_TRY_ASSIGN(const auto seed, options.integer("seed", 0, INT64_MAX));
  request.seed = seed.value_or(1);
  TOOLS_TRY_ASSIGN(const auto threshold, options.real("threshold"));
  if (threshold && *threshold < 0)
    return usage_failure(
        fmt::format("option --threshold is \"{}\", but must be 0 or more, in percent", options.text("threshold")));
  request.threshold = threshold.value_or(3) / 100;
  return Done{};
}

// --- What goes together --------------------------------------------------------------------------------------------

Step read_action(const Options &options, Request &request) {
  request.json = options.text("json");
  request.compare = options.text("compare");
  request.load = options.text("load");
  const bool startup = options.flag("startup"), host_cost = options.flag("host-cost"), load = options.has("load");
  if (startup + host_cost + load > 1)
    return usage_failure("options --startup, --host-cost and --load exclude each other");
  if (load && !options.has("compare")) return usage_failure("option --load goes with --compare");
  if (load && options.has("json"))
    return usage_failure("option --json writes what was measured; with --load nothing is");
  if ((startup || host_cost) && options.has("compare"))
    return usage_failure("option --compare compares rows of shapes; it does not go with --startup or --host-cost");
  if (startup) request.action = Action::startup;
  if (host_cost) request.action = Action::host_cost;
  if (load) request.action = Action::compare_files;
  return Done{};
}

// A start is of one shape and one kernel.
Step read_startup(const Options &options, Request &request) {
  const std::string given = options.text("startup-child");
  for (const StartupCase what : startup_cases)
    if (given == startup_word(what)) request.startup_child = what;
  if (options.has("startup-child") && !request.startup_child)
    return usage_failure(fmt::format("option --startup-child is \"{}\"; it is for fc-bench itself", given));
  if (request.action != Action::startup) return Done{};
  if (request.shapes.size() != 1 || options.words("kernel").size() > 1)
    return usage_failure("option --startup takes one shape and at most one kernel");
  const Shape &shape = request.shapes.front();
  const std::string device = options.text("device", "auto");
  request.child_options = {
      "--device", device == "auto" ? "cuda" : device, "--shape",
      fmt::format("{} {} {} {} {} {} {} {} {}", shape.name, shape.batch, shape.heads_q, shape.heads_kv, shape.seqlen_q,
                  shape.seqlen_kv, shape.head_dim, dtype_word(shape.dtype), causal_word(shape.causal))};
  for (const char *option : {"nvrtc", "threads"})
    if (options.has(option))
      request.child_options.insert(request.child_options.end(), {std::string("--") + option, options.text(option)});
  for (const std::string &kernel : options.words("kernel"))
    request.child_options.insert(request.child_options.end(), {"--kernel", kernel});
  return Done{};
}

}  // namespace

std::vector<po::options_description> shown_option_groups() {
  return {what_group(), how_group(), compare_group(), library_options(), output_options()};
}

po::options_description all_options() {
  po::options_description all;
  for (const auto &group : shown_option_groups()) all.add(group);
  add_value(all, "startup-child", "CASE", "one process of --startup");
  return all;
}

Outcome<Request> make_request(const Options &options) {
  Request request;
  TOOLS_TRY(read_context(options, request));
  TOOLS_TRY(read_action(options, request));
  TOOLS_TRY(read_numbers(options, request));
  TOOLS_TRY(read_modes(options, request));
  TOOLS_TRY(read_kernels(options, request));
  TOOLS_TRY(read_all_shapes(options, request));
  TOOLS_TRY(read_startup(options, request));
  return request;
}

}  // namespace flashcore::tools
