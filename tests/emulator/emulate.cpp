// SPDX-License-Identifier: Apache-2.0
#include "emulate.hpp"

#include "block.hpp"
#include "module.hpp"
#include "plan/kernel_table.hpp"
#include "plan/specialization_text.hpp"
#include "problem/attention_call.hpp"
#include "runtime/tensor_maps.hpp"

namespace emulator {
namespace {

using namespace flashcore;
using tests::CaseOutcome;
using tests::Verdict;

// Of no device that there is. Few multiprocessors, so that blocks that stay have several tiles.
constexpr kernels::DeviceLimits limits = {80, 2, most_shared_bytes, most_shared_bytes, 1 << 20};

CaseOutcome refused(const std::string &why) { return {Verdict::refused, why}; }
CaseOutcome failed(const std::string &why) { return {Verdict::failed, why}; }

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
        (!request.module.empty() && module.name != request.module) || !passport.serves(specialization, key))
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

CaseOutcome launch(const kernels::Passport &passport, const Choice &choice, const AttentionProblem &problem,
                   const Request &request) {
  alignas(64) unsigned char parameters[kernels::most_parameter_bytes];
  passport.pack(choice.specialization, problem.key, attention_call(problem), limits, parameters);
  if (const Status encoded = encode_tensor_maps(passport, choice.specialization, problem, parameters); !encoded.ok())
    return failed(encoded.error().message);
  const kernels::Plan plan = passport.plan(choice.specialization, problem.key, limits);
  if (plan.stage_count != 1 || plan.workspace_bytes != 0)
    return failed("launches of several stages or with a workspace are not emulated");
  const kernels::Launch &one = plan.stages[0];
  if (one.threads > choice.module->most_threads)
    return failed(std::to_string(one.threads) + " threads in a block of a kernel that is compiled for " +
                  std::to_string(choice.module->most_threads));
  try {
    run({choice.module->kernel, parameters, one.grid.x, one.threads,
         one.dynamic_shared_bytes - request.shared_bytes_taken, request.seed, one.cluster});
  } catch (const Fault &fault) {
    return failed(fault.what());
  }
  CaseOutcome passed{Verdict::passed, ""};
  passed.module = choice.module->name;
  return passed;
}

}  // namespace

CaseOutcome emulate(const flashcore_attention_args &args, const Request &request) {
  const Result<AttentionProblem> problem = validate_attention(&args, AddressRule::required);
  if (!problem.ok()) return failed(problem.error().message);
  const int32_t index = find_kernel(request.kernel);
  if (index < 0) return failed("no kernel is called " + request.kernel);
  if (problem.value().empty()) return {Verdict::passed, ""};
  const kernels::Passport &passport = passport_at(index);
  const kernels::ProblemKey &key = problem.value().key;
  if (const kernels::Refusal refusal = passport.refuse(key); refusal.field != nullptr)
    return refused(std::string(refusal.field) + ": " + refusal.reason);
  const Choice choice = choose(passport, key, request);
  if (choice.module == nullptr) return refused("no specialization that serves this is compiled for the emulator");
  return launch(passport, choice, problem.value(), request);
}

CaseOutcome emulate_case(const tests::Device &host, const tests::AttentionCase &one, const Request &request) {
  tests::CaseOnDevice run(host, one, "");
  const CaseOutcome emulated = emulate(run.args(), request);
  if (emulated.verdict != Verdict::passed) return emulated;
  CaseOutcome judged = tests::judge_result(run, one);
  judged.module = emulated.module;
  return judged;
}

}  // namespace emulator
