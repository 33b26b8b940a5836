// SPDX-License-Identifier: Apache-2.0
//
// Modules of one shape on the device: checked, timed, and two of them in turns.
#include "timing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "../common/output_file.hpp"

namespace flashcore::tools {
namespace {

constexpr double graph_us = 300;  // calls of a graph are as many as take this long
constexpr int64_t most_calls_per_graph = 128, first_samples = 8, more_samples = 16, duel_rounds = 6, duel_samples = 10;
constexpr double clearly_slower = 1.06;

std::string wrong_text(const CheckResult &check) {
  if (!check.problem.empty()) return check.problem;
  if (!check.gate.passes(check.error))
    return fmt::format("wrong: error {}; allowed {}", check.error.describe(), check.gate.describe());
  return fmt::format("wrong: LSE is at {:.3g} of its gate", check.lse_ratio);
}

}  // namespace

Outcome<TuningDevice> TuningDevice::open(const flashcore_context_options &options) {
  setenv("FLASHCORE_TUNED", "off", 1);
  TOOLS_TRY_ASSIGN(Context context, Context::open(options));
  TOOLS_TRY_ASSIGN(const ContextInfo info, context.describe());
  return TuningDevice{std::move(context), info.device, module_arch(info.device.arch)};
}

Outcome<ShapeClock> ShapeClock::make(const TuningDevice &device, Sampler &sampler, const Shape &shape, int64_t seed) {
  TOOLS_TRY_ASSIGN(Workload workload, make_workload(device.context, shape, default_sets(shape, true), seed));
  ReferenceRows reference = compute_reference(shape, workload.host);
  return ShapeClock(device, sampler, shape, std::move(workload), std::move(reference));
}

std::vector<Args> ShapeClock::args_of(const std::string &module) const {
  std::vector<Args> args;
  for (const TensorSet &set : workload_.sets) {
    args.push_back(attention_args(*shape_, module));
    set.use_in(args.back());
  }
  return args;
}

Outcome<std::vector<double>> ShapeClock::sample(const std::string &module, int64_t samples) {
  const std::vector<Args> args = args_of(module);
  const auto sets = static_cast<int64_t>(args.size());
  const int64_t wanted =
      std::clamp<int64_t>(static_cast<int64_t>(graph_us / std::max(call_us_, 0.1)), 1, most_calls_per_graph);
  TOOLS_TRY_ASSIGN(Samples taken, sampler_->replays(args, (wanted + sets - 1) / sets * sets, 2, samples));
  return std::move(taken.us);
}

Outcome<Evaluation> ShapeClock::evaluate(const std::string &module, double best_us) {
  const std::vector<Args> args = args_of(module);
  const Stream &stream = sampler_->stream();
  const auto timed = [&]() -> Outcome<Evaluation> {
    TOOLS_TRY(device_->context.prepare(args.front()));
    TOOLS_TRY_ASSIGN(const CheckedCall call, checked_call(stream, *shape_, workload_, reference_, args.front()));
    if (!call.check.passed()) return Evaluation{Fate::pruned, 0, wrong_text(call.check)};
    TOOLS_TRY_ASSIGN(const Samples warm, sampler_->calls(Mode::warm, {args.front()}, 0, 3));
    if (warm.us.empty()) return Failure{exit_interrupted, "stopped"};
    call_us_ = *std::min_element(warm.us.begin(), warm.us.end());
    TOOLS_TRY_ASSIGN(std::vector<double> us, sample(module, first_samples));
    if (best_us == 0 || median(us) < best_us * clearly_slower) {
      TOOLS_TRY_ASSIGN(const std::vector<double> more, sample(module, more_samples));
      us.insert(us.end(), more.begin(), more.end());
    }
    if (us.empty()) return Failure{exit_interrupted, "stopped"};
    return Evaluation{Fate::timed, median(us), ""};
  };
  Outcome<Evaluation> evaluation = timed();
  if (evaluation.ok() || evaluation.failure().exit_code == exit_interrupted) return evaluation;
  TOOLS_TRY(stream.synchronize());  // a device that does not work any more is no matter of this candidate
  return Evaluation{Fate::pruned, 0, evaluation.failure().message};
}

Outcome<ShapeClock::Duel> ShapeClock::duel(const std::string &first, const std::string &second) {
  for (const std::string &module : {first, second}) {
    TOOLS_TRY_ASSIGN(const Evaluation evaluation, evaluate(module, 0));
    if (evaluation.fate == Fate::pruned)
      return Failure{exit_failed_check, fmt::format("{}: {}", module, evaluation.reason)};
  }
  Duel duel;
  for (int64_t round = 0; round < duel_rounds && !interrupted(); ++round) {
    TOOLS_TRY_ASSIGN(const std::vector<double> a, sample(first, duel_samples));
    TOOLS_TRY_ASSIGN(const std::vector<double> b, sample(second, duel_samples));
    duel.first_us.insert(duel.first_us.end(), a.begin(), a.end());
    duel.second_us.insert(duel.second_us.end(), b.begin(), b.end());
  }
  return duel;
}

Outcome<Seeds> seeds_of(const Context &context, const Shape &shape) {
  Seeds seeds;
  TOOLS_TRY_ASSIGN(const flashcore_attention_explanation chosen, context.explain(attention_args(shape, "")));
  if (chosen.supported == 0)
    return Failure{exit_failed_check, fmt::format("the library has no kernel for it: {}", chosen.reasons)};
  seeds.default_module = chosen.module;
  for (int32_t i = 0; i < flashcore_kernel_count(); ++i) {
    flashcore_kernel_info kernel{};
    kernel.struct_size = sizeof(kernel);
    flashcore_error error = FLASHCORE_ERROR_INIT;
    if (flashcore_kernel_describe(i, &kernel, &error) != FLASHCORE_OK)
      return library_failure("list the kernels", error);
    if (kernel.by_name_only != 0 || kernel.operation != FLASHCORE_OPERATION_ATTENTION_FWD) continue;
    TOOLS_TRY_ASSIGN(const flashcore_attention_explanation own, context.explain(attention_args(shape, kernel.name)));
    const std::optional<Candidate> candidate = own.supported != 0 ? parse_candidate(own.module) : std::nullopt;
    if (!candidate) continue;
    // The library's choice first.
    seeds.candidates.insert(seeds.default_module == own.module ? seeds.candidates.begin() : seeds.candidates.end(),
                            *candidate);
  }
  if (seeds.candidates.empty())
    return Failure{exit_failed_check, fmt::format("{} is no module that can be tuned", seeds.default_module)};
  return seeds;
}

}  // namespace flashcore::tools
