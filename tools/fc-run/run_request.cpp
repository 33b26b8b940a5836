// SPDX-License-Identifier: Apache-2.0
//
// The command line of fc-run as a RunRequest: which options there are, which values they may have, and which of them
// belong together. Files are not opened here.
#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <filesystem>
#include <limits>

#include "run.hpp"

namespace flashcore::tools {
namespace po = boost::program_options;
namespace {

constexpr int64_t int32_limit = std::numeric_limits<int32_t>::max();
constexpr int64_t int64_limit = std::numeric_limits<int64_t>::max();
constexpr double largest_float32 = static_cast<double>(std::numeric_limits<float>::max());

// Options that are one number of the args struct.
struct NumberRow {
  const char *option, *help;
  int64_t minimum, maximum;
  int64_t Args::*wide;  // one of the two members is set
  int32_t Args::*narrow;
  uint32_t flag;  // bit of args.flags that says the number is set
};
constexpr NumberRow number_rows[] = {
    {"window-left", "keys further left of the query's own position are hidden", 0, int64_limit, &Args::window_left,
     nullptr, FLASHCORE_FLAG_WINDOW_LEFT},
    {"window-right", "keys further right of the query's own position are hidden", 0, int64_limit, &Args::window_right,
     nullptr, FLASHCORE_FLAG_WINDOW_RIGHT},
    {"attention-chunk", "keys of the query's own chunk of this length only", 1, int64_limit, &Args::attention_chunk,
     nullptr, 0},
    {"page-size", "keys per page, with --page-table", 1, int32_limit, nullptr, &Args::page_size, 0},
    {"page-count", "pages in the pool, with --page-table", 1, int64_limit, &Args::page_count, nullptr, 0},
    {"rotary-dim", "leading dimensions that are rotated", 1, int32_limit, nullptr, &Args::rotary_dim, 0},
    {"split-count", "pieces of the key sequence", 1, int32_limit, nullptr, &Args::split_count, 0},
    {"split-tokens", "keys per piece, for results that do not depend on the batch", 1, int64_limit, &Args::split_tokens,
     nullptr, 0},
    {"multiprocessor-limit", "SMs that the call may occupy", 1, int32_limit, nullptr, &Args::multiprocessor_limit, 0},
    {"query-position", "of query 0 in the sequence that keys are a shard of", 0, int32_limit, &Args::query_position,
     nullptr, FLASHCORE_FLAG_POSITIONS},
    {"key-position", "of key 0", 0, int32_limit, &Args::key_position, nullptr, FLASHCORE_FLAG_POSITIONS},
};

// Options that are one bit of args.flags.
struct FlagRow {
  const char *option, *help;
  uint32_t flag;
};
constexpr FlagRow flag_rows[] = {
    {"batch-invariant", "a row's bits must not depend on the batch", FLASHCORE_FLAG_BATCH_INVARIANT},
    {"rotary-interleaved", "rotary pairs are neighbours, not halves", FLASHCORE_FLAG_ROTARY_INTERLEAVED},
};

// Sizes of random inputs: option, smallest value, default (0: stands for another size).
struct SizeRow {
  const char *option, *help;
  int64_t minimum, maximum, absent;
  int64_t Sizes::*member;
};
constexpr SizeRow size_rows[] = {
    {"batch", "sequences (1)", 0, int32_limit, 1, &Sizes::batch},
    {"heads", "query heads (8)", 1, int32_limit, 8, &Sizes::heads_q},
    {"heads-kv", "key heads, a divisor of the query heads (as many)", 1, int32_limit, 0, &Sizes::heads_kv},
    {"seqlen-q", "queries per sequence (as --seqlen)", 0, int32_limit, 0, &Sizes::seqlen_q},
    {"seqlen-kv", "keys per sequence (as --seqlen)", 0, int32_limit, 0, &Sizes::seqlen_kv},
    {"head-dim", "dimension of queries and keys (64)", 1, int32_limit, 64, &Sizes::head_dim},
    {"head-dim-v", "dimension of values and output (as --head-dim)", 1, int32_limit, 0, &Sizes::head_dim_v},
};

po::options_description input_group() {
  po::options_description group("Input: .npy files, or random numbers", help_columns());
  add_value(group, "query", "FILE", "queries: float16, bfloat16 as uint16 bits, or float32 (rounded to --dtype)");
  add_value(group, "key", "FILE", "keys");
  add_value(group, "value", "FILE", "values");
  add_value(group, "layout", "ORDER", "order in files: bshd [batch, sequence, head, dimension] (default) or bhsd");
  add_value(group, "dtype", "TYPE", "fp16 (default) or bf16: the type of the computation");
  add_value(group, "random", "SEED", "random normal numbers instead of files; the same for the same seed everywhere");
  for (const SizeRow &row : size_rows) add_value(group, row.option, "N", row.help);
  add_value(group, "seqlen", "N", "--seqlen-q and --seqlen-kv in one (512)");
  return group;
}

po::options_description score_group() {
  po::options_description group("Scores and masks", help_columns());
  add_value(group, "causal", "WHERE",
            "none (default), top-left (PyTorch's is_causal) or bottom-right (FlashAttention's)");
  add_value(group, "scale", "X", "factor of the scores (1/sqrt(head dimension))");
  add_value(group, "lse-base", "BASE", "natural (default) or 2");
  return group;
}

po::options_description passed_on_group() {
  po::options_description group("Passed on to the library, which refuses what it cannot do and names the field",
                                help_columns());
  add_value(group, "softcap", "X", "scores become X * tanh(score / X)");
  for (const NumberRow &row : number_rows) add_value(group, row.option, "N", row.help);
  for (const FlagRow &row : flag_rows) add_flag(group, row.option, row.help);
  declare_extra_arrays(group);
  return group;
}

po::options_description work_group() {
  po::options_description group("What to do", help_columns());
  add_value(group, "output", "FILE", "write the output, in the layout and type of the input");
  add_value(group, "lse", "FILE", "write the logarithms of the sums, float32 [batch, head, query]");
  add_flag(group, "check",
           "compare with a float64 reference; exit 1 when the error is over the gates (nothing is written then)");
  add_flag(group, "explain", "say which kernel would be used and why; compute nothing; exit 1 when there is none");
  add_value(group, "repeat", "N", "compute N times and show the times (1)");
  add_value(group, "device", "WHERE", "auto (default: the first usable GPU, else the CPU), cpu, cuda or cuda:N");
  add_value(group, "threads", "N", "threads of the CPU device (all)");
  add_value(group, "kernel", "NAME", "this kernel or module and no other; fc-inspect doctor and list name them");
  add_value(group, "cache", "MODE", "user cache: rw, ro or off (else FLASHCORE_CACHE, else rw)");
  add_value(group, "jit", "MODE", "on or off: may NVRTC compile what no cache holds (else FLASHCORE_JIT, else on)");
  return group;
}

Step read_device(const Options &options, flashcore_context_options &context) {
  const std::string device = options.text("device", "auto");
  if (device == "auto") {
    context.device_kind = FLASHCORE_DEVICE_AUTO;
  } else if (device == "cpu") {
    context.device_kind = FLASHCORE_DEVICE_CPU;
  } else if (device == "cuda" || device.starts_with("cuda:")) {
    context.device_kind = FLASHCORE_DEVICE_CUDA;
    const std::string digits = device == "cuda" ? "0" : device.substr(5);
    const bool plain =
        !digits.empty() && digits.size() <= 4 && digits.find_first_not_of("0123456789") == std::string::npos;
    if (!plain)
      return usage_failure(
          fmt::format("option --device is \"{}\", but the number after cuda: must be 0 to 9999", device));
    context.device_ordinal = std::stoi(digits);
  } else {
    return usage_failure(fmt::format("option --device is \"{}\", but must be one of: auto, cpu, cuda, cuda:N{}", device,
                                     device_hint(device, {"auto", "cpu", "cuda"})));
  }
  return Done{};
}

Step read_context(const Options &options, RunRequest &request) {
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

Step read_args(const Options &options, Args &args) {
  TOOLS_TRY_ASSIGN(args.causal, options.causal("causal"));
  TOOLS_TRY_ASSIGN(args.lse_base,
                   options.choice("lse-base", {{"natural", FLASHCORE_LSE_NATURAL}, {"2", FLASHCORE_LSE_BASE2}},
                                  FLASHCORE_LSE_NATURAL));
  TOOLS_TRY_ASSIGN(const auto scale, options.real("scale", largest_float32));
  if (scale) {
    args.flags |= FLASHCORE_FLAG_SOFTMAX_SCALE;
    args.softmax_scale = static_cast<float>(*scale);
  }
  TOOLS_TRY_ASSIGN(const auto softcap, options.real("softcap", largest_float32));
  args.softcap = static_cast<float>(softcap.value_or(0));
  for (const NumberRow &row : number_rows) {
    TOOLS_TRY_ASSIGN(const auto number, options.integer(row.option, row.minimum, row.maximum));
    if (!number) continue;
    if (row.wide != nullptr)
      args.*row.wide = *number;
    else
      args.*row.narrow = static_cast<int32_t>(*number);
    args.flags |= row.flag;
  }
  for (const FlagRow &row : flag_rows)
    if (options.flag(row.option)) args.flags |= row.flag;
  TOOLS_TRY(copy_text("kernel", options.text("kernel"), args.kernel));
  return options.text("kernel") == "cpu" ? Step(Done{}) : check_kernel_name("kernel", options.text("kernel"));
}

Step read_random(const Options &options, RunRequest &request) {
  for (const char *file : {"query", "key", "value"})
    if (options.has(file))
      return usage_failure(fmt::format("option --{} and --random exclude each other: files or random numbers", file));
  Sizes &sizes = request.random_sizes;
  TOOLS_TRY_ASSIGN(const auto seqlen, options.integer("seqlen", 0, int32_limit));
  for (const SizeRow &row : size_rows) {
    TOOLS_TRY_ASSIGN(const auto size, options.integer(row.option, row.minimum, row.maximum));
    int64_t absent = row.absent;
    if (row.member == &Sizes::seqlen_q || row.member == &Sizes::seqlen_kv) absent = seqlen.value_or(512);
    if (row.member == &Sizes::heads_kv) absent = sizes.heads_q;
    if (row.member == &Sizes::head_dim_v) absent = sizes.head_dim;
    sizes.*row.member = size.value_or(absent);
  }
  return Done{};
}

Step read_files(const Options &options, RunRequest &request) {
  for (const SizeRow &row : size_rows)
    if (options.has(row.option))
      return usage_failure(
          fmt::format("option --{} goes with --random; the sizes of files stand in the files", row.option));
  if (options.has("seqlen"))
    return usage_failure("option --seqlen goes with --random; the sizes of files stand in the files");
  for (const char *file : {"query", "key", "value"})
    if (!options.has(file))
      return usage_failure(fmt::format(
          "option --{} is missing: give --query, --key and --value, or --random SEED; --help shows examples", file));
  request.query = options.text("query");
  request.key = options.text("key");
  request.value = options.text("value");
  if (request.output.empty() && request.lse.empty() && !request.check && !request.explain && !options.has("repeat"))
    return usage_failure("nothing would be left of the result: give --output, --lse, --check, --repeat or --explain");
  return Done{};
}

}  // namespace

std::vector<po::options_description> run_option_groups() {
  return {input_group(), work_group(), score_group(), passed_on_group(), library_options(), output_options()};
}

Outcome<RunRequest> make_request(const Options &options) {
  RunRequest request;
  TOOLS_TRY(read_context(options, request));
  TOOLS_TRY(read_args(options, request.args));
  TOOLS_TRY_ASSIGN(const int32_t layout, options.choice("layout", {{"bshd", 0}, {"bhsd", 1}}, 0));
  TOOLS_TRY_ASSIGN(request.dtype, options.dtype("dtype"));
  request.layout = layout == 0 ? Layout::bshd : Layout::bhsd;
  request.output = options.text("output");
  request.lse = options.text("lse");
  request.check = options.flag("check");
  request.explain = options.flag("explain");
  if (!request.output.empty() &&
      std::filesystem::path(request.output).lexically_normal() == std::filesystem::path(request.lse).lexically_normal())
    return usage_failure(
        fmt::format("options --output and --lse are both \"{}\", but must be two files", request.output));
  TOOLS_TRY_ASSIGN(const auto repeat, options.integer("repeat", 1, 1000000));
  request.repeat = repeat.value_or(1);
  TOOLS_TRY_ASSIGN(request.random_seed, options.integer("random", 0, int64_limit));
  TOOLS_TRY(request.random_seed ? read_random(options, request) : read_files(options, request));
  return request;
}

}  // namespace flashcore::tools
