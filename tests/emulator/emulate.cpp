// SPDX-License-Identifier: Apache-2.0
#include "emulate.hpp"

#include <algorithm>
#include <vector>

#include "block.hpp"
#include "module.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/append_stage.hpp"
#include "runtime/tensor_maps.hpp"

namespace emulator {
namespace {

using namespace flashcore;
using tests::CaseOutcome;
using tests::Verdict;

// Of no device that there is. Few multiprocessors, so that blocks that stay have several tiles.
kernels::DeviceLimits limits_of(const Request &request) {
  return {90, 2, most_shared_bytes, most_shared_bytes, 1 << 20, request.key_parts};
}

CaseOutcome refused(const std::string &why) { return {Verdict::refused, why}; }
CaseOutcome failed(const std::string &why) { return {Verdict::failed, why}; }

// Nothing in it is infinite, not a number, or so large that a sum of a tile may be.
bool loses_no_row(const tests::AttentionCase &one) {
  return !one.is_hard() && one.extreme == tests::Extreme::none && one.garbage == tests::Garbage::none;
}

struct Choice {
  const Module *module = nullptr;
  kernels::Specialization specialization{};
};

int32_t columns_of(const kernels::Passport &passport, const kernels::Specialization &specialization) {
  return passport.value(specialization, "head_dim", 0) + passport.value(specialization, "head_dim_v", 0);
}

Choice choose(const kernels::Passport &passport, const kernels::ProblemKey &key, const Request &request) {
  std::vector<Choice> best;
  for (const Module &module : modules()) {
    const Result<ModuleName> name = parse_module_name(module.name);
    if (!name.ok()) throw Fault(name.error().message);
    const kernels::Specialization &specialization = name.value().specialization;
    if (&passport_at(name.value().kernel_index) != &passport || module.broken != request.broken ||
        (!request.module.empty() && module.name != request.module) ||
        (request.module.empty() && request.key_parts > 0 && passport.value(specialization, "packed", 1) == 0) ||
        !passport.serves(specialization, key))
      continue;
    const int32_t columns = columns_of(passport, specialization);
    if (!best.empty() && columns > columns_of(passport, best.front().specialization)) continue;
    if (!best.empty() && columns < columns_of(passport, best.front().specialization)) best.clear();
    best.push_back({&module, specialization});
  }
  return best.empty() ? Choice{} : best[request.turn % best.size()];
}

// As the library has them encoded, by the stand-in driver.
Status encode_tensor_maps(const kernels::Passport &passport, const kernels::Specialization &specialization,
                          const AttentionProblem &problem, void *parameters) {
  if (passport.tensor_maps == nullptr) return success();
  FLASHCORE_TRY_ASSIGN(const CudaDriver *driver, CudaDriver::load(FAKE_LIBCUDA));
  const uint64_t addresses[] = {problem.tensors[0].data, problem.tensors[1].data, problem.tensors[2].data,
                                problem.tensors[3].data};
  return TensorMaps(passport, specialization, problem).encode(*driver, addresses, parameters);
}

// Device memory that the stages of a call share, which holds anything: NaN or numbers. A guard lies behind it.
class Workspace {
 public:
  Workspace(int64_t bytes, uint32_t seed)
      : bytes_(static_cast<size_t>(bytes)), memory_(bytes_ + 2 * guard_bytes, seed % 2 == 0 ? 0xff : 0x44) {
    std::fill_n(data() + bytes_, guard_bytes, guard);
  }
  unsigned char *data() { return memory_.data() + alignment - reinterpret_cast<uintptr_t>(memory_.data()) % alignment; }
  // Of its first bytes, which are attention's.
  WrittenAhead written(int64_t bytes) { return {data(), {data(), data() + bytes}}; }
  bool guard_holds() {
    return std::count(data() + bytes_, data() + bytes_ + guard_bytes, guard) == static_cast<int64_t>(guard_bytes);
  }

 private:
  static constexpr size_t guard_bytes = 256, alignment = 16;
  static constexpr unsigned char guard = 0xa5;
  size_t bytes_;
  std::vector<unsigned char> memory_;
};

void run_stage(const kernels::Launch &stage, const Choice &choice, const void *parameters, const WrittenAhead *ahead,
               const Request &request) {
  const EntryPoint &entry = choice.module->entry_points.at(static_cast<size_t>(stage.entry_point));
  if (stage.threads > entry.most_threads)
    throw Fault(std::to_string(stage.threads) + " threads in a block of a kernel that is compiled for " +
                std::to_string(entry.most_threads));
  if (stage.grid.z != 1) throw Fault("a grid of " + std::to_string(stage.grid.z) + " blocks along z is not emulated");
  const bool programmatic = (stage.attributes & kernels::programmatic_dependent) != 0;
  run({entry.kernel, parameters, stage.grid.x, stage.threads, stage.dynamic_shared_bytes - request.shared_bytes_taken,
       request.seed, stage.cluster, stage.grid.y, programmatic ? ahead : nullptr});
}

// What goes ahead of attention; the problem becomes attention's.
void run_ahead(AttentionProblem &problem, const kernels::append_kv::Places &places, Workspace &workspace,
               const Request &request) {
  const Selection selection = append_selection(problem.key);
  const std::string name = module_name(passport_at(selection.kernel_index), selection.specialization);
  const kernels::AppendParams params = kernels::append_kv::params_of(problem.key, attention_call(problem), places,
                                                                     reinterpret_cast<uint64_t>(workspace.data()));
  const kernels::Launch stage = kernels::append_kv::launch_of(problem.key);
  for (const Module &module : modules()) {
    if (module.name != name || module.broken != request.broken_ahead) continue;
    run_stage(stage, {&module, selection.specialization}, &params, nullptr, request);
    problem = problem_behind(problem, params);
    return;
  }
  throw Fault(name + " is not compiled for the emulator");
}

CaseOutcome launch(const kernels::Passport &passport, const Choice &choice, AttentionProblem problem,
                   const Request &request) {
  const kernels::DeviceLimits limits = limited(limits_of(request), problem.key);
  const kernels::Plan plan = passport.plan(choice.specialization, problem.key, limits);
  if (problem.key.multiprocessor_limit != 0 && most_blocks_at_once(plan) > problem.key.multiprocessor_limit)
    return refused("multiprocessor_limit: more thread blocks run at once");
  const kernels::append_kv::Places places = kernels::append_kv::places_of(problem.key, plan.workspace_bytes);
  Workspace workspace(places.end, request.seed);
  try {
    if (kernels::append_kv::is_needed(problem.key)) run_ahead(problem, places, workspace, request);
    kernels::AttentionCall call = attention_call(problem);
    if (plan.workspace_bytes != 0) call.workspace = reinterpret_cast<uint64_t>(workspace.data());
    alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
    passport.pack(choice.specialization, problem.key, call, limits, parameters);
    if (const Status encoded = encode_tensor_maps(passport, choice.specialization, problem, parameters); !encoded.ok())
      return failed(encoded.error().message);
    for (int32_t i = 0; i < plan.stage_count; ++i) {
      const WrittenAhead ahead = workspace.written(plan.workspace_bytes);
      run_stage(plan.stages[i], choice, parameters, &ahead, request);
    }
  } catch (const Fault &fault) {
    return failed(fault.what());
  }
  if (!workspace.guard_holds()) return failed("the workspace was written behind its end");
  CaseOutcome passed{Verdict::passed, ""};
  passed.module = choice.module->name;
  return passed;
}

}  // namespace

CaseOutcome emulate(const flashcore_attention_args &args, const Request &request) {
  const Result<AttentionProblem> problem = validate_attention(&args, AddressRule::required, request.variants);
  if (!problem.ok()) return failed(problem.error().message);
  const int32_t index = find_kernel(request.kernel);
  if (index < 0) return failed("no kernel is called " + request.kernel);
  if (problem.value().empty()) return {Verdict::passed, ""};
  const kernels::Passport &passport = passport_at(index);
  const kernels::ProblemKey &key = problem.value().key;
  if (const kernels::Refusal refusal = passport.refusal(key); refusal.field != nullptr)
    return refused(std::string(refusal.field) + ": " + refusal.reason);
  const Choice choice = choose(passport, key, request);
  if (choice.module == nullptr) return refused("no specialization that serves this is compiled for the emulator");
  return launch(passport, choice, problem.value(), request);
}

CaseOutcome emulate_case(const tests::Device &host, const tests::AttentionCase &one, const Request &request) {
  tests::CaseOnDevice run(host, one, "");
  const int64_t again_before = rows_computed_again();
  const CaseOutcome emulated = emulate(run.args(), request);
  if (emulated.verdict != Verdict::passed) return emulated;
  if (const int64_t again = rows_computed_again() - again_before; again != 0 && loses_no_row(one))
    return failed(emulated.module + " computed " + std::to_string(again) + " rows again, of a case that loses none");
  CaseOutcome judged = tests::judge_result(run, one);
  judged.module = emulated.module;
  return judged;
}

}  // namespace emulator
